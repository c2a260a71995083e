"""The service from Python and from a shell; needs no model code.

python serve/client.py --url http://127.0.0.1:8000 clip.npz other.pose
python serve/client.py --url http://127.0.0.1:8000 --format json clip.npz | jq '.clips[0].sentence'

with Client("http://127.0.0.1:8000") as client:
    answer = client.recognize(Path("clip.npz"))
    long = client.job(Path("lecture.mp4"))

async with Client("http://127.0.0.1:8000") as client:
    async for message in client.live(camera(), frame_size=(640, 480), fps=25):  # camera(): JPEG pictures as they come
        print(message["sentence"])
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from typing import Any, Self

import httpx

from cluster.entry import run_entry_point
from serve.live_client import Json, ServiceError, live_session
from serve.printing import write_records

KEY_VARIABLE = "SIGNRAY_API_KEY"
SOME_FAILED = 1
POLL_S = 0.5
KEYPOINTS = {".npz": "application/x-npz", ".pose": "application/x-pose", ".json": "application/json"}
VIDEOS = {".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".mkv": "video/x-matroska", ".avi": "video/x-msvideo"}
KINDS = {**KEYPOINTS, **VIDEOS}
NO_RECORD = ("model", "timings", "heads")  # members of an answer beside what predict.py prints
OF_THE_CLIP = ("unreadable", "unusable-keypoints", "too-large", "decode-timeout", "unsupported-media-type")  # problems of one clip; any other ends the command


class Client:
    """A service at `url`, by calls that wait (`recognize`, `translate`, `job`, `models`) and by coroutines of the same names and `_async`.

    A 503 is tried again, `attempts` times in all, after the pause that the service names. Every call raises ServiceError.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float = 90.0, attempts: int = 3) -> None:
        if not url.startswith(("http://", "https://")):
            raise ServiceError("no-url", f"{url!r} is no URL of a service, such as http://127.0.0.1:8000")
        self._settings: Json = {
            "base_url": url,
            "timeout": timeout_s,
            "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        }
        self._attempts, self._api_key = attempts, api_key
        self._sync: httpx.Client | None = None
        self._async: httpx.AsyncClient | None = None

    def recognize(self, source: Path | bytes, **options: Any) -> Json:
        """The answer to a keypoint file, or to its content with `name=`. options: name, head, beam_width, heads, frame_size=(w, h), fps."""
        return self._send("POST", "/v1/recognize", **_request(source, **options))

    async def recognize_async(self, source: Path | bytes, **options: Any) -> Json:
        """As `recognize`."""
        return await self._send_async("POST", "/v1/recognize", **_request(source, **options))

    def translate(self, source: Path | bytes, **options: Any) -> Json:
        """As `recognize`, of a model that translates: the answer has a `text`."""
        return self._send("POST", "/v1/translate", **_request(source, **options))

    async def translate_async(self, source: Path | bytes, **options: Any) -> Json:
        """As `translate`."""
        return await self._send_async("POST", "/v1/translate", **_request(source, **options))

    def job(self, source: Path | bytes, **options: Any) -> Json:
        """As `recognize`, for clips that are too long for it: the answer of a job, once it is done."""
        state = self._send("POST", "/v1/jobs", **_request(source, **options))
        while not _over(state):
            time.sleep(POLL_S)
            state = self._send("GET", f"/v1/jobs/{state['id']}")
        return _answer(state)

    async def job_async(self, source: Path | bytes, **options: Any) -> Json:
        """As `job`; the job is given up where the call is cancelled."""
        state = await self._send_async("POST", "/v1/jobs", **_request(source, **options))
        try:
            while not _over(state):
                await asyncio.sleep(POLL_S)
                state = await self._send_async("GET", f"/v1/jobs/{state['id']}")
        except asyncio.CancelledError:
            await asyncio.shield(self._send_async("DELETE", f"/v1/jobs/{state['id']}"))
            raise
        return _answer(state)

    def live(
        self, frames: AsyncIterable[bytes], *, frame_size: tuple[int, int], fps: float, num_points: int | None = None, **options: Any
    ) -> AsyncIterator[Json]:
        """Messages of a live session as they come, the last one `final`; README.md tells their members. options: head, beam_width, members.

        frames: JPEG pictures; or, with `num_points`, keypoints as little-endian float32 (frames, num_points, 3). They are sent as fast as they come.
        """
        kind = {"frames": "jpeg"} if num_points is None else {"num_points": num_points}
        key = {"api_key": self._api_key} if self._api_key else {}
        return live_session(self._settings["base_url"], frames, {**kind, **key, "frame_size": list(frame_size), "fps": fps, **options})

    def models(self) -> list[Json]:
        """What answers there."""
        found: list[Json] = self._send("GET", "/v1/models")["models"]
        return found

    async def models_async(self) -> list[Json]:
        """As `models`."""
        found: list[Json] = (await self._send_async("GET", "/v1/models"))["models"]
        return found

    def _send(self, method: str, path: str, **content: Any) -> Json:
        self._sync = self._sync or httpx.Client(**self._settings)
        for attempt in range(self._attempts):
            try:
                return _result(self._sync.request(method, path, **content))
            except httpx.HTTPError as error:
                raise _away(error, self._settings["base_url"]) from None
            except ServiceError as error:
                if error.retry_after_s is None or attempt == self._attempts - 1:
                    raise
                time.sleep(error.retry_after_s)
        raise AssertionError("the last attempt returns or raises")

    async def _send_async(self, method: str, path: str, **content: Any) -> Json:
        self._async = self._async or httpx.AsyncClient(**self._settings)
        for attempt in range(self._attempts):
            try:
                return _result(await self._async.request(method, path, **content))
            except httpx.HTTPError as error:
                raise _away(error, self._settings["base_url"]) from None
            except ServiceError as error:
                if error.retry_after_s is None or attempt == self._attempts - 1:
                    raise
                await asyncio.sleep(error.retry_after_s)
        raise AssertionError("the last attempt returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._sync is not None:
            self._sync.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._async is not None:
            await self._async.aclose()


def _request(source: Path | bytes, *, frame_size: tuple[int, int] | None = None, **options: Any) -> Json:
    name = options.pop("name", None) or (str(source) if isinstance(source, Path) else "clip.npz")
    kind = KINDS.get(Path(name).suffix.lower(), "application/octet-stream")
    wanted = {"name": name, "frame_size": f"{frame_size[0]}x{frame_size[1]}" if frame_size else None, **options}
    return {
        "params": {key: value for key, value in wanted.items() if value is not None},
        "content": source.read_bytes() if isinstance(source, Path) else source,
        "headers": {"Content-Type": kind},
    }


def _result(response: httpx.Response) -> Json:
    try:
        document: Json = response.json()
    except ValueError:
        document = {}
    if response.is_success and (document or not response.content):
        return document
    if "code" not in document:
        raise ServiceError("no-service", f"{response.url} answers {response.status_code}, and not as a signray service does", status=response.status_code)
    retry = response.headers.get("retry-after", "")
    raise ServiceError(document["code"], document["detail"], status=response.status_code, retry_after_s=float(retry) if retry.isdigit() else None)


def _over(state: Json) -> bool:
    return state["status"] not in ("queued", "running")


def _answer(state: Json) -> Json:
    if state["answer"] is None:
        problem = state["problem"] or {"code": "cancelled", "detail": "the job was given up"}
        raise ServiceError(problem["code"], problem["detail"], status=problem.get("status", 0))
    answer: Json = state["answer"]
    return answer


def _away(error: httpx.HTTPError, url: str) -> ServiceError:
    return ServiceError("away", f"no answer from {url} ({str(error) or type(error).__name__}): start the service, or check --url")


def records(client: Client, files: Sequence[Path], options: Json) -> Iterator[Json]:
    """An answer a file, in their order, with the members that predict.py prints; of a file that can't be used its name and the error."""
    for file in files:
        if reason := _file_problem(file):
            yield {"name": str(file), "error": reason}
            continue
        try:
            answer = client.recognize(file, **options)
        except ServiceError as error:
            if error.code not in OF_THE_CLIP:
                raise
            yield {"name": str(file), "error": error.detail}
        else:
            yield {key: value for key, value in answer.items() if key not in NO_RECORD}


def _file_problem(file: Path) -> str | None:
    if file.is_dir():
        return f"needs keypoints: {file} is a folder; estimate the signer's keypoints and give the .npz or .pose file"
    if file.suffix.lower() not in KINDS:
        return f"{file}: not a clip: the kinds are {', '.join(KINDS)}"
    return None if file.is_file() else f"{file}: no such {'video' if file.suffix.lower() in VIDEOS else 'keypoint file'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    options = {"head": given.head, "beam_width": given.beam, "frame_size": given.frame_size, "fps": given.fps}
    with Client(given.url, api_key=os.environ.get(KEY_VARIABLE)) as client:
        (model, *_) = client.models()
        about = {"system": model["system"], "corpus": model["corpus"], "weights": model["checksum"]}
        complete = write_records(records(client, given.inputs, options), about, given.format, sys.stdout)
    return 0 if complete else SOME_FAILED


def _frame_size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 640x480")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="client.py", description=__doc__, epilog=f"{KEY_VARIABLE} holds the API key.", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="keypoint file (.npz, .pose or .json); or a video, where the service takes them")
    parser.add_argument("--url", required=True, help="where the service is, such as http://127.0.0.1:8000")
    parser.add_argument("--format", choices=["table", "json", "jsonl"], default="table", help="a table for people, JSON for programs (default: table)")
    parser.add_argument("--head", help="head that answers (default: the bundle's choice)")
    parser.add_argument("--beam", type=int, metavar="N", help="width of the beam search (default: the bundle's)")
    parser.add_argument("--frame-size", type=_frame_size, metavar="WxH", help="width and height in pixels of the files' pictures, instead of what they say")
    parser.add_argument("--fps", type=float, help="frames per second of the files, instead of what they say")
    return parser


if __name__ == "__main__":
    run_entry_point(main, (ServiceError, OSError))

"""Serve a bundle over HTTP, on a private Ray of this machine or on the cluster of RAY_ADDRESS, until ^C.

python serve/run.py --bundle runs/demo/bundle
python serve/run.py --bundle models:/mska_slr_phoenix2014t@champion --port 8080 --api-keys keys.txt
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import asyncio
import http.client
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from types import FrameType

from cluster.entry import run_entry_point
from cluster.ray_cluster import connect
from cluster.registry import NAMES, local_folder
from models.ensemble import Ensemble, load
from models.errors import SignrayError
from models.pose import pose_estimator
from serve.cards import modalities_of
from serve.members import network_keys
from serve.settings import ServeSettings

# Serve's own switch: replicas run our code in their event loop instead of a thread beside it. Nothing of ours blocks the loop for long.
FAST = ("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
SEND_S = 2.0  # for answers on their way through Serve's proxy, which is killed with what it holds; those of other nodes aren't asked behind them
FORGET_TIMEOUT_S = 5  # of replicas that have nothing more to do; Serve may take half a minute to forget their application
ANSWER_TIMEOUT_S = 10  # of the front, beyond the time for draining
QUIET = {"log_level": "WARNING", "enable_access_log": False}  # access logs halve the throughput when they are streamed to the driver


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    settings = settings_of(given)
    # Mistakes end here, before anything starts.
    bundle = load(local_folder(settings.bundle, tracking_uri=settings.tracking_uri, store=settings.store))
    if settings.pose_model is not None:
        pose_estimator(settings.pose_model, settings.pose_detector)
    settings = settings.model_copy(update={"video": settings.pose_model is not None or "frames" in modalities_of(bundle)})
    _require_free(given.host, given.port)
    os.environ.setdefault(*FAST)
    num_members = len(network_keys(bundle)) if settings.split_members and isinstance(bundle, Ensemble) else 0
    with connect(num_cpus=settings.replicas + 1 + settings.video + num_members, driver_logs=False) as cluster:
        serve_until_stopped(settings, host=given.host, port=given.port, private=cluster.private)
    return 0


def settings_of(given: argparse.Namespace) -> ServeSettings:
    """The settings, with absolute paths: replicas run in other folders."""
    files = {"pose_model": given.pose_model, "pose_detector": given.pose_detector}
    chosen = {
        **files,
        "split_members": given.split_members,
        "member_timeout_s": given.member_timeout,
        "api_keys_file": given.api_keys,
        "capacity": given.capacity,
        "max_batch_size": given.batch_size,
        "replicas": given.replicas,
    }
    return ServeSettings(
        bundle=given.bundle if given.bundle.startswith(NAMES) else str(Path(given.bundle).resolve()),
        tracking_uri=given.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"),
        store=Path("runs").resolve(),
        **{name: value.resolve() if isinstance(value, Path) else value for name, value in chosen.items() if value is not None},
    )


def serve_until_stopped(settings: ServeSettings, *, host: str, port: int, private: bool) -> None:
    """Deploy on the connected cluster and wait for SIGINT or SIGTERM; then take away what was deployed."""
    from ray import serve
    from ray.exceptions import RayError

    from serve.app import APPLICATION, build

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}  # after `ray.init`, which sets its own
    try:
        serve.start(http_options={"host": host, "port": port}, logging_config=QUIET)
        serve.run(build(settings), name=APPLICATION, route_prefix="/", logging_config=QUIET)
        print(f"signray serves {settings.bundle} at http://{host}:{port} (OpenAPI: /openapi.json); ^C ends it", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("ending: requests in work are answered, then the service stops; once more ^C ends it at once", flush=True)
    finally:
        with suppress(RayError, RuntimeError, TimeoutError):  # a cluster that is gone has nothing to take away
            take_away(private=private, drain_s=settings.drain_s, address=(host, port))
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def take_away(*, private: bool, drain_s: float, address: tuple[str, int], name: str | None = None) -> None:
    """Let requests in work come to their end, delete the application, and Serve with it where no other application runs on a cluster of others.

    address: where the proxy listens that their answers go through.
    """
    from ray import serve

    from serve.app import APPLICATION

    name = name or APPLICATION
    _drain(name, drain_s)
    _ask_behind_them(*address)
    serve.delete(name, _blocking=False)  # Ray's own wait has taken a minute at times
    deadline = time.monotonic() + FORGET_TIMEOUT_S
    while _has_replicas(name) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(SEND_S)
    if not private and not serve.status().applications.keys() - {name}:
        serve.shutdown()


def _has_replicas(name: str) -> bool:
    from ray import serve

    application = serve.status().applications.get(name)
    return application is not None and any(deployment.replica_states for deployment in application.deployments.values())


def _drain(name: str, seconds: float) -> None:
    from ray import serve

    from serve.app import FRONT

    application = serve.status().applications.get(name)
    front = application.deployments.get(FRONT) if application is not None else None
    if front is None or not front.replica_states.get("RUNNING"):  # not the application's own status: one replica that starts anew makes it another
        return
    try:
        left = asyncio.run(_drained(name, seconds))
    except Exception as error:  # such as a front that is away: whatever it is, the application is still to be taken away
        print(f"not drained: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("cut off: requests in work are lost", file=sys.stderr, flush=True)
    else:
        if left:
            print(f"{left} requests were not answered within {seconds:g} s", file=sys.stderr, flush=True)


async def _drained(name: str, seconds: float) -> int:
    """With Serve's own switch a handle belongs to an event loop; and Serve would close one of its cache later, when the loop is gone: it is one of ours."""
    from ray.serve.handle import DeploymentHandle

    from serve.app import FRONT

    front = DeploymentHandle(FRONT, name)
    left: int = await asyncio.wait_for(front.drain.remote(seconds), seconds + ANSWER_TIMEOUT_S)
    return left


def _ask_behind_them(host: str, port: int) -> None:
    """One more answer takes the way of those before it, however slow front and proxy are at the time; what has come of it doesn't matter."""
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=ANSWER_TIMEOUT_S)
    with suppress(OSError, http.client.HTTPException), closing(connection):
        connection.request("GET", "/v1/health/live")
        connection.getresponse().read()


def _require_free(host: str, port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConnectionError(f"{host}:{port} can't be listened at ({error.strerror}): give another --port") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help=ServeSettings.model_fields["bundle"].description)
    parser.add_argument("--tracking-uri", help=ServeSettings.model_fields["tracking_uri"].description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, metavar="N", help="copies of the model (default: 1)")
    parser.add_argument(
        "--split-members", action="store_true", default=None, help="a deployment for each network of an ensemble, which scale and fail by themselves"
    )
    parser.add_argument("--member-timeout", type=float, metavar="S", help="seconds after which a split member has failed, and is left out (default: 20)")
    parser.add_argument("--capacity", type=int, metavar="N", help="requests in work or waiting; the next one is answered 503 (default: 32)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="clips of similar length that go through the network at once (default: 8)")
    parser.add_argument("--pose-model", type=Path, metavar="FILE", help="ONNX file of a whole-body RTMPose or RTMW: videos are taken, too")
    parser.add_argument("--pose-detector", type=Path, metavar="FILE", help="ONNX file of a person detector for it (default: the whole picture is the signer's)")
    parser.add_argument("--api-keys", type=Path, metavar="FILE", help="file with one API key a line; without it nobody is asked for one")
    return parser


if __name__ == "__main__":
    run_entry_point(main, (SignrayError, LookupError, ConnectionError, OSError, ValueError))

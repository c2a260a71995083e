"""A client on a host that asks a service again and again: `asker.py URL FILE LOG`. A line of LOG a request: time, seconds, status or error."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import httpx


def main(url: str, file: str, log: str) -> None:
    content = Path(file).read_bytes()
    with Path(log).open("a", buffering=1) as out:
        while True:
            began = time.time()
            try:
                answer = httpx.post(f"{url}/v1/recognize", content=content, headers={"Content-Type": "application/x-npz"}, timeout=20)
                told = str(answer.status_code)
            except httpx.HTTPError as error:
                told = type(error).__name__
            out.write(f"{began:.3f} {time.time() - began:.3f} {told}\n")
            time.sleep(max(0.0, 0.2 - (time.time() - began)))


if __name__ == "__main__":
    main(*sys.argv[1:])

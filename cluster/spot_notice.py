"""AWS's notice that a spot node is taken away, handed on to Ray, whose autoscaler doesn't ask for it.

python -m cluster.spot_notice          beside `ray start` on each spot node, with the same environment

It asks the instance's metadata every few seconds. At the notice Ray drains this node, for which a training writes its checkpoints, and the program
ends: with 1 where Ray didn't take it. On another cloud the command of `_drain` does the same at its notice.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime

from cluster.entry import run_entry_point

METADATA = "http://169.254.169.254"  # of every instance
EVERY_S, AGAIN_S, TIMEOUT_S = 5.0, 2.0, 2.0
NOTICE_S = 120.0  # what AWS gives
RAY_STARTS_S = 10  # Ray's command counts what is left from when it has started and connected


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    argparse.ArgumentParser(prog="python -m cluster.spot_notice", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    notice = _wait()
    print(f"this node is taken away: {notice}", flush=True)
    end = time.time() + _seconds_left(notice)
    while not _drain(notice, end - time.time()):
        if time.time() > end:
            print("Ray didn't take the notice: it must run here, and RAY_ADDRESS and the token must be those of `ray start`", file=sys.stderr)
            return 1
        time.sleep(AGAIN_S)
    return 0


def _wait() -> str:
    """The notice, once there is one."""
    told = False
    while True:
        try:
            if notice := _notice():
                return notice
        except OSError as error:  # it may be back at the next time
            if not told:
                print(
                    f"no metadata at {_address()} ({error}): is this an instance of EC2? A container needs the host's network, or a hop limit of 2", flush=True
                )
            told = True
        time.sleep(EVERY_S)


def _notice() -> str | None:
    """None while there is none. Raises OSError where nobody answers."""
    token = _ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    try:
        return _ask("meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def _ask(what: str, method: str, headers: dict[str, str]) -> str:
    asked = urllib.request.Request(f"{_address()}/latest/{what}", method=method, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the site knows nothing of this instance
    with direct.open(asked, timeout=TIMEOUT_S) as answer:
        return str(answer.read().decode())


def _address() -> str:
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")


def _seconds_left(notice: str) -> float:
    """Until the time of a notice such as {"action": "terminate", "time": "2026-11-27T08:22:00Z"}."""
    try:
        return (datetime.fromisoformat(json.loads(notice)["time"]) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, KeyError):
        return NOTICE_S


def _drain(notice: str, left_s: float) -> bool:
    """Whether Ray takes it. Without --node-id its command is for the node on which it runs, to which it must connect by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_AUTO_CONNECT"}
    reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", notice)
    deadline = ("--deadline-remaining-seconds", str(max(1, round(left_s) - RAY_STARTS_S)))
    return subprocess.run(["ray", "drain-node", *reason, *deadline], env=environment).returncode == 0


if __name__ == "__main__":
    run_entry_point(lambda: main(), ())

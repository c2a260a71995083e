"""Ends what a private Ray cluster leaves behind, also when its driver was killed: two of Ray's agents outlive it by a minute.

Run as a process of its own (`python reaper.py FOLDER`), it waits until its standard input ends, which is when the driver has ended
in whatever way, then ends the processes that have files of FOLDER open, and removes FOLDER. Only the standard library: it has to be
small and may not fail.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 10.0


def start_reaper(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process for a cluster's temporary folder; closing its standard input lets it work."""
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # no Ctrl-C for it


def clean_up(folder: Path, spare: int, grace_s: float = 1.0) -> None:
    """End the processes but `spare` that have files of the folder open, after the grace that they have to end by themselves; remove the folder."""
    began = time.monotonic()
    while (left := users_of(folder) - {spare}) and time.monotonic() - began < PATIENCE_S:
        if time.monotonic() - began > grace_s:
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def users_of(folder: Path) -> set[int]:
    """Processes of this user, except this one, that have files of the folder open.

    Neither names nor environments tell Ray's processes of one cluster from another's: Ray overwrites both with a title.
    """
    return {
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid() and _uses(entry / "fd", f"{folder}/")
    }


def _uses(descriptors: Path, prefix: str) -> bool:
    with suppress(OSError):
        for name in os.listdir(descriptors):
            with suppress(OSError):
                if os.readlink(descriptors / name).startswith(prefix):
                    return True
    return False


if __name__ == "__main__":
    driver = os.getppid()  # it keeps Ray's log files open after `ray.shutdown()`
    sys.stdin.read()
    clean_up(Path(sys.argv[1]), spare=driver)

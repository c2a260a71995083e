"""A stop that is asked for by a signal: the training checkpoints and ends, instead of being cut off."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

Handler = Callable[[int, FrameType | None], object] | int | None


class StopRequest:
    """While the block lasts, SIGTERM, SIGUSR1 and SIGINT ask for a stop instead of ending the process.

    The request is a file, because the workers that must see it are other processes, maybe on other hosts: put it on the
    storage that they share. Enter the block after `ray.init`, which installs a SIGTERM handler of its own. A second SIGINT
    ends the process as usual (KeyboardInterrupt), for those who can't wait. `others` are files of further trainings that shall stop with this one.

        with connect(), StopRequest(run_dir / "stop") as stop:
            train(stop_file=stop.path)          # workers ask `path.exists()` once per step, rank 0 for all
        if stop.signal_number:
            sys.exit(stop.exit_code)            # 143 after SIGTERM
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self.path, self._paths = path, (path, *others)
        self.signal_number: int | None = None
        self._previous: dict[signal.Signals, Handler] = {}

    @property
    def exit_code(self) -> int:
        """128 + signal number, as a shell reports it; 0 without a request."""
        return 128 + self.signal_number if self.signal_number else 0

    def __enter__(self) -> "StopRequest":
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # the request that ended the run before is fulfilled
        if threading.current_thread() is threading.main_thread():  # Python accepts handlers in no other thread
            self._previous = {number: signal.signal(number, self._request) for number in STOP_SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number
        # os-level calls only: a handler that runs inside a buffered write must not write through the same buffer.
        for path in self._paths:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(descriptor, str(int(number)).encode())
            os.close(descriptor)

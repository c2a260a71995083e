import os
import signal
import threading
from pathlib import Path

import pytest

from cluster.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_asks_for_a_stop(tmp_path: Path, number: signal.Signals) -> None:
    with StopRequest(tmp_path / "run" / "stop") as stop:
        assert not stop.path.exists()
        os.kill(os.getpid(), number)
        assert stop.path.read_text() == str(int(number))
        assert stop.signal_number == number
        assert stop.exit_code == 128 + number
    assert not stop.path.exists()


def test_sigterm_is_143(tmp_path: Path) -> None:
    with StopRequest(tmp_path / "stop") as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143


def test_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest(tmp_path / "stop"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    with StopRequest(tmp_path / "stop"):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_old_request_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "stop").write_text("15")
    with StopRequest(tmp_path / "stop") as stop:
        assert not stop.path.exists()
        assert stop.exit_code == 0


def test_other_threads_install_no_handlers(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with StopRequest(tmp_path / "stop"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]

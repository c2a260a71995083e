"""How entry points end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import CorpusError
from workloads.entry import run_entry_point


def ends_with(error: BaseException | None, code: int | None = None, **keywords: tuple[type[Exception], ...]) -> object:
    def main() -> int | None:
        if error is not None:
            raise error
        return code

    with pytest.raises(SystemExit) as ended:
        run_entry_point(main, **keywords)
    return ended.value.code


def test_success_and_own_codes() -> None:
    assert ends_with(None) == 0
    assert ends_with(None, 143) == 143


def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(CorpusError("list.csv: empty\nand more")) == 2
    assert capsys.readouterr().err == "error: list.csv: empty and more\n"


def test_what_the_cluster_raises(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(ConnectionError("no Ray cluster answers")) == 2
    assert ends_with(TimeoutError(), user_errors=(TimeoutError,)) == 2
    assert capsys.readouterr().err == "error: no Ray cluster answers\nerror: TimeoutError\n"


def test_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_entry_point(main)


def test_a_reader_that_closes_early() -> None:
    """A process of its own, since its output is closed."""
    code = "from workloads.entry import run_entry_point\nrun_entry_point(lambda: [print('x' * 999) for _ in range(9999)] and None)"
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0

"""The commands of tune's README are read by the parsers as they stand."""

from __future__ import annotations

import re
import shlex

import pytest

from cluster.environment import REPOSITORY_ROOT
from tune import fusion

TEXT = (REPOSITORY_ROOT / "tune" / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True) for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", [words[2:] for words in COMMANDS if words[1] == "tune/fusion.py" and words[2] != "promote"], ids=" ".join)
def test_commands_are_understood(command: list[str]) -> None:
    given = fusion.parser().parse_args(command)
    assert given.member
    assert (given.split, given.test) == ("dev", "test")


def test_every_file_is_named() -> None:
    files = {path.name for path in (REPOSITORY_ROOT / "tune").glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in TEXT} == set()

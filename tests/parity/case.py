"""A parity case file: reading it, reaching into it, and reading the recipes (`how`, `made`) of its inputs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ParityError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


class Record(dict[str, Any]):
    """A JSON object that knows its place in the file, so that a missing key is a ParityError that names it."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        super().__init__({key: _located(value, f"{where}.{key}" if where else key) for key, value in values.items()})
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise ParityError(f"{self.where or 'the file'} has no {key!r}")


def _located(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return Record(value, where)
    if isinstance(value, list):
        return [_located(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    return value


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case file. `case["inputs"]["fuse"]` reaches into it; what is missing raises ParityError."""

    path: Path
    record: Record

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.record.get(key, default)

    @property
    def kind(self) -> str:
        return str(self["case"])

    @property
    def seed(self) -> int:
        return int(self.get("seed") or 0)

    @property
    def config(self) -> Record:
        config: Record = self["config"]
        return config

    @property
    def inputs(self) -> Record:
        inputs: Record = self["inputs"]
        return inputs

    @property
    def expected(self) -> Record:
        expected: Record = self["expected"]
        return expected


def read_case(path: Path) -> Case:
    """Read a case file. Raises ParityError where it is missing, not JSON or not a case."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParityError(f"can't be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParityError(f"not JSON: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("case"), str):
        raise ParityError("not a parity case: an object with the text 'case' was expected")
    return Case(path=path, record=Record(values, ""))


def recipe_values(template: str, text: str) -> dict[str, float]:
    """The numbers of a recipe: `template` is its wording with `{name}` where a number stands.

    `recipe_values("x = {scale}*array(shape); x += {bias}", "x = 2*array(shape); x += 1.5")` is `{"scale": 2.0, "bias": 1.5}`.
    A doubled brace is a brace; runs of blanks match one another. Raises ParityError where the wording differs.
    """
    found = recipe_match(template, text)
    return {name: float(value) for name, value in found.items()}


def recipe_match(template: str, text: str) -> dict[str, str]:
    """As `recipe_values`, numbers as written; `{name:text}` stands for any text without quotation marks. Raises ParityError."""
    pattern = "".join(_piece_pattern(piece) for piece in re.split(r"(\{\w+(?::text)?\})", template))
    match = re.fullmatch(pattern, text.strip())
    if match is None:
        raise ParityError(f"recipe {text!r} doesn't read {template!r}: this adapter knows no other wording")
    return match.groupdict()


def recipe_part(template: str, text: str) -> tuple[float, ...]:
    """The numbers of the part of a recipe that reads `template`, blanks aside: `{}` is a number, `{+}` one with its sign (`+ 0.2`, `-.2`, `+-2e-1`).

    `recipe_part("clip({}{+}*raw)", "then y = clip(0.5 - 1e-1*raw)")` is `(0.5, -0.1)`. Raises ParityError where no part reads so.
    """
    places = {"{}": f"({NUMBER})", "{+}": rf"((?=[-+]){NUMBER})"}
    pieces = re.split(r"(\{\+?\})", re.sub(r"\s+", "", template))
    plain = re.sub(r"\s+", "", text).replace("+-", "-").replace("--", "+")
    match = re.search("".join(places.get(piece) or re.escape(piece) for piece in pieces), plain)
    if match is None:
        raise ParityError(f"recipe {text!r} has no part that reads {template!r}: this adapter knows no other wording")
    return tuple(map(float, match.groups()))


def _piece_pattern(piece: str) -> str:
    placeholder = re.fullmatch(r"\{(\w+)(:text)?\}", piece)
    if placeholder:
        return f"(?P<{placeholder[1]}>{r'[^' + chr(39) + chr(34) + ']+?' if placeholder[2] else NUMBER})"
    literal = re.escape(piece.replace("{{", "{").replace("}}", "}"))
    return re.sub(r"(?:\\?\s)+", r"\\s+", literal)

"""What a schema refused, in one line that names the key, what is wrong with it, and the nearest one that there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def refusal(detail: ErrorDetails | Mapping[str, Any], model: type[BaseModel], *, prefix: str = "") -> str:
    """One line for the first thing that a schema refused.

    detail: an entry of `ValidationError.errors()`. prefix: the key below which `model` lies, where it is a part of what was read.
    """
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        parts = [str(part) for part in detail["loc"]]
        valid = _fields(model, parts[1:-1] if prefix else parts[:-1])
        return f"unknown key {key!r}{nearest(parts[-1], valid)}; valid here: {', '.join(sorted(valid))}"
    if detail["type"] == "missing":
        return f"{key} is missing: give it in the file or with --set {key}=..."
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    given = detail.get("input")
    told = detail["type"] == "value_error"  # our own validators name the value themselves
    shown = f", got {given!r}" if not told and isinstance(given, str | int | float | bool | None) else ""
    return f"{key}: {message[0].lower()}{message[1:]}{shown}"


def _fields(model: type[BaseModel], parents: Sequence[str]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(parent)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most alike; empty where none is."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""Ours against the recorded figures: |a − b| ≤ rel·|b| + std·(the output's standard deviation) + absolute."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import ParityError
from tests.parity import formula

RECORD_KEYS = {"shape", "std", "sample"}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a deviation from an expected entry may be; the default is that of the published cases in fp32."""

    rel: float = 1e-4
    std: float = 1e-4
    absolute: float = 0.0

    @classmethod
    def parse(cls, value: Any) -> Tolerance:
        """From a case's `tolerances` entry: `{"rel": r, "std": s}` or `"abs 1e-6"`. Raises ParityError for anything else."""
        if isinstance(value, Mapping) and value and value.keys() <= {"rel", "std", "abs"}:
            return cls(rel=float(value.get("rel", 0.0)), std=float(value.get("std", 0.0)), absolute=float(value.get("abs", 0.0)))
        match = re.fullmatch(r"(abs|rel) ([-+.\deE]+)", value) if isinstance(value, str) else None
        if match is None:
            raise ParityError(f"tolerance {value!r} is neither {{'rel': r, 'std': s}} nor 'abs a'")
        return cls(rel=float(match[2]) if match[1] == "rel" else 0.0, std=0.0, absolute=float(match[2]) if match[1] == "abs" else 0.0)

    def allowed(self, expected: NDArray[np.float64], std: float) -> NDArray[np.float64]:
        return self.rel * np.abs(expected) + self.std * std + self.absolute


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One compared output: its deviation relative to |b| + std, and as a share of the tolerance (over 1 is a miss)."""

    name: str
    deviation: float
    share: float
    detail: str

    @property
    def passed(self) -> bool:
        return self.share <= 1.0


@dataclass
class Report:
    """The comparisons of one case, in the order made. Names are paths in the file, as far as there is one for the output."""

    tolerances: Mapping[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    @property
    def worst(self) -> Outcome:
        """The outcome nearest to (or farthest beyond) its tolerance. Raises ParityError where nothing was compared."""
        if not self.outcomes:
            raise ParityError("the file expects nothing: there was nothing to compare")
        return max(self.outcomes, key=lambda outcome: outcome.share)

    def compare(self, name: str, ours: ArrayLike, record: Mapping[str, Any], *, part: str | None = None) -> None:
        """Compare an output with its record (shape, std, sampled entries).

        `part` names its entry in the case's `tolerances`; without it, a key that is a component of `name` is taken.
        """
        values = _array(ours)
        shape, sample = tuple(record["shape"]), np.asarray(record["sample"], dtype=np.float64)
        places = formula.positions(math.prod(shape))
        if sample.shape != places.shape:
            raise ParityError(f"{name}: {sample.size} sampled entries for the shape {list(shape)}, which has {places.size}")
        if values.shape != shape:
            self._miss(name, f"shape {list(values.shape)} instead of {list(shape)}")
            return
        self._close(name, values.reshape(-1)[places], sample, std=float(record["std"]), places=places, part=part)

    def compare_numbers(self, name: str, ours: ArrayLike, expected: ArrayLike, *, part: str | None = None) -> None:
        """Compare numbers that the case lists in full: a loss, a rate, a (nested) list of scores. Relative tolerance only."""
        values, wanted = _array(ours), _array(expected)
        if values.shape != wanted.shape:
            self._miss(name, f"shape {list(values.shape)} instead of {list(wanted.shape)}")
            return
        self._close(name, values.reshape(-1), wanted.reshape(-1), std=0.0, places=np.arange(wanted.size), part=part)

    def compare_exact(self, name: str, ours: Any, expected: Any) -> None:
        """Compare what must be equal: ids, counts, texts, and lists or mappings of them (tuples equal lists)."""
        difference = _first_difference(_plain(ours), _plain(expected), "")
        if difference:
            self._miss(name, difference)
        else:
            self.outcomes.append(Outcome(name=name, deviation=0.0, share=0.0, detail="equal"))

    def compare_all(self, name: str, ours: Mapping[str, Any], expected: Mapping[str, Any], *, part: str | None = None) -> None:
        """Compare everything that `expected` holds, each by its form; what ours lacks is a miss. Keys of notes are passed over.

        Records are compared by `compare`, objects entry by entry, floats by `compare_numbers`, the rest by `compare_exact`.
        """
        for key, wanted in expected.items():
            if key == "note" or key.endswith("_note"):
                continue
            path = f"{name}.{key}" if name else key
            if key not in ours:
                self._miss(path, "not computed")
            elif isinstance(wanted, Mapping) and wanted.keys() >= RECORD_KEYS:
                self.compare(path, ours[key], wanted, part=part)
            elif isinstance(wanted, Mapping):
                self.compare_all(path, ours[key], wanted, part=part)
            elif _holds_floats(wanted):
                self.compare_numbers(path, ours[key], wanted, part=part)
            else:
                self.compare_exact(path, ours[key], wanted)

    def _tolerance(self, name: str, part: str | None) -> Tolerance:
        key = next((key for key in self.tolerances if key == part or f".{key}." in f".{name}."), None)
        return Tolerance() if key is None else Tolerance.parse(self.tolerances[key])

    def _close(self, name: str, ours: NDArray, expected: NDArray, *, std: float, places: NDArray, part: str | None) -> None:
        allowed = self._tolerance(name, part).allowed(expected, std)
        if not expected.size:
            self.outcomes.append(Outcome(name=name, deviation=0.0, share=0.0, detail="empty"))
            return
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = np.where(ours == expected, 0.0, np.abs(ours - expected))
            shares = np.where(difference == 0, 0.0, difference / allowed)
            deviations = np.where(difference == 0, 0.0, difference / (np.abs(expected) + std))
        shares = np.where(np.isnan(shares), np.inf, shares)  # a NaN of ours is a miss
        worst = int(shares.argmax())
        detail = f"{ours[worst]:.8g} for {expected[worst]:.8g} at {places[worst]}"
        self.outcomes.append(Outcome(name=name, deviation=float(deviations.max()), share=float(shares[worst]), detail=detail))

    def _miss(self, name: str, detail: str) -> None:
        self.outcomes.append(Outcome(name=name, deviation=math.inf, share=math.inf, detail=detail))


def _array(values: Any) -> NDArray[np.float64]:
    """Any array or tensor (on any device, with or without gradient) as float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _plain(value: Any) -> Any:
    """Arrays, tensors and tuples as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _holds_floats(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_holds_floats(entry) for entry in value)
    return isinstance(value, float)


def _first_difference(ours: Any, expected: Any, where: str) -> str:
    """Where and how two plain values differ, or an empty text."""
    if isinstance(ours, list) and isinstance(expected, list):
        if len(ours) != len(expected):
            return f"{len(ours)} entries instead of {len(expected)}{' at ' + where if where else ''}: {_short(ours)} for {_short(expected)}"
        pairs = ((ours[index], expected[index], f"{where}[{index}]") for index in range(len(ours)))
    elif isinstance(ours, dict) and isinstance(expected, dict) and ours.keys() == expected.keys():
        pairs = ((ours[key], expected[key], f"{where}.{key}") for key in expected)
    else:
        return "" if ours == expected else f"{_short(ours)} for {_short(expected)}{' at ' + where if where else ''}"
    return next((difference for difference in (_first_difference(*pair) for pair in pairs) if difference), "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""What a benchmark hands back: figures, each a ratio or a share with its rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure. rounds: its value in each round, both sides of which ran one after the other; note: what the ratio was made of, in plain numbers.

    at_most, at_least: the target, None where there is none. unit: `×` for ratios, `%` for shares.
    """

    name: str
    rounds: tuple[float, ...]
    note: str
    unit: str = "×"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles over the rounds; the extremes where there are fewer than four."""
        if len(self.rounds) < 4:
            return min(self.rounds), max(self.rounds)
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return low, high

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without a target."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least

    @property
    def target(self) -> str:
        """The target as text; empty without one."""
        if self.at_most is not None:
            return f"≤ {self.at_most:.2f}"
        return "" if self.at_least is None else f"≥ {self.at_least:.2f}"

    def noted(self, more: str) -> Figure:
        """The same figure with more in its note."""
        return replace(self, note=f"{self.note}; {more}")

"""A text that a translator answered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TextAnswer:
    """text: detokenised. score: log-probability of its tokens, divided by their number to the power of the search's length penalty."""

    text: str
    score: float

"""What decoding a clip gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """The glosses recognised in one clip; none at all is a valid answer.

    `score` is the decoder's natural log-probability of the sequence as searched, before adjacent repeats were merged, with what a language
    model and hot words added.
    `spans` and `confidences` have one entry a gloss. A span is the half-open interval of time steps `[start, end)` that the
    likeliest alignment of `ids` gives to the gloss (CTC emits in peaks, so it marks the sign rather than covers it);
    the confidence is the mean posterior of the gloss over its span, in [0, 1].
    """

    ids: tuple[int, ...]
    score: float
    spans: tuple[tuple[int, int], ...]
    confidences: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.spans) == len(self.confidences):
            raise ValueError(f"{len(self.ids)} ids, {len(self.spans)} spans and {len(self.confidences)} confidences: one of each a gloss")

    def __len__(self) -> int:
        return len(self.ids)

"""How a trained recogniser answers."""

from __future__ import annotations

from pydantic import Field

from models.decoding.decode import Method
from models.options import Options


class DecodingOptions(Options):
    """Which head answers and how its logits become glosses; the defaults are the published ones."""

    head: str = Field("ensemble", min_length=1, description="head whose hypothesis is the answer: ensemble, or one of the system's heads")
    beam_width: int = Field(5, gt=0)
    method: Method = "beam"
    merge_repeats: bool = Field(True, description="merge adjacent equal glosses once more after decoding, as the published figures do")
    low_confidence: float = Field(
        0.5, ge=0, le=1, description="an answer whose glosses have a lower mean confidence (none at all: 0) is marked as of low confidence"
    )

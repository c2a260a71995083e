"""How a trained recogniser answers."""

from __future__ import annotations

from pydantic import Field

from models.decoding.decode import Method
from models.options import AnswerOptions

MAX_BEAM_WIDTH = 10_000  # memory and time grow with it; a search of some hundreds is as good as exact


class DecodingOptions(AnswerOptions):
    """How gloss logits become a sentence; the defaults are the published ones."""

    beam_width: int = Field(5, gt=0, le=MAX_BEAM_WIDTH)
    method: Method = Field("beam", description="beam: TensorFlow's search (MSKA, TwoStream); prefix_beam: ctcdecode's (SlowFastSign, MSTFNet); greedy")
    merge_repeats: bool = Field(True, description="merge adjacent equal glosses once more after decoding, as the published figures do")
    cutoff_top_n: int = Field(40, gt=0, description="prefix_beam: likeliest classes tried in each step")
    cutoff_prob: float = Field(1.0, ge=0, le=1, description="prefix_beam: below 1, fewer classes are tried, by ctcdecode's rule")

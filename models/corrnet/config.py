"""The options of CorrNet, with the published values as defaults (cslr_common.md, section 13)."""

from __future__ import annotations

from pydantic import Field, field_validator

from models.vac.config import SequenceOptions
from models.vac.resnet import Depth


class CorrNetOptions(SequenceOptions):
    """Architecture of CorrNet; `num_classes` comes from the vocabulary, blank included."""

    depth: Depth = 18
    width: int = Field(64, gt=0, multiple_of=16, description="channels of the first stage; the last of four has eight times as many")
    stages: tuple[int, ...] = Field((2, 3, 4), description="stages that a correlation block follows; the released CSL-Daily weights have (3, 4)")
    share_classifier: bool = True

    @field_validator("stages")
    @classmethod
    def _ordered(cls, stages: tuple[int, ...]) -> tuple[int, ...]:
        if not stages or list(stages) != sorted(set(stages) & {2, 3, 4}):
            raise ValueError(f"stages {stages}: some of 2, 3, 4 in this order are expected")
        return stages

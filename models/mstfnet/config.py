"""The options of MSTFNet, with the published values as defaults (mstfnet.md, sections 2 to 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from models.vac.config import SequenceOptions
from models.vac.resnet import Depth


class MstfNetOptions(SequenceOptions):
    """Architecture of MSTFNet; `num_classes` comes from the vocabulary, blank included."""

    depth: Depth = 34
    width: int = Field(64, gt=0, multiple_of=16, description="channels of the first stage; the last of four has eight times as many")
    attention: Literal["per_level", "shared"] = Field("per_level", description="of the auxiliary levels; published: shared for Phoenix-2014, else per_level")
    level_size: int = Field(1000, gt=0, description="width of the features that the auxiliary levels share")
    share_classifier: bool = True

    @model_validator(mode="after")
    def _as_the_levels(self) -> MstfNetOptions:
        if self.conv_type != 2:
            raise ValueError(f"conv_type {self.conv_type}: the auxiliary levels have the layers over time of type 2")
        return self

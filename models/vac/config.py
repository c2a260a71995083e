"""Options that SlowFastSign, MSTFNet and CorrNet have in common, with the published values as defaults (cslr_common.md, sections 4 and 6)."""

from __future__ import annotations

from pydantic import Field, field_validator

from models.options import SentenceNetworkOptions
from models.vac.temporal import CONV_TYPES, TemporalLayout


class SequenceOptions(SentenceNetworkOptions):
    """From features of frames to logits; the number of classes comes from the vocabulary, blank included."""

    frame_size: int = Field(224, gt=0, multiple_of=32, description="height and width of a frame in pixels")
    conv_type: int = Field(2, description="published number of the layers over time; 2: K5 P2 K5 P2")
    hidden_size: int = Field(1024, gt=0, multiple_of=2)
    weight_norm: bool = Field(True, description="classes of unit length, without bias; off: a linear map")
    dropout: float = Field(0.3, ge=0, lt=1, description="between the layers of the BiLSTM")

    @field_validator("conv_type")
    @classmethod
    def _known(cls, conv_type: int) -> int:
        if conv_type not in CONV_TYPES:
            raise ValueError(f"conv_type {conv_type} is none of {', '.join(map(str, CONV_TYPES))}")
        return conv_type

    @property
    def layout(self) -> TemporalLayout:
        """The layers over time."""
        return TemporalLayout.of(self.conv_type)

    def num_steps(self, num_frames: int) -> int:
        return max(0, self.layout.output_length(self.layout.padded_length(num_frames)))

"""The base of every typed, frozen option set: unknown keys and wrong types are errors."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Frozen options; an unknown key, a wrong type, an infinite number or an impossible combination raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True, allow_inf_nan=False)


class SentenceNetworkOptions(Options):
    """Options of a network that recognises sentences in clips."""

    @abstractmethod
    def num_steps(self, num_frames: int) -> int:
        """Time steps of the answer to a clip of which the network sees `num_frames` frames, alone or masked."""


class AnswerOptions(Options):
    """Which head answers, and when its answer is doubtful."""

    head: str = Field("ensemble", min_length=1, description="head that answers: ensemble, or one of the system's heads")
    low_confidence: float = Field(
        0.5, ge=0, le=1, description="an answer of a lower confidence (of a sentence: the mean of its glosses; none at all: 0) is marked as of low confidence"
    )

"""How a system's loss terms are weighed; each system's terms have names, and a recipe weighs them by these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from models.options import Options


class LossOptions(Options):
    """What the losses of all systems have in common. published_weights: those of a system's terms that don't weigh 1; a recipe may change each."""

    published_weights: ClassVar[Mapping[str, float]] = {}

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="weight of a term; the published one where it isn't named, which is 1 for most"
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _with_published(cls, value: Any) -> Any:
        return {**cls.published_weights, **value} if isinstance(value, Mapping) else value


class SentenceLossOptions(LossOptions):
    """Losses of continuous recognition: `ctc_<head>`, `distil_<head>`."""

    distillation: bool = True
    distil_padding: bool = Field(True, description="distillation counts padded steps, as published")


class SignLossOptions(LossOptions):
    """Losses of isolated recognition: `cross_entropy_<head>`."""

    class_balance: Literal["none", "inverse", "effective"] = Field(
        "none", description="weight of a clip by its class: equal, as published; inverse to the class's clips; or inverse to their effective number"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)

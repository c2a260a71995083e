"""The base of every typed, frozen option set: unknown keys and wrong types are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Frozen options; an unknown key, a wrong type or an impossible combination raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)

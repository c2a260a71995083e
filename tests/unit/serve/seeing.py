"""A bundle whose network looks at pictures, small enough to make in each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.bundle import Bundle, DecodingOptions
from models.vac.inputs import FrameInputs
from models.vocabulary import SPECIALS, Vocabulary
from tests.unit.models.vac.tiny import NUM_CLASSES, SIZE, tiny
from tests.unit.tiny import save_tiny_bundle

GLOSSES = tuple(f"G{number}" for number in range(NUM_CLASSES - len(SPECIALS)))


def save_seeing_bundle(folder: Path, *, seed: int = 0, **changes: Any) -> Bundle:
    """A CorrNet; `changes` replace arguments of `save_bundle`."""
    network = tiny("corrnet", seed=seed)
    facts = {"options": network.options, "state_dict": network.state_dict(), "inputs": FrameInputs(size=SIZE + 8, crop=SIZE)}
    classes = Vocabulary(entries=(*SPECIALS, *GLOSSES))
    return save_tiny_bundle(folder, **{"system": "corrnet", "classes": classes, "decoding": DecodingOptions(head="sequence"), **facts, **changes})

"""What training's draws make of a clip's pictures: drawn where batches are made, applied on the device."""

from __future__ import annotations

from dataclasses import dataclass

from models.inputs.crops import Crop
from models.inputs.pictures import Jitter


@dataclass(frozen=True, kw_only=True)
class View:
    """The rectangle that is seen of a clip's pictures, whether left and right change places, and the change of colours, None where they stay."""

    crop: Crop
    mirrored: bool = False
    colours: Jitter | None = None

"""What the service tells of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from models.bundle import Bundle
from models.ensemble import Ensemble
from models.inputs.inputs import Inputs


def model_card(bundle: Bundle | Ensemble, name: str) -> dict[str, Any]:
    """What `schemas.Model` tells of a bundle. A folder's own name is told, and not where it lies."""
    inputs = [each.inputs for each in (bundle.members.values() if isinstance(bundle, Ensemble) else [bundle])]
    return {
        "name": name if name.startswith(("models:/", "runs:/")) else PurePosixPath(name).name,
        "task": bundle.task,
        "system": bundle.system,
        "corpus": bundle.corpus.name,
        "checksum": bundle.checksum,
        "signray": bundle.signray,
        "head": bundle.decoding.head,
        "heads": list(bundle.answering),
        "num_classes": len(bundle.classes),
        "takes": ["video" if reads_frames(inputs) else "keypoints"],
        "num_keypoints": _common_layouts(inputs),
        "max_frames": min((limit for each in inputs if (limit := getattr(each, "max_frames", None))), default=None),
        "members": list(bundle.members) if isinstance(bundle, Ensemble) else [],
        "metrics": dict(bundle.metrics),
    }


def reads_frames(inputs: Sequence[Inputs]) -> bool:
    """Whether some member reads pictures."""
    return any("frames" in each.modalities for each in inputs)


def _common_layouts(inputs: Sequence[Inputs]) -> list[int]:
    """Numbers of keypoints that all members take which read any."""
    layouts = [set(each.layouts) for each in inputs if "keypoints" in each.modalities]
    return sorted(set.intersection(*layouts)) if layouts else []

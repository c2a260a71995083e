"""What the service tells of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from models.bundle import Bundle
from models.ensemble import Ensemble
from models.inputs.inputs import Inputs
from serve.settings import ServeSettings


def model_card(bundle: Bundle | Ensemble, settings: ServeSettings) -> dict[str, Any]:
    """What `schemas.Model` tells of a bundle. A folder's own name is told, and not where it lies."""
    inputs, modalities = _inputs(bundle), modalities_of(bundle)
    name = settings.bundle
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
        "takes": taken(modalities, settings),
        "translates": bundle.translates,
        "modalities": modalities,
        "num_keypoints": common_layouts(bundle),
        "max_frames": min((limit for each in inputs if (limit := getattr(each, "max_frames", None))), default=None),
        "members": list(bundle.members) if isinstance(bundle, Ensemble) else [],
        "metrics": dict(bundle.metrics),
    }


def modalities_of(bundle: Bundle | Ensemble) -> list[str]:
    """What its networks read: frames, keypoints."""
    return sorted({modality for each in _inputs(bundle) for modality in each.modalities})


def _inputs(bundle: Bundle | Ensemble) -> list[Inputs]:
    return [each.inputs for each in (bundle.members.values() if isinstance(bundle, Ensemble) else [bundle])]


def taken(modalities: Sequence[str], settings: ServeSettings) -> list[str]:
    """Kinds of clips from which the service can make what the networks read."""
    by_video = settings.video and ("keypoints" not in modalities or settings.pose_model is not None)
    return [*(["keypoints"] if "frames" not in modalities else []), *(["video"] if by_video else [])]


def common_layouts(bundle: Bundle | Ensemble) -> list[int]:
    """Numbers of keypoints that all members take which read any."""
    layouts = [set(each.layouts) for each in _inputs(bundle) if "keypoints" in each.modalities]
    return sorted(set.intersection(*layouts)) if layouts else []

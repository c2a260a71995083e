"""The published fusion weights of the four streams (dsta_slr.md, section 7); `models.fusion.fuse` applies them to raw logits."""

from __future__ import annotations

from collections.abc import Mapping

from models.dsta_slr.streams import PUBLISHED

# Joint, bone, joint motion, bone motion. They were searched on the labels of the split that the published scores are of, so these flatter.
_WEIGHTS = {
    "wlasl2000": (1.7, 0.8, 0.5, 0.5),
    "wlasl1000": (1.5, 0.6, 0.5, 0.1),
    "wlasl300": (1.5, 0.7, 0.4, 0.4),
    "wlasl100": (1.7, 1.2, 0.2, 0.3),
    "slr500": (1.3, 1.3, 0.8, 1.0),
    "autsl": (1.8, 0.5, 0.1, 0.7),
    "msasl1000": (1.5, 0.6, 0.3, 0.8),
    "msasl500": (1.6, 1.2, 0.6, 0.9),
    "msasl200": (1.7, 0.5, 0.4, 0.6),
    "msasl100": (1.9, 1.4, 0.3, 0.4),
}

PRESETS: Mapping[str, Mapping[str, float]] = {
    corpus: {stream.value: weight for stream, weight in zip(PUBLISHED, weights, strict=True)} for corpus, weights in _WEIGHTS.items()
}


def published_weights(corpus: str, num_classes: int | None = None) -> Mapping[str, float]:
    """Weight of each stream by name, for a preset as `wlasl100`, or for a corpus and its number of classes. Raises ValueError where there is none."""
    preset = next((name for name in (corpus, f"{corpus}{num_classes or ''}") if name in PRESETS), None)
    if preset is None:
        known = ", ".join(PRESETS)
        raise ValueError(f"no published fusion weights for {corpus!r}{f' with {num_classes} classes' if num_classes else ''}: there are {known}")
    return PRESETS[preset]

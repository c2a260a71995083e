"""Signers: proportions, position in the picture, tempo, style."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np

from workloads.corpora.synthetic.options import SyntheticOptions


@dataclass(frozen=True, kw_only=True)
class Signer:
    """One signer. Lengths are in shoulder widths of the mean signer; the scale turns them into pixels of a 210 × 260 picture.

    tempo: duration of a movement relative to the mean. amplitude: size of a movement. mouthing: strength of mouth patterns.
    yaw, roll: how the body stands before the camera, in radians. skin, shirt: colours for rendering.
    """

    name: str
    left_handed: bool = False
    scale: float = 75.0
    centre: tuple[float, float] = (105.0, 121.0)
    shoulders: float = 1.0
    upper_arm: float = 0.84
    forearm: float = 0.74
    hand: float = 0.5
    head: float = 1.0
    neck: float = 0.55
    trunk: float = 1.36
    tempo: float = 1.0
    amplitude: float = 1.0
    mouthing: float = 1.0
    yaw: float = 0.0
    roll: float = 0.0
    noise: float = 1.0
    skin: tuple[int, int, int] = (214, 170, 140)
    shirt: tuple[int, int, int] = (52, 58, 78)


MEAN_SIGNER = Signer(name="mean")
_SKINS = ((236, 200, 172), (214, 170, 140), (183, 134, 101), (136, 92, 66), (98, 66, 48))
_SHIRTS = ((52, 58, 78), (40, 70, 66), (84, 44, 56), (46, 46, 50), (70, 62, 96))


def random_generator(options: SyntheticOptions, key: str) -> np.random.Generator:
    """A generator of its own for everything that has a name, so that no clip depends on the order of generation."""
    return np.random.Generator(np.random.PCG64([options.seed, crc32(key.encode())]))


@lru_cache(maxsize=16)
def signers(options: SyntheticOptions) -> dict[str, Signer]:
    """Name → signer: those of train, dev and test, then the one who signs only `signer_independent`."""
    names = [f"signer{index + 1:02d}" for index in range(options.num_signers + 1)]
    left_handed = names[options.num_signers - options.num_left_handed : options.num_signers]
    return {name: _draw_signer(options, name, left_handed=name in left_handed) for name in names}


def _draw_signer(options: SyntheticOptions, name: str, *, left_handed: bool) -> Signer:
    rng = random_generator(options, name)
    mean = MEAN_SIGNER

    def around(value: float, spread: float) -> float:
        # Truncated: a signer far out would leave the picture.
        return value + options.style * spread * float(np.clip(rng.standard_normal(), -1.6, 1.6))

    return Signer(
        name=name,
        left_handed=left_handed,
        scale=around(mean.scale, 3.0),
        centre=(around(mean.centre[0], 3.5), around(mean.centre[1], 3.5)),
        shoulders=around(mean.shoulders, 0.05),
        upper_arm=around(mean.upper_arm, 0.03),
        forearm=around(mean.forearm, 0.03),
        hand=around(mean.hand, 0.025),
        head=around(mean.head, 0.05),
        neck=around(mean.neck, 0.03),
        trunk=around(mean.trunk, 0.06),
        tempo=float(np.exp(around(0.0, 0.1))),
        amplitude=float(np.exp(around(0.0, 0.08))),
        mouthing=float(np.exp(around(0.0, 0.2))),
        yaw=around(0.0, 0.06),
        roll=around(0.0, 0.02),
        noise=float(np.exp(around(0.0, 0.2))),
        skin=_SKINS[int(rng.integers(len(_SKINS)))],
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
    )

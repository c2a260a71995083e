"""RWTH-PHOENIX-Weather 2014 (multisigner): German Sign Language, 5,672 / 540 / 629 sentences of nine signers (Koller, Forster, Ney, CVIU 2015)."""

from __future__ import annotations

from functools import partial

from workloads.corpora.keypoint_release import KeypointRelease, read_release

RELEASE = KeypointRelease(
    corpus="phoenix2014",
    stem="phoenix-2014",
    licence="CC BY-NC-SA 3.0 (RWTH Aachen University): attribution, no commercial use, share alike",
    width=210,
    height=260,
    lower_case=False,
    fps=25.0,
)
read_phoenix2014 = partial(read_release, RELEASE)

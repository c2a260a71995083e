"""RWTH-PHOENIX-Weather 2014-T: German Sign Language with spoken-language text, 7,096 / 519 / 642 sentences of nine signers (Camgoz et al., CVPR 2018)."""

from __future__ import annotations

from functools import partial

from workloads.corpora.keypoint_release import KeypointRelease, read_release

RELEASE = KeypointRelease(
    corpus="phoenix2014t",
    stem="Phoenix-2014T",
    licence="CC BY-NC-SA 3.0 (RWTH Aachen University): attribution, no commercial use, share alike",
    width=210,
    height=260,
    lower_case=True,
    fps=25.0,
)
read_phoenix2014t = partial(read_release, RELEASE)

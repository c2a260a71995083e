"""CSL-Daily: Chinese Sign Language of daily life with spoken-language text, 18,401 / 1,077 / 1,176 sentences of ten signers (Zhou et al., CVPR 2021)."""

from __future__ import annotations

import re
from functools import partial

from workloads.corpora.keypoint_release import KeypointRelease, read_release


def signer_of(name: str) -> str:
    """The P field of a name: `S000020_P0008_T00` is sentence 20, signer 8, take 0."""
    found = re.search(r"_(P\d+)_", name)
    return found[1] if found else ""


RELEASE = KeypointRelease(
    corpus="csl_daily",
    stem="CSL-Daily",
    licence="research agreement with the University of Science and Technology of China; no redistribution",
    width=512,
    height=512,
    lower_case=True,
    signer_of=signer_of,
)
read_csl_daily = partial(read_release, RELEASE)

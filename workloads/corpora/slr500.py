"""SLR500 (CSL-500): Chinese Sign Language, 500 words by 50 signers (Huang et al., IEEE TCSVT 2019)."""

from __future__ import annotations

import re
from functools import partial

from workloads.corpora.skeleton_release import SkeletonRelease, read_skeletons


def signer_of(name: str) -> str:
    """The P field that a name begins with: `P01_25_19_2` is signer 1, word (25 - 1)·20 + 19, take 2."""
    found = re.match(r"P\d+(?=_)", name)
    return found[0] if found else ""


RELEASE = SkeletonRelease(
    corpus="slr500",
    licence="research agreement with the University of Science and Technology of China; no redistribution",
    sizes=(500,),
    class_files=("dictionary.txt",),
    signer_of=signer_of,
)
read_slr500 = partial(read_skeletons, RELEASE)

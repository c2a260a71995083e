"""NMFs-CSL: Chinese Sign Language, 1,067 words of which 610 are told apart by non-manual features (Hu et al., ACM TOMM 2021)."""

from __future__ import annotations

from functools import partial

from workloads.corpora.skeleton_release import SkeletonRelease, read_skeletons

RELEASE = SkeletonRelease(
    corpus="nmfs_csl",
    licence="research agreement with the University of Science and Technology of China; no redistribution",
    sizes=(1067,),
    class_files=(),
)
read_nmfs_csl = partial(read_skeletons, RELEASE)

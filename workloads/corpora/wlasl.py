"""WLASL: American Sign Language, 2,000 words from the web; WLASL100, 300 and 1000 are the first classes of it (Li et al., WACV 2020)."""

from __future__ import annotations

from functools import partial

from workloads.corpora.skeleton_release import SkeletonRelease, read_skeletons

RELEASE = SkeletonRelease(
    corpus="wlasl",
    licence="Computational Use of Data Agreement: research only; the videos belong to their owners",
    sizes=(100, 300, 1000, 2000),
    class_files=("wlasl_class_list.txt", "WLASL_v0.3.json"),
)
read_wlasl = partial(read_skeletons, RELEASE)

"""MS-ASL: American Sign Language, 1,000 words by over 200 signers; MS-ASL100, 200 and 500 are the first classes of it (Joze and Koller, BMVC 2019)."""

from __future__ import annotations

from functools import partial

from workloads.corpora.skeleton_release import SkeletonRelease, read_skeletons

RELEASE = SkeletonRelease(
    corpus="msasl",
    licence="Computational Use of Data Agreement: research only; the videos belong to their owners",
    sizes=(100, 200, 500, 1000),
    class_files=("MSASL_classes.json",),
)
read_msasl = partial(read_skeletons, RELEASE)

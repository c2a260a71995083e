"""Real data beside the repository, for checks that a clone without them skips."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_annotations = pytest.mark.skipif(not (SHARED / "annotations").is_dir(), reason="no real annotations in ../shared/data")
needs_real_keypoints = pytest.mark.skipif(not (SHARED / "real_samples" / "keypoints").is_dir(), reason="no real keypoints in ../shared/data")
needs_real_samples = pytest.mark.skipif(not (SHARED / "real_samples" / "video").is_dir(), reason="no real recordings in ../shared/data")


def annotations(name: str) -> list[dict[str, str]]:
    """Rows of a table of the annotations folder, such as `phoenix-2014.train`."""
    with gzip.open(SHARED / "annotations" / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

"""The three published corpora in the format of their keypoint release."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import CorpusError
from tests.unit.workloads.corpora_on_disk import keypoints, sample, write_release
from workloads.corpora import CORPORA
from workloads.corpora.corpus import Rejection
from workloads.corpora.recording import Recording


def recordings(corpus: str, folder: Path) -> list[Recording]:
    found = list(CORPORA[corpus](folder, {}).recordings())
    assert all(isinstance(entry, Recording) for entry in found)
    return [entry for entry in found if isinstance(entry, Recording)]


@pytest.mark.parametrize(
    ("corpus", "stem", "size", "lower_case"),
    [
        ("phoenix2014", "phoenix-2014", (210, 260), False),
        ("phoenix2014t", "Phoenix-2014T", (210, 260), True),
        ("csl_daily", "CSL-Daily", (512, 512), True),
    ],
)
def test_the_published_corpora(tmp_path: Path, corpus: str, stem: str, size: tuple[int, int], lower_case: bool) -> None:
    write_release(tmp_path, stem=stem)
    found = CORPORA[corpus](tmp_path, {})
    assert (found.name, found.lower_case, found.vocabulary) == (corpus, lower_case, tmp_path / "gloss2ids.pkl")
    clips = recordings(corpus, tmp_path)
    assert [(clip.split, clip.name) for clip in clips][-3:] == [("dev", "dev/0"), ("test", "test/0"), ("test", "test/1")]
    assert {(clip.width, clip.height) for clip in clips} == {size}
    assert clips[1].glosses == ("HAUS", "BAUM")
    assert clips[1].signer == "Signer01"
    assert clips[1].text == "haus baum ."
    assert clips[1].keypoints is not None
    assert np.array_equal(clips[1].keypoints, keypoints(9, seed=1))


def test_file_names_in_any_case_and_no_vocabulary(tmp_path: Path) -> None:
    write_release(tmp_path, stem="PHOENIX-2014t", vocabulary=False)
    assert CORPORA["phoenix2014t"](tmp_path, {}).vocabulary is None
    assert len(recordings("phoenix2014t", tmp_path)) == 8


def test_the_signer_of_csl_daily_stands_in_the_name(tmp_path: Path) -> None:
    nameless = [sample("S000020_P0008_T00", "HAUS", signer=None)]
    write_release(tmp_path, {"train": nameless, "dev": nameless, "test": nameless}, stem="CSL-Daily")
    assert recordings("csl_daily", tmp_path)[0].signer == "P0008"


def test_float64_and_views_become_float32(tmp_path: Path) -> None:
    base = torch.rand(20, 133, 3, dtype=torch.float64)
    split = [sample("a", "HAUS", keypoint=base[4:12])]
    clip = recordings("phoenix2014t", write_release(tmp_path, {"train": split, "dev": split, "test": split}))[0]
    assert clip.keypoints is not None
    assert clip.keypoints.dtype == np.float32
    assert np.array_equal(clip.keypoints, base[4:12].float().numpy())


def test_a_sample_without_keypoints_or_gloss(tmp_path: Path) -> None:
    odd = [sample("a", "HAUS", keypoint=None), sample("b", " "), sample("c", "HAUS", keypoint="text")]
    found = list(CORPORA["phoenix2014t"](write_release(tmp_path, {"train": odd, "dev": odd, "test": odd}), {}).recordings())[:3]
    assert isinstance(found[0], Rejection)
    assert found[0].reason.startswith("no keypoints")
    assert isinstance(found[1], Recording)
    assert found[1].glosses is None
    assert isinstance(found[2], Rejection)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"phoenix2014t needs --source.*Phoenix-2014T\.train"):
        CORPORA["phoenix2014t"](None, {})
    with pytest.raises(CorpusError, match="no such folder"):
        CORPORA["phoenix2014t"](tmp_path / "nowhere", {})
    (write_release(tmp_path) / "Phoenix-2014T.dev").unlink()
    with pytest.raises(CorpusError, match=r"Phoenix-2014T\.dev missing"):
        CORPORA["phoenix2014t"](tmp_path, {})
    with pytest.raises(CorpusError, match="has no option 'glosses'; its options are pictures, keypoints"):
        CORPORA["phoenix2014t"](tmp_path, {"glosses": "3"})


def test_the_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    first = CORPORA["phoenix2014t"](write_release(tmp_path / "a"), {}).fingerprint
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert CORPORA["phoenix2014t"](tmp_path / "b", {}).fingerprint == first
    other = {split: [sample("x", "HAUS", seed=99)] for split in ("train", "dev", "test")}
    assert CORPORA["phoenix2014t"](write_release(tmp_path / "b", other), {}).fingerprint != first

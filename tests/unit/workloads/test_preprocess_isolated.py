"""Preprocessing isolated signs in this process: class maps, the report, warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.class_map import ClassMap
from models.errors import CorpusError, ShardError
from tests.unit.workloads.corpora.skeletons_on_disk import skeletons, write_skeletons, write_split
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from workloads.part_runners import in_this_process
from workloads.preprocess import Outcome, PreprocessOptions, main, preprocess


def manifest(folder: Path, rows: Sequence[tuple[str, str, str, str]]) -> Path:
    """Rows of name, split, label, gloss."""
    write_npz(folder / "a.npz", keypoints(9))
    return write_manifest(
        folder / "list.csv", [{"name": name, "path": "a.npz", "split": split, "label": label, "gloss": gloss} for name, split, label, gloss in rows]
    )


def made(folder: Path, rows: Sequence[tuple[str, str, str, str]]) -> Outcome:
    return preprocess(PreprocessOptions(corpus="manifest", source=manifest(folder, rows), out=folder / "out"), in_this_process)


ROWS = (
    ("b1", "train", "tree", ""),
    ("a", "train", "House", ""),
    ("b2", "train", "tree", ""),
    ("c", "dev", "tree", ""),
    ("d", "test", "cloud", ""),
    ("e", "test", "cloud", ""),
    ("f", "test", "House", ""),
)


def test_a_manifest_of_labels_gives_a_class_map_of_train(tmp_path: Path) -> None:
    shards = made(tmp_path, ROWS).shards
    assert shards.classes == ClassMap(("House", "tree"))
    assert shards.corpus.labels_source == "built from the train split"
    assert shards.corpus.vocabulary_source.startswith("specials only")
    assert [(clip.label, clip.glosses) for clip in shards.rows("train")] == [("tree", None), ("House", None), ("tree", None)]
    assert [row.label for row in shards.index("test")] == ["cloud", "cloud", "House"]
    shards.verify()


def test_the_report_counts_classes_and_unknown_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--corpus", "manifest", "--source", str(manifest(tmp_path, ROWS)), "--out", str(tmp_path / "out"), "--in-process"]
    main(arguments)
    printed = capsys.readouterr().out
    assert "classes: 2, built from the train split" in printed
    assert "warning: 2 recordings of test have labels that train doesn't (1 labels, such as 'cloud')" in printed
    assert "clips of the commonest class" in printed
    assert "gloss" not in printed.replace("without glosses or label", "")
    assert "vocabulary" not in printed
    splits = json.loads((tmp_path / "out" / "report.json").read_text())["splits"]
    assert splits["train"]["classes"] == {"types": 2, "clips_min": 1, "clips_median": 1.5, "clips_max": 2, "without_clips": [], "unknown": {}}
    assert splits["test"]["classes"] == {"types": 1, "clips_min": 1, "clips_median": 1.0, "clips_max": 1, "without_clips": ["tree"], "unknown": {"cloud": 2}}
    assert (splits["test"]["isolated"], splits["test"]["continuous"]) == (3, 0)


def test_recordings_for_evaluation_alone_are_not_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = manifest(tmp_path, [("a", "test", "tree", "")])
    main(["--corpus", "manifest", "--source", str(source), "--out", str(tmp_path / "out"), "--in-process"])
    assert "warning" not in capsys.readouterr().out


def test_a_manifest_of_both_kinds_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = manifest(tmp_path, [("a", "train", "tree", ""), ("b", "train", "", "HOUSE TREE"), ("c", "train", "", "TREE")])
    main(["--corpus", "manifest", "--source", str(source), "--out", str(tmp_path / "out"), "--in-process"])
    printed = capsys.readouterr().out
    assert "warning: train mixes 2 recordings with glosses and 1 with a label: continuous systems learn glosses, isolated ones labels" in printed
    assert "different glosses" in printed
    assert "clips of the rarest class" in printed


def test_classes_that_differ_in_case_only_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = manifest(tmp_path, [("a", "train", "tree", ""), ("b", "train", "Tree", ""), ("c", "train", "house", "")])
    main(["--corpus", "manifest", "--source", str(source), "--out", str(tmp_path / "out"), "--in-process"])
    assert "warning: 2 classes differ from another in upper and lower case only, such as 'Tree'" in capsys.readouterr().out


def test_continuous_signing_has_no_classes_and_no_rows_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = made(tmp_path, [("a", "train", "", "HOUSE TREE")])
    with pytest.raises(ShardError, match="holds no isolated signs: no training recording has a label"):
        _ = outcome.shards.classes
    main(["--corpus", "manifest", "--source", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out"), "--in-process", "--force"])
    printed = capsys.readouterr().out
    assert "class" not in printed
    assert "warning" not in printed


def test_a_recording_may_have_glosses_and_a_label(tmp_path: Path) -> None:
    shards = made(tmp_path, [("a", "train", "tree", "TREE")]).shards
    assert [(clip.label, clip.glosses) for clip in shards.rows("train")] == [("tree", ("TREE",))]


def test_skeleton_arrays_become_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skeletons(tmp_path / "data")
    data = skeletons(7, seed=5)
    data[0, 0, 2, 3] = np.inf
    data[1, 0, 2, 3] = np.nan
    np.save(tmp_path / "data" / "train_data_joint.npy", data)
    (tmp_path / "data" / "wlasl_class_list.txt").write_text("".join(f"{i}\tword{i}\n" for i in range(2000)))
    arguments = ["--corpus", "wlasl", "--source", str(tmp_path / "data"), "--set", "classes=100", "--out", str(tmp_path / "out"), "--in-process"]
    main(arguments)
    printed = capsys.readouterr()
    assert "classes: 100, wlasl_class_list.txt" in printed.out
    assert "infinite numbers set to 0" in printed.out
    assert "rejected: 1 (NaN or infinite keypoints)" in printed.out
    assert "warning: 96 of 100 classes have no training clip, such as 'word3'" in printed.out
    assert "clips of the others are left out (1 of train, 1 of dev)" in printed.err
    main(arguments)
    assert "is up to date" in capsys.readouterr().out


def test_shards_of_skeleton_arrays_hold_what_the_arrays_hold(tmp_path: Path) -> None:
    write_skeletons(tmp_path / "data")
    data = write_split(tmp_path / "data", "test", [1, 0], seed=7)
    options = PreprocessOptions(corpus="msasl", source=tmp_path / "data", out=tmp_path / "out")
    shards = preprocess(options, in_this_process).shards
    assert (shards.num_keypoints, len(shards.classes), shards.splits) == (27, 200, ("train", "dev", "test"))
    assert shards.corpus.labels_source.startswith("class ids, for want of a class list")
    clips = list(shards.rows("test"))
    assert [shards.classes.encode(clip.label or "") for clip in clips] == [1, 0]
    np.testing.assert_array_equal(np.stack([clip.keypoints for clip in clips]), data[..., 0].transpose(0, 2, 3, 1))
    assert {clip.frame_size for clip in clips} == {(512, 512)}
    with pytest.raises(CorpusError, match=r"none of 12 recordings can be used.*27 points found, 133 expected"):
        preprocess(PreprocessOptions(corpus="msasl", source=tmp_path / "data", out=tmp_path / "other", num_keypoints=133), in_this_process)


def test_the_same_files_under_other_names_of_classes_have_another_checksum(tmp_path: Path) -> None:
    write_skeletons(tmp_path / "data", train=[0, 1], val=[0])
    checksums = []
    for last in ("word", "other"):  # a class without clips: the shards are the same
        (tmp_path / "classes.txt").write_text("".join(f"{i}\tword{i}\n" for i in range(99)) + f"99\t{last}\n")
        settings = {"classes_file": str(tmp_path / "classes.txt")}
        options = PreprocessOptions(corpus="wlasl", source=tmp_path / "data", out=tmp_path / last, settings=settings)
        checksums.append(preprocess(options, in_this_process).shards.checksum)
    assert len(set(checksums)) == 2


def test_generated_isolated_signs_become_shards(tmp_path: Path) -> None:
    settings = {"isolated": "1", "glosses": "3", "tokens_train": "2", "tokens_dev": "1", "tokens_test": "1", "tokens_signer_independent": "1"}
    shards = preprocess(PreprocessOptions(corpus="synthetic", out=tmp_path / "out", settings=settings), in_this_process).shards
    assert shards.classes == ClassMap(("MORGEN", "NORD", "REGEN"))
    assert {split: counts.recordings for split, counts in shards.corpus.splits.items()} == {"train": 6, "dev": 3, "test": 3, "signer_independent": 3}
    assert {row.label for row in shards.index("signer_independent")} == set(shards.classes.labels)

"""Isolated signs in the published layout of skeleton arrays: what is taken, and what is said of damaged files."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.errors import CorpusError
from tests.unit.workloads.corpora.skeletons_on_disk import skeletons, write_skeletons, write_split
from workloads.corpora import CORPORA
from workloads.corpora.corpus import Corpus
from workloads.corpora.recording import Recording
from workloads.corpora.skeleton_release import CLIPS_PER_PART

read_wlasl = CORPORA["wlasl"]


def clips_of(corpus: Corpus, split: str) -> list[Recording]:
    return [entry for part in corpus.parts if part.split == split for entry in part.read() if isinstance(entry, Recording)]


def test_clips_come_in_the_order_of_the_array_as_they_are(tmp_path: Path) -> None:
    data = write_split(tmp_path, "train", [3, 0, 3], names=["b", "a", "c"], seed=4)
    write_split(tmp_path, "val", [0])
    clips = clips_of(read_wlasl(tmp_path, {}), "train")
    assert [(clip.name, clip.label) for clip in clips] == [("b", "3"), ("a", "0"), ("c", "3")]
    for clip, array in zip(clips, data, strict=True):
        assert clip.keypoints is not None
        assert clip.keypoints.dtype == np.float32
        assert clip.keypoints.flags.c_contiguous
        np.testing.assert_array_equal(clip.keypoints, array[..., 0].transpose(1, 2, 0))
        assert (clip.width, clip.height, clip.glosses, clip.signer) == (512, 512, None, "")


def test_the_published_val_is_dev_and_a_test_split_is_taken_where_there_is_one(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    corpus = read_wlasl(tmp_path, {})
    assert [part.split for part in corpus.parts] == ["train", "dev"]
    assert any("dev is the release's val" in note for note in corpus.notes)
    write_split(tmp_path, "test", [1])
    corpus = read_wlasl(tmp_path, {})
    assert [part.split for part in corpus.parts] == ["train", "dev", "test"]
    assert not any("release's val" in note for note in corpus.notes)


@pytest.mark.parametrize(("name", "sizes"), [("wlasl", (100, 300, 1000, 2000)), ("msasl", (100, 200, 500, 1000)), ("slr500", (500,)), ("nmfs_csl", (1067,))])
def test_each_corpus_knows_its_numbers_of_classes(tmp_path: Path, name: str, sizes: tuple[int, ...]) -> None:
    write_skeletons(tmp_path, train=range(sizes[-1]), val=[0])
    for size in sizes:
        corpus = CORPORA[name](tmp_path, {"classes": str(size)})
        assert (corpus.name, corpus.num_keypoints, corpus.classes) == (name, 27, tuple(map(str, range(size))))
        assert sum(len(part.read.args[0].places) for part in corpus.parts if isinstance(part.read, partial)) == size + 1
    with pytest.raises(CorpusError, match=rf"option classes is '7', and its numbers of classes are {sizes[0]}"):
        CORPORA[name](tmp_path, {"classes": "7"})


def test_a_subset_is_the_first_classes_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    corpus = read_wlasl(tmp_path, {"classes": "100"})
    assert [clip.label for clip in clips_of(corpus, "train")] == ["0", "1", "2", "1", "0", "99"]
    assert [clip.name for clip in clips_of(corpus, "dev")] == ["val00000", "val00001"]
    assert any("100 of 2000 classes are taken; clips of the others are left out (1 of train, 1 of dev)" in note for note in corpus.notes)
    assert len(read_wlasl(tmp_path, {}).classes or ()) == 300  # the smallest subset that has class 150
    assert len(read_wlasl(tmp_path, {"classes": "2000"}).classes or ()) == 2000


def test_infinite_numbers_become_zero_and_are_counted(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    data = skeletons(7)
    data[2, 0, 3, 5], data[2, 1, 3, 5], data[4, 2, 0, 0] = np.inf, -np.inf, np.nan
    np.save(tmp_path / "train_data_joint.npy", data)
    clips = clips_of(read_wlasl(tmp_path, {}), "train")
    assert [clip.num_zeroed for clip in clips] == [0, 0, 2, 0, 0, 0, 0]
    assert clips[2].keypoints is not None
    assert clips[4].keypoints is not None
    np.testing.assert_array_equal(clips[2].keypoints[3, 5, :2], 0)
    assert np.isnan(clips[4].keypoints[0, 0, 2])  # left for preprocess to refuse


def test_a_part_reads_its_own_clips_only(tmp_path: Path) -> None:
    num_clips = 2 * CLIPS_PER_PART + 10
    shape = (num_clips, 3, 150, 27, 1)  # about 50 MB, of which the disk holds the header alone
    np.lib.format.open_memmap(tmp_path / "train_data_joint.npy", mode="w+", dtype=np.float32, shape=shape).flush()
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps(([f"c{i}" for i in range(num_clips)], [i % 2000 for i in range(num_clips)])))
    write_split(tmp_path, "val", [0])
    corpus = read_wlasl(tmp_path, {"classes": "1000"})
    train = [part for part in corpus.parts if part.split == "train"]
    assert [part.num_bytes // (3 * 150 * 27 * 4) for part in train] == [512, 488]
    assert len(pickle.dumps(train[1])) < 30_000
    tracemalloc.start()
    try:
        assert [entry.name for entry in train[1].read()] == [f"c{i}" for i in range(512, 1000)]
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_repeated_names_are_rejected_once_each(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [0, 200, 1, 2], names=["a", "a", "a", "b"])
    write_split(tmp_path, "val", [0], names=["a"])
    corpus = read_wlasl(tmp_path, {"classes": "100"})
    assert [clip.name for clip in clips_of(corpus, "train")] == ["a", "b"]  # the second a is of no chosen class
    assert [(rejection.name, rejection.split, rejection.reason.split(":")[0]) for rejection in corpus.rejections] == [("a", "train", "duplicate name")]


def test_the_fingerprint_follows_files_and_options(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    (tmp_path / "wlasl_class_list.txt").write_text("".join(f"{i}\tword{i}\n" for i in range(2000)))
    first = read_wlasl(tmp_path, {}).fingerprint
    assert read_wlasl(tmp_path, {}).fingerprint == first
    assert read_wlasl(tmp_path, {"classes": "100"}).fingerprint != first
    (tmp_path / "wlasl_class_list.txt").write_text("".join(f"{i}\tWORD{i}\n" for i in range(2000)))
    assert read_wlasl(tmp_path, {}).fingerprint != first


def test_the_class_list_beside_the_data_or_named_gives_words(tmp_path: Path) -> None:
    write_skeletons(tmp_path / "data")
    assert any("put wlasl_class_list.txt beside the data" in note for note in read_wlasl(tmp_path / "data", {}).notes)
    (tmp_path / "data" / "wlasl_class_list.txt").write_text("".join(f"{i}\tword{i}\n" for i in range(2000)))
    corpus = read_wlasl(tmp_path / "data", {"classes": "100"})
    assert corpus.classes_source == "wlasl_class_list.txt"
    assert [clip.label for clip in clips_of(corpus, "dev")] == ["word1", "word0"]
    (tmp_path / "own.json").write_text(str([f"sign {i}" for i in range(300)]).replace("'", '"'))
    corpus = read_wlasl(tmp_path / "data", {"classes_file": str(tmp_path / "own.json")})
    assert [clip.label for clip in clips_of(corpus, "dev")] == ["sign 1", "sign 0", "sign 120"]


def test_classes_of_one_name_are_told_apart_loudly(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    (tmp_path / "classes.txt").write_text("".join(f"{'word' if i in (1, 120) else f'w{i}'}\n" for i in range(300)))
    corpus = read_wlasl(tmp_path, {})
    assert [clip.label for clip in clips_of(corpus, "dev")] == ["word", "w0", "word (120)"]
    assert any("1 names stand for two classes; the later class has its number added: word (120)" in note for note in corpus.notes)


def test_the_signer_of_slr500_stands_in_the_name(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [0, 1], names=["P07_25_19_2._color", "other"])
    write_split(tmp_path, "val", [0])
    assert [clip.signer for clip in clips_of(CORPORA["slr500"](tmp_path, {}), "train")] == ["P07", ""]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(value: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(pickle.dumps(value))

    return write


def saved(array: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        np.save(path, array)

    return write


NAMES = [f"n{i}" for i in range(7)]


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train_data_joint.npy", cut, r"train_data_joint\.npy: not a readable \.npy file, truncated or damaged"),
        ("train_data_joint.npy", lambda path: path.write_bytes(b""), r"train_data_joint\.npy: not a readable \.npy file"),
        ("train_data_joint.npy", pickled([1]), r"train_data_joint\.npy: not a readable \.npy file"),
        ("train_data_joint.npy", saved(np.zeros((7, 3, 9, 27, 1), dtype=int)), "holds int64, and one array of float32 is expected"),
        ("train_data_joint.npy", saved(skeletons(7, num_joints=133)), r"shape \(7, 3, 12, 133, 1\), and \(clips, 3, frames, 27, 1\) is expected"),
        ("train_data_joint.npy", saved(skeletons(7)[..., 0]), r"shape \(7, 3, 12, 27\), and"),
        ("train_data_joint.npy", saved(skeletons(6)), r"train_data_joint\.npy holds 6 clips and train_label\.pkl labels 7"),
        ("val_label.pkl", cut, r"val_label\.pkl: not a readable pickle, truncated or damaged"),
        ("val_label.pkl", lambda path: path.write_bytes(b"<html>not found</html>"), r"val_label\.pkl: not a readable pickle"),
        ("train_label.pkl", pickled({"a": 1}), r"train_label\.pkl: holds a dict, and a pair of lists is expected"),
        ("train_label.pkl", pickled((NAMES, [0] * 6)), r"train_label\.pkl: has 7 names and 6 class ids"),
        ("train_label.pkl", pickled((NAMES, [0, 1, 2, -1, 0, 0, 0])), r"train_label\.pkl: the class of n3 is -1, and 0 to 1999 is expected"),
        ("train_label.pkl", pickled((NAMES, [0, 1, 2000, 1, 0, 0, 0])), "the class of n2 is 2000, and 0 to 1999 is expected"),
        ("train_label.pkl", pickled((NAMES, ["0"] * 7)), "the class of n0 is '0', and"),
        ("train_label.pkl", pickled((NAMES, [os.getpid])), r"train_label\.pkl: refers to posix\.getpid, which is not loaded"),
        ("val_data_joint.npy", Path.unlink, r"val_data_joint\.npy missing; corpus wlasl needs"),
        ("train_label.pkl", Path.unlink, r"train_label\.pkl missing; corpus wlasl needs"),
    ],
)
def test_damaged_files_are_named_in_one_line(tmp_path: Path, file: str, damage: Callable[[Path], None], message: str) -> None:
    write_skeletons(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(CorpusError, match=message) as raised:
        read_wlasl(tmp_path, {})
    assert "\n" not in str(raised.value)


def test_wrong_sources_and_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus wlasl needs --source: the folder of train_data_joint\.npy"):
        read_wlasl(None, {})
    with pytest.raises(CorpusError, match="no such folder"):
        read_wlasl(tmp_path / "none", {})
    write_skeletons(tmp_path)
    with pytest.raises(CorpusError, match="no option 'subset'; its options are classes, classes_file"):
        read_wlasl(tmp_path, {"subset": "100"})
    write_split(tmp_path, "test", [0])
    (tmp_path / "test_label.pkl").unlink()
    with pytest.raises(CorpusError, match=r"test_label\.pkl missing"):
        read_wlasl(tmp_path, {})


def test_labels_as_arrays_are_taken(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps((NAMES, np.arange(7))))
    assert [clip.label for clip in clips_of(read_wlasl(tmp_path, {}), "train")] == list("0123456")

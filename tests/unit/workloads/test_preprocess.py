"""Preprocessing in this process: all of it but Ray."""

from __future__ import annotations

import errno
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from models.errors import CorpusError, ShardError, VocabularyError
from tests.unit.shared_data import SHARED, needs_real_keypoints
from tests.unit.workloads.corpora_on_disk import keypoints, sample, write_manifest, write_npz, write_release
from workloads import preprocess as entry
from workloads import shard_writer
from workloads.corpora.corpus import Part
from workloads.part_runners import WritePart, in_this_process
from workloads.preprocess import Outcome, PreprocessOptions, main, preprocess
from workloads.shard_writer import PartSummary
from workloads.shards import CORPUS_FILE, ShardSet

ROOT = Path(__file__).resolve().parents[3]


def options(folder: Path, **changes: Any) -> PreprocessOptions:
    return PreprocessOptions(**{"corpus": "phoenix2014t", "source": folder / "corpus", "out": folder / "out", **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def rejected(folder: Path) -> dict[str, str]:
    return {line["name"]: line["reason"] for line in map(json.loads, (folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines())}


def report_of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.report is not None
    assert json.loads((outcome.shards.path / "report.json").read_text(encoding="utf-8")) == outcome.report
    return outcome.report


def backwards(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
    """As a cluster may finish them, with everything that travels going through pickle."""
    for number in reversed(range(len(parts))):
        yield number, pickle.loads(pickle.dumps(write))(pickle.loads(pickle.dumps(parts[number])), number)


def test_the_bytes_do_not_depend_on_who_writes_in_which_order(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path, out=tmp_path / "a"), in_this_process)
    preprocess(options(tmp_path, out=tmp_path / "b"), backwards)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not (tmp_path / "a" / ".writing").exists()


@pytest.mark.parametrize("corpus", ["phoenix2014t", "manifest"])
def test_relative_paths_hold_in_processes_that_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str) -> None:
    write_release(tmp_path / "corpus")
    write_npz(tmp_path / "a.npz", keypoints(9))
    write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "a.npz"}])
    monkeypatch.chdir(tmp_path)

    def elsewhere(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
        with monkeypatch.context() as patch:
            patch.chdir("/")
            summaries = list(in_this_process(write, parts))
        yield from summaries

    source = Path("list.csv") if corpus == "manifest" else Path("corpus")
    report = report_of(preprocess(PreprocessOptions(corpus=corpus, source=source, out=Path("out")), elsewhere))
    assert report["rejected"]["recordings"] == 0


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(tmp_path / "corpus")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_writer.pq.ParquetWriter, "write_table", full)
    with pytest.raises(ShardError, match=r"can't be written .No space left on device"):
        preprocess(options(tmp_path))
    with pytest.raises(ShardError, match="not finished"):
        ShardSet.open(tmp_path / "out")


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")}
    outcome = preprocess(options(tmp_path))
    assert outcome.report is None
    assert outcome.shards.splits == ("train", "dev", "test")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")} == before


def test_force_writes_again_the_same(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path))
    before, written = contents(tmp_path / "out"), (tmp_path / "out" / CORPUS_FILE).stat().st_mtime_ns
    assert preprocess(options(tmp_path, force=True)).report is not None
    assert contents(tmp_path / "out") == before
    assert (tmp_path / "out" / CORPUS_FILE).stat().st_mtime_ns > written


def test_other_options_or_a_changed_source_ask_for_force(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path))
    with pytest.raises(ShardError, match=r"other values of lower_case.*--force"):
        preprocess(options(tmp_path, lower_case=False))
    write_release(tmp_path / "corpus", {split: [sample("new", "HAUS", seed=77)] for split in ("train", "dev", "test")})
    with pytest.raises(ShardError, match="other values of source"):
        preprocess(options(tmp_path))
    preprocess(options(tmp_path, force=True))
    assert [clip.name for clip in ShardSet.open(tmp_path / "out").rows("train")] == ["new"]


def test_damaged_shards_are_written_again(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path))
    before = contents(tmp_path / "out")
    shard = tmp_path / "out" / "train" / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:50])
    assert preprocess(options(tmp_path)).report is not None
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("moment", ["clearing", "first part", "before corpus.json"])
@pytest.mark.parametrize("again", [False, True])
def test_a_killed_run_leaves_nothing_that_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, again: bool) -> None:
    write_release(tmp_path / "corpus")
    if again:
        preprocess(options(tmp_path))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def one_part(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
        yield 0, write(parts[0], 0)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "clearing":
            patch.setattr(shard_writer, "REJECTED_FILE", None)  # the clearing fails after it has removed corpus.json
        if moment == "before corpus.json":
            patch.setattr(entry, "finish", killed)
        with pytest.raises((KeyboardInterrupt, TypeError)):
            preprocess(options(tmp_path, force=again), one_part if moment == "first part" else in_this_process)
    with pytest.raises(ShardError, match="preprocess was not finished: run it again"):
        ShardSet.open(tmp_path / "out")
    preprocess(options(tmp_path))
    ShardSet.open(tmp_path / "out").verify()
    preprocess(options(tmp_path, out=tmp_path / "other"))
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


def test_a_folder_that_another_process_writes_is_left_to_it(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")

    def beside_another(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
        with pytest.raises(ShardError, match="out is being written by another process: wait for its end"):
            preprocess(options(tmp_path))
        yield from in_this_process(write, parts)

    preprocess(options(tmp_path), beside_another)
    ShardSet.open(tmp_path / "out").verify()
    assert preprocess(options(tmp_path)).report is None


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for force in (False, True):
        with pytest.raises(CorpusError, match="not empty and holds no shards"):
            preprocess(options(tmp_path, force=force))
    with pytest.raises(CorpusError, match="is a file"):
        preprocess(options(tmp_path, out=tmp_path / "out" / "thesis.tex"))


def test_each_recording_that_is_not_taken_has_its_reason(tmp_path: Path) -> None:
    holed = keypoints(9)
    holed[4, 7, 1] = np.nan
    endless = keypoints(9)
    endless[2, 0, 0] = np.inf
    write_npz(tmp_path / "good.npz", keypoints(9))
    write_npz(tmp_path / "holed.npz", holed)
    write_npz(tmp_path / "endless.npz", endless)
    write_npz(tmp_path / "openpose.npz", keypoints(9, num_points=137))
    write_npz(tmp_path / "empty.npz", keypoints(0))
    write_npz(tmp_path / "short.npz", keypoints(3))
    write_npz(tmp_path / "sizeless.npz", keypoints(9), size=None)
    (tmp_path / "cut.npz").write_bytes(b"PK")
    names = ["good", "holed", "endless", "openpose", "empty", "short", "sizeless", "cut", "gone"]
    rows = [{"name": name, "path": f"{name}.npz", "split": "dev", "gloss": "HAUS"} for name in names]
    rows += [{"name": "glossless", "path": "good.npz", "split": "train", "gloss": ""}, {"name": "good", "path": "good.npz", "split": "dev", "gloss": "BAUM"}]
    manifest = write_manifest(tmp_path / "list.csv", rows)
    report = report_of(preprocess(options(tmp_path, corpus="manifest", source=manifest)))
    reasons = rejected(tmp_path / "out")
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "holed": "NaN or infinite keypoints",
        "endless": "NaN or infinite keypoints",
        "openpose": "wrong keypoint count",
        "empty": "no frames",
        "short": "too short",
        "sizeless": "no frame size",
        "cut": "unreadable file",
        "gone": "missing file",
        "glossless": "empty gloss",
        "good": "duplicate name",
    }
    assert reasons["openpose"].startswith("wrong keypoint count: 137 points found, 133 expected in ")
    assert reasons["openpose"].endswith("openpose.npz")
    assert "1 values, the first in frame 4" in reasons["holed"]
    assert report["rejected"]["recordings"] == 10
    assert report["rejected"]["kinds"]["NaN or infinite keypoints"] == 2
    assert [clip.name for clip in ShardSet.open(tmp_path / "out").rows("dev")] == ["good"]


def test_duplicates_inside_a_published_file(tmp_path: Path) -> None:
    twins = {"x": sample("same", "HAUS", seed=1), "y": sample("same", "BAUM", seed=2)}
    write_release(tmp_path / "corpus")
    (tmp_path / "corpus" / "Phoenix-2014T.dev").write_bytes(pickle.dumps(twins))
    preprocess(options(tmp_path))
    assert rejected(tmp_path / "out")["same"].startswith("duplicate name")
    assert [clip.glosses for clip in ShardSet.open(tmp_path / "out").rows("dev")] == [("HAUS",)]


def test_another_number_of_points(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(9, num_points=543))
    manifest = write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "a.npz"}])
    shards = preprocess(options(tmp_path, corpus="manifest", source=manifest, num_keypoints=543)).shards
    assert next(shards.rows("test")).keypoints.shape == (9, 543, 3)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "gone.npz"}])
    with pytest.raises(CorpusError, match=r"none of 1 recordings.*missing file.*rejected\.jsonl"):
        preprocess(options(tmp_path, corpus="manifest", source=manifest))
    assert "a" in rejected(tmp_path / "out")
    with pytest.raises(ShardError, match="not finished"):
        ShardSet.open(tmp_path / "out")


def test_the_report(tmp_path: Path) -> None:
    outside, sure, lost = keypoints(10, 1), keypoints(10, 2), keypoints(10, 3)
    outside[0, :7, 0] = 211
    outside[1, 0, 1] = -1
    sure[:, 5, 2] = 1.06
    lost[3] = 0
    rows = {"in": keypoints(8), "outside": outside, "sure": sure, "lost": lost}
    for name, points in rows.items():
        write_npz(tmp_path / f"{name}.npz", points)
    table = [{"name": name, "path": f"{name}.npz", "split": "test", "gloss": "HAUS BAUM"} for name in rows]
    table += [
        {"name": "in", "path": "in.npz", "split": "train", "gloss": "HAUS HAUS"},
        {"name": "new", "path": "in.npz", "split": "test", "gloss": "HAUS WOLKE WOLKE"},
    ]
    table += [{"name": "plain", "path": "in.npz", "split": "test", "gloss": ""}]
    outcome = preprocess(options(tmp_path, corpus="manifest", source=write_manifest(tmp_path / "list.tsv", table)))
    report = report_of(outcome)
    test = report["splits"]["test"]
    assert (test["recordings"], test["frames"], test["frames_min"], test["frames_max"], test["glosses"], test["gloss_types"]) == (6, 54, 8, 10, 11, 3)
    assert test["unknown_glosses"] == {"tokens": 6, "types": {"BAUM": 4, "WOLKE": 2}, "recordings": ["in", "outside", "sure", "lost", "new"]}
    assert test["shorter_than_label"] == ["new"]  # 2 steps for 3 glosses and the blank between the equal ones
    assert report["splits"]["train"]["shorter_than_label"] == ["in"]
    assert test["without_annotation"] == ["plain"]
    assert test["outside_picture"] == {"share": round(8 / (54 * 133), 6), "recordings": 1}
    assert test["confidence_above_1"] == {"share": round(10 / (54 * 133), 6), "recordings": 1}
    assert test["missing_points"] == {"share": round(133 / (54 * 133), 6), "recordings": 1}
    assert report["names_in_several_splits"] == {"in": ["test", "train"]}
    assert outcome.shards.corpus.vocabulary_source == "built from the train split"
    assert outcome.shards.vocabulary.entries == ("<si>", "<unk>", "<pad>", "</s>", "HAUS")


def test_vocabularies(tmp_path: Path) -> None:
    write_release(tmp_path / "corpus")
    report = report_of(preprocess(options(tmp_path)))
    assert report["splits"]["test"]["unknown_glosses"]["types"] == {"WOLKE": 1}
    (tmp_path / "own.pkl").write_bytes(pickle.dumps({"<s>": 0, "wolke": 1}))
    chosen = preprocess(options(tmp_path, out=tmp_path / "chosen", vocabulary=tmp_path / "own.pkl"))
    assert chosen.shards.vocabulary.entries == ("<s>", "wolke")
    (tmp_path / "corpus" / "gloss2ids.pkl").unlink()
    built = preprocess(options(tmp_path, out=tmp_path / "built"))
    assert built.shards.vocabulary.entries[4:] == ("baum", "gehen", "haus")
    with pytest.raises(VocabularyError, match=r"gone\.pkl"):
        preprocess(options(tmp_path, out=tmp_path / "none", vocabulary=tmp_path / "gone.pkl"))
    assert not (tmp_path / "none").exists()


def test_a_truncated_source_is_named(tmp_path: Path) -> None:
    train = write_release(tmp_path / "corpus") / "Phoenix-2014T.train"
    train.write_bytes(train.read_bytes()[:5000])
    with pytest.raises(CorpusError, match=r"Phoenix-2014T\.train.*truncated"):
        preprocess(options(tmp_path))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--corpus", "synthetic", "--out", str(tmp_path / "out"), "--in-process"]
    for setting in ("glosses=8", "num_train=4", "num_dev=1", "num_test=1", "num_signer_independent=1"):
        arguments += ["--set", setting]
    main(arguments)
    printed, told = capsys.readouterr()
    assert "built from the train split" in printed
    assert "7 recordings in" in printed
    assert re.fullmatch(
        rf"{tmp_path}/out: the shards need about \d+\.\d MB, and [\d,.]+ GB are free\n"
        + "".join(rf"shards: {number} of 4 parts after \d s\n" for number in range(1, 5)),
        told,
    )
    main(arguments)
    printed, told = capsys.readouterr()
    assert "is up to date" in printed
    assert told == ""
    with pytest.raises(CorpusError, match="OPTION=VALUE"):
        main([*arguments, "--set", "glosses"])


def test_a_log_gets_a_line_each_tenth_of_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    parts = [(number, PartSummary(split="train", files=(), clips=(), rejections=())) for number in range(1025)]
    assert list(entry.watched(parts, len(parts), told.append)) == parts
    assert [line.split(" after ")[0] for line in told] == [
        f"shards: {count} of 1,025 parts" for count in ("103", "205", "308", "410", "513", "615", "718", "820", "923", "1,025")
    ]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(entry, "Console", partial(Console, force_terminal=True))
    told: list[str] = []
    parts = [(0, PartSummary(split="train", files=(), clips=(), rejections=()))]
    assert list(entry.watched(parts, 1, told.append)) == parts
    assert told == []
    assert "100%" in capsys.readouterr().err


def test_a_library_call_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_release(tmp_path / "corpus")
    preprocess(options(tmp_path))
    assert capsys.readouterr() == ("", "")


def test_run_as_a_file_from_anywhere(tmp_path: Path) -> None:
    """A process of its own: the path of imports is what is tested."""
    write_npz(tmp_path / "a.npz", keypoints(9))
    write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "a.npz", "mood": "good"}, {"name": "b", "path": "b.npz", "mood": ""}])
    command = [sys.executable, str(ROOT / "workloads" / "preprocess.py"), "--corpus", "manifest", "--source", "list.csv", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown columns are not read: mood" in done.stderr
    assert "rejected: 1 (missing file), see out/rejected.jsonl" in done.stdout
    failed = subprocess.run([*command[:-4], "--source", "none.csv", "--out", "two"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (failed.returncode, failed.stderr) == (2, "error: none.csv: can't be read (No such file or directory)\n")


@needs_real_keypoints
def test_real_keypoints_of_three_estimators(tmp_path: Path) -> None:
    names = ["asl_soup_mmpose133", "asl_football_mmpose133", "asl_soup_openpifpaf133"]
    rows = [{"name": name, "path": str(SHARED / "real_samples" / "keypoints" / f"{name}.npz")} for name in names]
    outcome = preprocess(options(tmp_path, corpus="manifest", source=write_manifest(tmp_path / "list.csv", rows)))
    report = report_of(outcome)
    assert report["rejected"]["recordings"] == 0
    clips = list(outcome.shards.rows("test"))
    assert [(clip.name, clip.keypoints.shape, clip.frame_size) for clip in clips] == [
        (names[0], (41, 133, 3), (320, 240)),
        (names[1], (62, 133, 3), (640, 360)),
        (names[2], (41, 133, 3), (320, 240)),
    ]
    test = report["splits"]["test"]
    assert test["outside_picture"]["recordings"] >= 2
    assert test["confidence_above_1"]["recordings"] >= 1
    assert test["missing_points"]["recordings"] == 1
    assert test["without_annotation"] == names


def test_a_disk_that_fills_up_at_the_end_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("workloads.preprocess.finish", full)
    source = write_release(tmp_path / "corpus")
    with pytest.raises(ShardError, match=r"can't be written .No space left on device.: make room"):
        preprocess(PreprocessOptions(corpus="phoenix2014t", source=source, out=tmp_path / "shards"), in_this_process)
    with pytest.raises(ShardError, match="preprocess was not finished"):
        ShardSet.open(tmp_path / "shards")

"""The user's own recordings, listed in a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import CorpusError
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from workloads.corpora.corpus import Rejection
from workloads.corpora.manifest import COLUMNS, ROWS_PER_PART, read_manifest
from workloads.corpora.recording import Recording


def taken(path: Path) -> list[Recording]:
    return [entry for entry in read_manifest(path, {}).recordings() if isinstance(entry, Recording)]


def rejected(path: Path) -> list[Rejection]:
    return [entry for entry in read_manifest(path, {}).recordings() if isinstance(entry, Rejection)]


def test_name_and_path_are_enough(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    (clip,) = taken(write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "a.npz"}]))
    assert clip == Recording(name="a", split="test", path=tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table(tmp_path: Path, kind: str) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    rows: list[dict[str, Any]] = [
        {
            "name": "a",
            "path": "a.npz",
            "split": "train",
            "signer": "S1",
            "gloss": "HAUS BAUM",
            "text": "ein haus, ein baum",
            "fps": 29.97,
            "width": 640,
            "height": 360,
        },
        {"name": "b", "path": "a.npz", "split": "train", "label": "HAUS"},
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([{column: row.get(column) for column in COLUMNS} for row in rows]), path)
    else:
        write_manifest(path, rows)
    first, second = taken(path)
    assert (first.split, first.signer, first.glosses, first.text) == ("train", "S1", ("HAUS", "BAUM"), "ein haus, ein baum")
    assert (first.fps, first.width, first.height) == (29.97, 640, 360)
    assert (second.glosses, second.label, second.fps) == (None, "HAUS", None)


def test_glosses_as_a_list(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    (tmp_path / "list.jsonl").write_text(json.dumps({"name": "a", "path": "a.npz", "gloss": ["HAUS", "BAUM"]}))
    assert taken(tmp_path / "list.jsonl")[0].glosses == ("HAUS", "BAUM")


def test_each_unusable_row_has_its_reason(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    (tmp_path / "v.mp4").touch()
    (tmp_path / "frames").mkdir()
    (tmp_path / "notes.txt").touch()
    rows = [
        {"name": "gone", "path": "gone.npz"},
        {"name": "twice", "path": "a.npz", "keypoints": "a.npz"},
        {"name": "no keypoints", "path": "v.mp4", "keypoints": "notes.txt"},
        {"name": "text", "path": "notes.txt"},
        {"name": "", "path": "a.npz"},
        {"name": "pathless", "path": ""},
        {"name": "rate", "path": "a.npz", "fps": "fast"},
        {"name": "split", "path": "a.npz", "split": "../train"},
        {"name": "a", "path": "a.npz"},
        {"name": "a", "path": "a.npz"},
    ]
    path = write_manifest(tmp_path / "list.csv", rows)
    reasons = {entry.name: entry.reason for entry in rejected(path)}
    kinds = {name: reason.split(":")[0] for name, reason in reasons.items()}
    assert kinds == {
        "gone": "missing file",
        "twice": "keypoints twice",
        "no keypoints": "unknown kind",
        "text": "unknown kind",
        "": "no name",
        "pathless": "no path",
        "rate": "wrong fps",
        "split": "wrong split",
        "a": "duplicate name",
    }
    assert "path must be a video or a folder of pictures" in reasons["twice"]
    assert [clip.name for clip in taken(path)] == ["a"]


def test_one_name_in_two_splits_is_no_duplicate(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    rows = [{"name": "a", "path": "a.npz", "split": split, "gloss": "HAUS"} for split in ("train", "dev")]
    assert len(taken(write_manifest(tmp_path / "list.csv", rows))) == 2


def test_unknown_columns_are_noted(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    corpus = read_manifest(write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "a.npz", "speaker": "x"}]), {})
    assert "speaker" in corpus.notes[0]


def test_a_row_that_runs_over_the_header_is_not_cut(tmp_path: Path) -> None:
    """A gloss with a comma that nobody quoted would lose what follows it."""
    write_npz(tmp_path / "a.npz", keypoints(8))
    (tmp_path / "list.csv").write_text(f"name,path,gloss,split\na,a.npz,HAUS,dev\nb,a.npz,HAUS,BAUM,dev\nc,a.npz,HAUS,{'s' * 65}\n")
    corpus = read_manifest(tmp_path / "list.csv", {})
    assert [recording.name for recording in taken(tmp_path / "list.csv")] == ["a"]
    assert [rejection.reason for rejection in corpus.rejections] == [
        "more cells than the header has: row 2 of the manifest; quote a value that holds the delimiter",
        f"wrong split: {'s' * 65!r}; letters, digits, '_' and '-' are allowed, 64 at most",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "name,path\n", "lists no recording"),
        ("list.csv", "", "lists no recording"),
        ("list.csv", "name,file\na,b\n", "column path missing"),
        ("list.csv", "file,gloss\na,b\n", "column name and path missing"),
        ("list.jsonl", "[1]\n", "each line must be an object"),
        ("list.jsonl", "{\n", "not a readable table"),
        ("list.jsonl", "[" * 100_000, "lists within lists, too deep"),
        ("list.csv", "name,path,gloss,gloss\na,b,A,B\n", "column 'gloss' is there twice"),
        ("list.parquet", "text", "not a readable table"),
        ("list.xlsx", "x", "not a manifest"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=message) as caught:
        read_manifest(tmp_path / name, {})
    assert name in str(caught.value)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="can't be read"):
        read_manifest(tmp_path / "list.csv", {})
    with pytest.raises(CorpusError, match="needs --source"):
        read_manifest(None, {})


def test_long_manifests_are_read_in_parts(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(8))
    rows = [{"name": str(i), "path": "a.npz", "split": "dev" if i % 3 == 0 else "test"} for i in range(3 * ROWS_PER_PART)]
    corpus = read_manifest(write_manifest(tmp_path / "list.csv", rows), {})
    assert [part.split for part in corpus.parts] == ["dev", "test", "test"]
    assert len(list(corpus.recordings())) == len(rows)

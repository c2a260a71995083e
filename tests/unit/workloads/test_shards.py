"""Shards: what is written is read back, lazily, and nothing half-written is accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ShardError
from tests.unit.workloads.corpora_on_disk import keypoints, sample, write_release
from workloads.corpora.corpus import Part
from workloads.corpora.recording import Recording
from workloads.preprocess import PreprocessOptions, main, preprocess
from workloads.shard_writer import ROWS_PER_SHARD, write_part
from workloads.shards import CORPUS_FILE, ROW_GROUP_ROWS, SCHEMA, ShardSet, clip_from_row

SPLITS = {
    "train": [sample(f"train/{i}", "HAUS BAUM", 8, seed=i) for i in range(ROWS_PER_SHARD + 20)],
    "dev": [sample("dev/0", "BAUM GEHEN", 9, seed=900), sample("dev/1", "", 10, seed=901)],
    "test": [sample("test/0", "HAUS HAUS", 8, seed=902)],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    preprocess(PreprocessOptions(corpus="phoenix2014t", source=write_release(folder / "corpus", SPLITS), out=folder / "out"))
    return folder / "out"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """Shards of one's own to damage."""
    for file in made.rglob("*"):
        if file.is_file():
            target = tmp_path / "out" / file.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path / "out"


def test_what_a_shard_set_says(made: Path) -> None:
    shards = ShardSet.open(made)
    assert shards.splits == ("train", "dev", "test")
    assert [file.name for file in shards.files("train")] == ["part-00000.parquet", "part-00001.parquet"]
    assert shards.num_keypoints == 133
    assert shards.vocabulary.ids["baum"] == 5
    assert shards.vocabulary.lower_case
    assert shards.corpus.vocabulary_source == "gloss2ids.pkl"
    assert shards.corpus.splits["dev"].model_dump() == {
        "recordings": 2, "frames": 19, "frames_min": 9, "frames_median": 9.5, "frames_p95": 9.95, "frames_max": 10, "glosses": 2, "signers": 1,
    }  # fmt: skip
    assert "CC BY-NC-SA" in shards.corpus.licence
    shards.verify()


def test_clips_come_back_as_they_were(made: Path) -> None:
    clips = list(ShardSet.open(made).rows("train"))
    assert [clip.name for clip in clips] == [entry["name"] for entry in SPLITS["train"]]
    for clip, entry in zip(clips, SPLITS["train"], strict=True):
        assert np.array_equal(clip.keypoints, entry["keypoint"].numpy())
        assert clip.keypoints.flags.writeable
        assert clip.keypoints.flags.owndata or clip.keypoints.base.flags.owndata
    first = clips[0]
    assert (first.frame_size, first.glosses, first.text, first.signer, first.fps, first.label) == (
        (210, 260),
        ("HAUS", "BAUM"),
        "haus baum .",
        "Signer01",
        25.0,
        None,
    )
    assert [clip.glosses for clip in ShardSet.open(made).rows("dev")] == [("BAUM", "GEHEN"), None]


def test_chosen_clips(made: Path) -> None:
    assert [clip.name for clip in ShardSet.open(made).rows("train", names={"train/140", "train/3", "nobody"})] == ["train/3", "train/140"]


def test_the_index_reads_the_small_columns(made: Path) -> None:
    index = ShardSet.open(made).index("dev")
    assert [(row.name, row.n_frames, row.num_glosses, row.signer, row.split) for row in index] == [
        ("dev/0", 9, 2, "Signer01", "dev"),
        ("dev/1", 10, 0, "Signer01", "dev"),
    ]


def test_files_have_the_documented_form(made: Path) -> None:
    file = pq.ParquetFile(ShardSet.open(made).files("train")[0])
    assert file.schema_arrow.equals(SCHEMA)
    assert json.loads(file.schema_arrow.metadata[b"signray.shard"]) == {"format": 2, "keypoints": 133, "channels": 3}
    assert file.metadata.num_rows == ROWS_PER_SHARD
    assert {file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)} == {ROW_GROUP_ROWS}


def test_rows_of_pandas_and_numpy(made: Path) -> None:
    table = pq.read_table(ShardSet.open(made).files("dev")[0])
    expected = list(ShardSet.open(made).rows("dev"))
    frame, arrow_frame = table.to_pandas(), table.to_pandas(types_mapper=pd.ArrowDtype)
    for position, clip in enumerate(expected):
        for row in (
            frame.iloc[position].to_dict(),
            arrow_frame.iloc[position],
            {name: frame[name].to_numpy()[position] for name in frame},
            table.slice(position, 1).to_pylist()[0],
        ):
            found = clip_from_row(row)
            assert np.array_equal(found.keypoints, clip.keypoints)
            assert (found.name, found.glosses, found.label, found.text, found.fps) == (clip.name, clip.glosses, clip.label, clip.text, clip.fps)


def test_reading_is_lazy(copy: Path) -> None:
    second = ShardSet.open(copy).files("train")[1]
    second.write_bytes(os.urandom(second.stat().st_size))
    clips = ShardSet.open(copy).rows("train")
    assert next(clips).name == "train/0"
    with pytest.raises(ShardError, match=r"part-00001\.parquet.*--force"):
        list(clips)


def truncate(folder: Path) -> str:
    file = folder / "train" / "part-00000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return r"train/part-00000\.parquet has \d+ bytes instead of \d+: .*run preprocess again"


def remove(folder: Path) -> str:
    (folder / "dev" / "part-00000.parquet").unlink()
    return r"dev/part-00000\.parquet is missing.*run preprocess again"


def unfinished(folder: Path) -> str:
    (folder / CORPUS_FILE).unlink()
    return "preprocess was not finished: run it again"


def not_json(folder: Path) -> str:
    (folder / CORPUS_FILE).write_text((folder / CORPUS_FILE).read_text()[:200])
    return "can't be read.*run preprocess again with --force"


def newer(folder: Path) -> str:
    record = json.loads((folder / CORPUS_FILE).read_text())
    (folder / CORPUS_FILE).write_text(json.dumps({**record, "format": 99, "more": 1}))
    return "format 99 is newer"


def incomplete(folder: Path) -> str:
    record = json.loads((folder / CORPUS_FILE).read_text())
    del record["splits"]
    (folder / CORPUS_FILE).write_text(json.dumps(record))
    return "not a description of shards .*splits"


@pytest.mark.parametrize("damage", [truncate, remove, unfinished, not_json, newer, incomplete])
def test_damaged_sets_are_refused(copy: Path, damage: Callable[[Path], str]) -> None:
    message = damage(copy)
    with pytest.raises(ShardError, match=message) as caught:
        ShardSet.open(copy)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no such folder"):
        ShardSet.open(tmp_path / "nowhere")


def test_an_unknown_split_is_answered_with_the_known_ones(made: Path) -> None:
    with pytest.raises(ShardError, match=r"no split 'tset'.*train, dev, test"):
        ShardSet.open(made).index("tset")


def test_verify_finds_a_changed_byte(copy: Path) -> None:
    file = copy / "test" / "part-00000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ShardError, match=r"test/part-00000\.parquet"):
        ShardSet.open(copy).verify()


def test_the_command_verifies(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", str(copy)])
    assert f"{copy}: 4 files as they were written, checksum {ShardSet.open(copy).checksum}" in capsys.readouterr().out


def test_verify_finds_a_changed_vocabulary(copy: Path) -> None:
    record = json.loads((copy / CORPUS_FILE).read_text())
    record["vocabulary"]["entries"][5] = "strauch"
    (copy / CORPUS_FILE).write_text(json.dumps(record))
    with pytest.raises(ShardError, match="checksum"):
        ShardSet.open(copy).verify()


texts = st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(
    num_frames=st.integers(4, 30),
    seed=st.integers(0, 1000),
    glosses=st.none() | st.lists(st.text("ABCÄ-+", min_size=1, max_size=4), min_size=1, max_size=5),
    text=texts,
    label=texts,
    signer=st.text("S01", max_size=3),
    fps=st.none() | st.floats(1, 240, width=32),
)
def test_any_recording_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    num_frames: int,
    seed: int,
    glosses: list[str] | None,
    text: str | None,
    label: str | None,
    signer: str,
    fps: float | None,
) -> None:
    annotation = {"glosses": tuple(glosses) if glosses else None, "label": label, "text": text, "fps": fps}
    recording = Recording(name="a", split="dev", signer=signer, keypoints=keypoints(num_frames, seed), width=64, height=48, **annotation)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("part")
    summary = write_part(Part(split="dev", read=lambda: iter([recording])), 0, folder, 133)
    clip = clip_from_row(pq.read_table(folder / summary.files[0][0]).to_pylist()[0])
    assert np.array_equal(clip.keypoints, recording.keypoints)
    assert (clip.glosses, clip.label, clip.text, clip.signer, clip.fps, clip.frame_size) == (recording.glosses, label, text, signer, fps, (64, 48))

"""Pictures into shards and out again: encodings, cuts, rates, what is refused, what a killed run leaves, what isn't read."""

from __future__ import annotations

import json
import pickle
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.storage import Place
from models.errors import ShardError
from models.inputs.clip import Clip
from tests.unit.models.media.test_pictures import png_of, write_pictures
from tests.unit.models.media.videos import numbered, write_video
from tests.unit.shared_data import SHARED, needs_real_samples
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from workloads import shard_writer, space
from workloads.corpora import CORPORA
from workloads.corpora.corpus import Part
from workloads.corpora.synthetic import SyntheticOptions, plan, render
from workloads.frame_encoding import FrameOptions
from workloads.part_runners import WritePart, in_this_process
from workloads.preprocess import Outcome, PreprocessOptions, main, preprocess
from workloads.shard_writer import PartSummary
from workloads.shards import SCHEMA, ShardSet, clip_from_row, clips_from_table, columns_of, read_row_groups, row_group_sizes

SETTINGS = {"glosses": 4, "num_train": 2, "num_dev": 1, "num_test": 0, "num_signer_independent": 0, "width": 56, "height": 48, "max_glosses": 2}
BOTH = ("frames", "keypoints")


def drawn(folder: Path, **changes: Any) -> ShardSet:
    settings = {name: str(value) for name, value in SETTINGS.items()} | {"rgb": "1"}
    return preprocess(PreprocessOptions(corpus="synthetic", out=folder, settings=settings, **changes), in_this_process).shards


def drawn_parts() -> Sequence[Part]:
    return CORPORA["synthetic"](None, {name: str(value) for name, value in SETTINGS.items()} | {"rgb": "1"}).parts


def listed(folder: Path, rows: Sequence[dict[str, Any]], **changes: Any) -> Outcome:
    source = write_manifest(folder / "list.csv", rows)
    return preprocess(PreprocessOptions(corpus="manifest", source=source, out=folder / "out", **changes), in_this_process)


def rejected(folder: Path) -> dict[str, str]:
    return {line["name"]: line["reason"] for line in map(json.loads, (folder / "out" / "rejected.jsonl").read_text(encoding="utf-8").splitlines())}


def pictures(clip: Clip) -> np.ndarray:
    assert clip.frames is not None
    return clip.frames.decode(range(clip.frames.num_frames)).astype(int)


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return drawn(tmp_path_factory.mktemp("png") / "shards", frames=FrameOptions(encoding="png"))


@pytest.mark.parametrize(("encoding", "loss"), [("png", 0), ("jpeg", 2), ("webp", 5), ("h264", 3)])
def test_drawn_pictures_come_back(tmp_path: Path, png: ShardSet, encoding: Any, loss: float) -> None:
    shards = png if encoding == "png" else drawn(tmp_path / "shards", frames=FrameOptions(encoding=encoding))
    assert shards.corpus.modalities == BOTH
    sentences = plan(SyntheticOptions(**SETTINGS, rgb=1))
    clips = list(shards.rows("train", modalities=BOTH))
    for clip, sentence in zip(clips, (entry for entry in sentences if entry.split == "train"), strict=True):
        original = render(SyntheticOptions(**SETTINGS), sentence)
        assert clip.frames is not None
        assert (clip.frames.num_frames, clip.frames.size, clip.num_frames, clip.frame_size) == (len(original), (56, 48), len(original), (56, 48))
        assert np.abs(pictures(clip) - original).mean() <= loss
        some = clip.frames.decode([5, 2, 2])
        assert np.array_equal(some, pictures(clip)[[5, 2, 2]])
        assert np.array_equal(pickle.loads(pickle.dumps(clip)).frames.decode([5, 2, 2]), some)
    assert [clip.keypoints.shape[1] for clip in clips] == [133, 133]


def test_only_what_is_wanted_is_read(png: ShardSet) -> None:
    (file,) = png.files("train")
    assert {"frames", "frames_form"}.isdisjoint(columns_of(SCHEMA, ["keypoints"]))
    assert "keypoints" not in columns_of(SCHEMA, ["frames"])
    content = bytearray(file.read_bytes())
    group = pq.ParquetFile(file).metadata.row_group(0)
    damaged = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema.startswith("frames.list"))
    middle = damaged.data_page_offset + damaged.total_compressed_size // 2
    content[middle : middle + 64] = bytes(64)
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        assert [clip.frames for clip in png.rows("train")] == [None, None]  # the damage isn't even seen
    finally:
        file.write_bytes(whole)
    for clip in (*png.rows("train", modalities=["frames"]), *read_row_groups(file, [0], ["frames"])):
        assert clip.keypoints.shape == (clip.num_frames, 0, 3)
        assert clip.frames is not None
        assert clip.frames.num_frames == clip.num_frames


def test_rows_of_tables_with_pictures(png: ShardSet) -> None:
    table = pq.read_table(png.files("train")[0])
    expected = list(png.rows("train", modalities=BOTH))
    large = table.cast(pa.schema([field.with_type(pa.large_list(pa.large_binary())) if field.name == "frames" else field for field in table.schema]))
    frame = table.to_pandas()
    for position, (first, second) in enumerate(zip(clips_from_table(table), clips_from_table(large), strict=True)):
        for clip in (first, second, clip_from_row(frame.iloc[position].to_dict())):
            assert np.array_equal(pictures(clip), pictures(expected[position]))
            assert np.array_equal(clip.keypoints, expected[position].keypoints)


def test_shards_of_the_first_format_are_read(png: ShardSet, tmp_path: Path) -> None:
    table = pq.read_table(png.files("train")[0]).drop_columns(["frames_form", "frames_width", "frames_height"])
    position = table.column_names.index("frames")
    pq.write_table(table.set_column(position, SCHEMA.field("frames"), pa.nulls(len(table), SCHEMA.field("frames").type)), tmp_path / "old.parquet")
    for clip in read_row_groups(tmp_path / "old.parquet", [0], BOTH):
        assert clip.frames is None
        assert clip.keypoints.shape[1] == 133


def test_videos_and_folders_of_a_manifest(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered(12))
    write_pictures(tmp_path / "folder", numbered(9))
    write_npz(tmp_path / "a.npz", keypoints(12), size=(64, 48), fps=None)
    (tmp_path / "text.mp4").write_text("I am no video")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:900])
    write_video(tmp_path / "two.mp4", numbered(2))
    rows: list[dict[str, Any]] = [
        {"name": "video", "path": "a.mp4", "gloss": "HAUS"},
        {"name": "both", "path": "a.mp4", "keypoints": "a.npz", "gloss": "HAUS"},
        {"name": "folder", "path": "folder", "fps": 30},
        {"name": "text", "path": "text.mp4"},
        {"name": "cut", "path": "cut.mp4"},
        {"name": "mismatch", "path": "folder", "keypoints": "a.npz"},
        {"name": "two", "path": "two.mp4"},
        {"name": "train", "path": "a.mp4", "split": "train"},
    ]
    outcome = listed(tmp_path, rows)
    reasons = rejected(tmp_path)
    assert set(reasons) == {"text", "cut", "mismatch", "two", "train"}
    assert "text.mp4: is no video: it begins with b'I am no '" in reasons["text"]
    assert "cut.mp4: not a readable video, truncated or damaged" in reasons["cut"]
    assert "12 frames of keypoints, and 9 pictures" in reasons["mismatch"]
    assert reasons["two"].startswith("too short: 2 frames found")
    assert reasons["train"].startswith("empty gloss")
    assert outcome.shards.corpus.modalities == ("frames",)
    clips = {clip.name: clip for clip in outcome.shards.rows("test", modalities=BOTH)}
    assert [(name, clip.num_frames, clip.keypoints.shape[1], clip.frame_size, clip.fps) for name, clip in clips.items()] == [
        ("video", 12, 0, (64, 48), 25.0),
        ("both", 12, 133, (64, 48), 25.0),
        ("folder", 9, 0, (64, 48), 30.0),
    ]
    assert np.abs(pictures(clips["folder"]) - numbered(9)).mean() < 2
    assert np.abs(pictures(clips["both"]) - numbered(12)).mean() < 4
    assert outcome.report is not None
    assert (outcome.report["splits"]["test"]["with_pictures"], outcome.report["splits"]["test"]["with_keypoints"]) == (3, 1)


def test_pictures_that_opencv_raises_for_are_rejected(tmp_path: Path) -> None:
    for name, broken in (("good", None), ("first", 0), ("later", 7)):
        folder = write_pictures(tmp_path / name, numbered(9))
        if broken is not None:
            (folder / f"{broken}.png").write_bytes(png_of(40_000, 40_000))
    outcome = listed(tmp_path, [{"name": name, "path": name} for name in ("first", "good", "later")])
    assert [clip.name for clip in outcome.shards.rows("test", modalities=["frames"])] == ["good"]
    assert rejected(tmp_path) == {
        "first": f"unreadable file: {tmp_path / 'first'}: the first of 9 pictures can't be decoded",
        "later": "unreadable file: frame 7 can't be decoded: no picture found, 64 × 48 expected",
    }


def test_pictures_beyond_the_limits_are_rejected(tmp_path: Path) -> None:
    write_pictures(tmp_path / "good", numbered(9))
    write_pictures(tmp_path / "large", np.zeros((1, 2305, 4096, 3), dtype=np.uint8))
    listed(tmp_path, [{"name": name, "path": name} for name in ("good", "large")])
    assert rejected(tmp_path) == {"large": f"unreadable file: {tmp_path / 'large'}: has pictures of 4096 × 2305 pixels, and 9,437,184 pixels are allowed"}


def test_keypoints_only_on_request(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered(12))
    write_npz(tmp_path / "a.npz", keypoints(12), size=(64, 48))
    rows = [{"name": "both", "path": "a.mp4", "keypoints": "a.npz"}, {"name": "video", "path": "a.mp4"}]
    outcome = listed(tmp_path, rows, frames=None)
    assert outcome.shards.corpus.modalities == ("keypoints",)
    assert rejected(tmp_path) == {"video": "nothing to see: the recording has neither keypoints nor pictures that are kept"}


def test_cut_resized_and_at_a_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered(21), stamps=[0, 1, 2, 3, 4, 10, *range(11, 26)])
    points = keypoints(21)
    write_npz(tmp_path / "a.npz", points, size=(64, 48))
    rows = [{"name": "a", "path": "a.mp4", "keypoints": "a.npz"}]
    outcome = listed(tmp_path, rows, frames=FrameOptions(encoding="png", crop=(0, 24, 32, 48), size=(16, 12), fps=12.5))
    (clip,) = outcome.shards.rows("test", modalities=BOTH)
    shown = [0, 2, 4, 4, 4, 5, 7, 9, 11, 13, 15, 17, 19]  # the frame of each second tick of 25 a second; frame 4 is shown until tick 10
    assert clip.frames is not None
    assert (clip.num_frames, clip.fps, clip.frame_size, clip.frames.size) == (13, 12.5, (32, 24), (16, 12))
    assert np.allclose(clip.keypoints, points[shown] - np.array([0, 24, 0]), atol=1e-4)
    assert np.abs(pictures(clip) - (20, 20, 230)).mean() < 4  # the corner that is blue in all


@pytest.mark.parametrize(
    ("frames", "size", "reason"),
    [
        (FrameOptions(crop=(0, 0, 65, 48)), (64, 48), "crop outside: pictures of 64 × 48 pixels have no box 0,0,65,48"),
        (FrameOptions(crop=(0, 0, 8, 8)), (128, 96), "a crop in pixels of 64 × 48, and keypoints of 128 × 96"),
        (FrameOptions(fps=25), (64, 48), "no rate"),
    ],
)
def test_options_that_do_not_fit_a_recording(tmp_path: Path, frames: FrameOptions, size: tuple[int, int], reason: str) -> None:
    write_pictures(tmp_path / "folder", numbered(9))
    write_npz(tmp_path / "a.npz", keypoints(9), size=size, fps=None)
    write_npz(tmp_path / "good.npz", keypoints(9))
    listed(tmp_path, [{"name": "bad", "path": "folder", "keypoints": "a.npz"}, {"name": "good", "path": "good.npz"}], frames=frames)
    assert reason in rejected(tmp_path)["bad"]


def test_row_groups_and_shards_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "ROW_GROUP_BYTES", 60_000)
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 150_000)
    write_pictures(tmp_path / "folder", np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8))  # some 9 kB each
    outcome = listed(tmp_path, [{"name": f"clip {number}", "path": "folder"} for number in range(11)], frames=FrameOptions(encoding="png"))
    sizes = [row_group_sizes(file) for file in outcome.shards.files("test")]
    assert sizes == [[2, 2, 2], [2, 2, 1]]
    assert [clip.name for clip in outcome.shards.rows("test")] == [f"clip {number}" for number in range(11)]


def test_a_killed_run_goes_on_with_what_it_finished(tmp_path: Path) -> None:
    written: list[int] = []

    def killed_after(count: int) -> Any:
        def run(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
            for number, part in enumerate(parts):
                if len(written) == count:
                    raise KeyboardInterrupt
                before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / ".writing").glob(f"{number:05d}*")}
                yield number, write(part, number)
                if before != {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / ".writing").glob(f"{number:05d}*")}:
                    written.append(number)

        return run

    settings = {**{name: str(value) for name, value in SETTINGS.items()}, "rgb": "1"}
    options = PreprocessOptions(corpus="synthetic", out=tmp_path / "out", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        preprocess(options, killed_after(1))
    with pytest.raises(ShardError, match="not finished"):
        ShardSet.open(tmp_path / "out")
    (tmp_path / "out" / ".writing" / "00001-00000.parquet").write_bytes(b"half a shard")
    resumed = preprocess(options, killed_after(9)).shards
    assert written == [0, 1]  # each part once
    whole = preprocess(PreprocessOptions(corpus="synthetic", out=tmp_path / "whole", settings=settings), in_this_process).shards
    assert resumed.checksum == whole.checksum
    resumed.verify()
    # Other options begin anew.
    written.clear()
    other = PreprocessOptions(corpus="synthetic", out=tmp_path / "out", settings=settings, force=True, frames=FrameOptions(size=(24, 24)))
    with pytest.raises(KeyboardInterrupt):
        preprocess(other, killed_after(1))
    preprocess(options, killed_after(9))
    assert written == [0, 0, 1]


def test_a_trial_of_some_recordings(tmp_path: Path) -> None:
    shards = drawn(tmp_path / "shards", limit=1)
    assert {split: counts.recordings for split, counts in shards.corpus.splits.items()} == {"train": 1, "dev": 1}


def free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - free, free))


def test_too_little_space_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes(monkeypatch, 20_000)
    with pytest.raises(ShardError, match=r"the shards need about 0\.\d MB, and 0\.0 MB are free: choose another --out, or smaller pictures"):
        drawn(tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_what_a_killed_run_left_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what --force replaces."""
    out = tmp_path / "shards"
    needed = space.check_space(out, drawn_parts(), FrameOptions(), print)
    (out / shard_writer.STAGING).mkdir(parents=True)
    (out / shard_writer.STAGING / "00000-00000.parquet").write_bytes(bytes(needed // 2))
    free_bytes(monkeypatch, needed // 3)
    with pytest.raises(ShardError, match=r"MB are free beside 0\.\d MB that are there already: choose another --out"):
        space.check_space(out, drawn_parts(), FrameOptions(), print)
    (out / "train").mkdir()
    (out / "train" / "part-00000.parquet").write_bytes(bytes(needed // 4))
    (out / "notes.txt").write_bytes(bytes(needed))  # which stays
    told: list[str] = []
    assert space.check_space(out, drawn_parts(), FrameOptions(), told.append) == needed
    free_bytes(monkeypatch, needed // 5)
    with pytest.raises(ShardError, match="already"):
        space.check_space(out, drawn_parts(), FrameOptions(), print)
    assert told == [
        f"{out}: the shards need about {space.size_text(needed)}, and {space.size_text(needed // 3)} are free "
        f"beside {space.size_text(needed // 2 + needed // 4)} that are there already"
    ]


def test_of_a_store_only_the_need_is_told() -> None:
    told: list[str] = []
    needed = space.check_space(Place("bucket/shards"), drawn_parts(), FrameOptions(), told.append)
    assert told == [f"s3://bucket/shards: the shards need about {space.size_text(needed)}"]


def test_the_estimate_is_near_the_truth(tmp_path: Path, png: ShardSet) -> None:
    needed = space.check_space(tmp_path, drawn_parts(), FrameOptions(encoding="png"), print)
    taken = sum(file.bytes for file in png.corpus.files.values())
    assert 0.7 * taken < needed < 2.5 * taken


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "wide"], "is not WIDTHxHEIGHT in pixels, such as 256x256, nor one of as-is, vac, twostream, twostream-csl"),
        (["--size", "0x5"], "is not WIDTHxHEIGHT"),
        (["--crop", "5,0,5,9"], "is not LEFT,TOP,RIGHT,BOTTOM in pixels"),
        (["--quality", "101"], "--quality 101: 1 to 100 is expected for jpeg"),
        (["--encoding", "h264", "--quality", "52"], "0 to 51 is expected for h264"),
        (["--fps", "0"], "--fps 0.0: more than 0"),
        (["--limit", "0"], "--limit 0: at least 1"),
    ],
)
def test_arguments_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        main(["--corpus", "synthetic", "--out", str(tmp_path / "out"), *arguments])
    assert message in capsys.readouterr().err


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [word for name, value in {**SETTINGS, "rgb": 1}.items() for word in ("--set", f"{name}={value}")]
    main(["--corpus", "synthetic", "--out", str(tmp_path / "out"), "--in-process", "--size", "vac", "--encoding", "webp", "--quality", "60", *settings])
    assert "with pictures" in capsys.readouterr().out
    clip = next(ShardSet.open(tmp_path / "out").rows("dev", modalities=["frames"]))
    assert clip.frames is not None
    assert (clip.frames.size, clip.frame_size) == ((256, 256), (56, 48))


@needs_real_samples
def test_real_recordings(tmp_path: Path) -> None:
    """Portrait, landscape, three codecs' worth of sizes, beside an excerpt of the corpus."""
    rows = [{"name": path.stem, "path": str(path)} for path in sorted((SHARED / "real_samples" / "video").glob("*.mp4"))]
    outcome = listed(tmp_path, rows, frames=FrameOptions(encoding="h264", size=(128, 128)))
    assert rejected(tmp_path) == {}
    clips = {clip.name: clip for clip in outcome.shards.rows("test", modalities=["frames"])}
    assert len(clips) == len(rows) == 11
    assert clips["wlasl_mother_3"].frame_size == (1920, 1080)
    assert clips["webcam_hand_58f"].frame_size == (540, 720)
    for clip in clips.values():
        assert clip.frames is not None
        assert clip.frames.decode([0, clip.num_frames - 1]).shape == (2, 128, 128, 3)

"""Videos: the right frames in the right order and colours, from any place, and one line for what can't be read."""

from __future__ import annotations

import builtins
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RecordingError
from models.media import VideoLimits, parse_video, read_frames, read_video
from tests.unit.models.media.videos import CODECS, numbered, turned, write_video
from tests.unit.shared_data import SHARED, needs_real_samples

NUM_FRAMES = 30
REAL = SHARED / "real_samples"
SENTENCE = "phoenix14t_09April_2010_Friday_tagesschau-7631"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pictures in each container."""
    folder = tmp_path_factory.mktemp("videos")
    return {suffix: write_video(folder / f"a{suffix}", numbered(NUM_FRAMES)) for suffix in CODECS}


@pytest.fixture(scope="module")
def mp4(videos: dict[str, Path]) -> bytes:
    return videos[".mp4"].read_bytes()


def patched(content: bytes, box: bytes, offset: int, value: int) -> bytes:
    """An MP4 with the 32-bit number at `offset` after a box's name replaced."""
    place = content.index(box) + 4 + offset
    return content[:place] + value.to_bytes(4, "big") + content[place + 4 :]


def everything(content: bytes, name: str) -> np.ndarray:
    clip = parse_video(content, name)
    return clip.frames.decode(range(clip.num_frames))


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_gives_the_pictures_in_order(videos: dict[str, Path], suffix: str) -> None:
    clip = read_video(videos[suffix])
    assert (clip.num_frames, clip.width, clip.height) == (NUM_FRAMES, 64, 48)
    assert clip.fps == pytest.approx(25)
    assert not clip.variable_rate
    difference = np.abs(clip.frames.decode(range(NUM_FRAMES)).astype(int) - numbered(NUM_FRAMES))
    assert difference.mean() < 4  # the codec's loss; swapped channels or neighbours would be above 5


@pytest.mark.parametrize(("suffix", "backend"), [*((suffix, "pyav") for suffix in CODECS), (".mp4", "decord"), (".mov", "decord")])
def test_any_choice_equals_the_whole(videos: dict[str, Path], suffix: str, backend: str) -> None:
    clip = read_video(videos[suffix], backend=backend)
    whole = clip.frames.decode(range(NUM_FRAMES))
    draw = np.random.default_rng(0)
    for chosen in ([29], [0], [7, 8], [8, 7, 8, 0, 29, 29], draw.integers(0, NUM_FRAMES, 40), np.sort(draw.permutation(NUM_FRAMES)[:9]), []):
        assert np.array_equal(clip.frames.decode(chosen), whole[np.asarray(chosen, dtype=int)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_backends_give_equal_pixels(videos: dict[str, Path], suffix: str) -> None:
    everything = range(NUM_FRAMES)
    assert np.array_equal(read_video(videos[suffix]).frames.decode(everything), read_video(videos[suffix], backend="decord").frames.decode(everything))


def test_bytes_are_as_good_as_a_file_and_travel_to_other_processes(videos: dict[str, Path]) -> None:
    for suffix in (".mp4", ".webm"):
        clip = parse_video(videos[suffix].read_bytes(), "upload")
        first = clip.frames.decode([3, 4])
        assert np.array_equal(first, read_video(videos[suffix]).frames.decode([3, 4]))
        assert np.array_equal(pickle.loads(pickle.dumps(clip)).frames.decode([3, 4]), first)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_rotation_is_undone(mp4: bytes, quarter_turns: int) -> None:
    upright = parse_video(mp4, "a").frames.decode([5])[0]
    clip = parse_video(turned(mp4, quarter_turns), "a")
    assert (clip.width, clip.height) == ((48, 64) if quarter_turns % 2 else (64, 48))
    found = clip.frames.decode([5])[0]
    assert np.array_equal(found, np.rot90(upright, quarter_turns))


def test_a_varying_rate(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 5, 6, 12, 13, 14, 15, 20]
    clip = read_video(write_video(tmp_path / "a.mp4", numbered(10), stamps=stamps))
    assert clip.variable_rate
    assert clip.num_frames == 10
    assert clip.times is not None
    assert np.allclose(clip.times, np.array(stamps) / 25, atol=1e-3)
    assert clip.fps == pytest.approx(9 / (20 / 25))
    assert np.abs(clip.frames.decode(range(10)).astype(int) - numbered(10)).mean() < 4


@pytest.mark.parametrize(("width", "height"), [(62, 46), (34, 98), (16, 16), (258, 2)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    clip = read_video(write_video(tmp_path / "a.avi", numbered(5, width=width, height=height), codec="ffv1"))
    assert clip.frames.decode([4]).shape == (1, height, width, 3)


def test_truly_odd_sizes(tmp_path: Path) -> None:
    clip = read_video(write_video(tmp_path / "a.mkv", numbered(5, width=61, height=47), codec="ffv1"))
    assert clip.frames.decode([0, 4]).shape == (2, 47, 61, 3)


REFUSED: list[tuple[str, Any, str]] = [
    ("a text", lambda mp4: b"hello, I am no video\n" * 50, r"is no video: it begins with b'hello, I'"),
    ("a playlist", lambda mp4: b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is no video: it begins with b'ffconcat'"),
    ("a web page", lambda mp4: b"<!doctype html><html>404</html>", "is no video"),
    ("nothing", lambda mp4: b"", "is empty"),
    ("only a beginning", lambda mp4: mp4[:40], "not a readable video, truncated or damaged"),
    ("half of it", lambda mp4: mp4[: len(mp4) // 2], "truncated"),
    (
        "a million frames announced",
        lambda mp4: patched(patched(patched(mp4, b"stsz", 8, 1_000_000), b"stsz", 4, 1), b"stts", 8, 1_000_000),
        "announces 1,000,000 frames, and 30,000 are allowed",
    ),
    ("more frames announced than there are", lambda mp4: patched(mp4, b"stsz", 4, 1 << 20), "truncated|damaged|no frames"),
]


@pytest.mark.parametrize(("content", "message"), [pytest.param(make, message, id=name) for name, make, message in REFUSED])
def test_what_is_refused_and_why(mp4: bytes, content: Any, message: str) -> None:
    with pytest.raises(RecordingError, match=message) as caught:
        everything(content(mp4), "upload.mp4")
    assert str(caught.value).startswith("upload.mp4: ")
    assert "\n" not in str(caught.value)


def test_limits(videos: dict[str, Path]) -> None:
    for suffix in (".mp4", ".webm"):  # the one announces its frames, the other doesn't
        with pytest.raises(RecordingError, match=r"20 .*are allowed|more than 20 frames"):
            read_video(videos[suffix], limits=VideoLimits(max_frames=20))
        with pytest.raises(RecordingError, match="64 × 48 pixels, and 3,000 pixels are allowed"):
            read_video(videos[suffix], limits=VideoLimits(max_pixels=3000))


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi"])
def test_truncated_in_the_middle(videos: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    longer = write_video(tmp_path / f"long{suffix}", numbered(30).repeat(3, axis=0))
    content = longer.read_bytes()
    with pytest.raises(RecordingError, match=r"truncated|damaged"):
        parse_video(content[: len(content) // 3], "a").frames.decode(range(90))


def test_only_sound(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(RecordingError, match="no stream of moving pictures"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".avi", ".wmv"])  # of the others a head without pictures is no whole file
def test_no_picture_at_all(tmp_path: Path, suffix: str) -> None:
    import av

    with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
        stream = container.add_stream(CODECS[suffix], rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(RecordingError, match=rf"a\{suffix}: no frames: it holds no picture"):
        read_video(tmp_path / f"a{suffix}")


def test_missing_files_and_frames(videos: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such video"):
        read_frames(tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="frames 0 to 30 wanted of 30"):
        read_video(videos[".mp4"]).frames.decode([0, 30])


def test_what_decord_is_not_asked_for(videos: dict[str, Path], mp4: bytes) -> None:
    """It seeks inexactly in some containers and turns some sizes wrongly."""
    for clip in (read_video(videos[".wmv"], backend="decord"), parse_video(turned(mp4, 1), "a", backend="decord")):
        with pytest.raises(RecordingError, match="decord is used for MP4 and MOV that needn't be turned"):
            clip.frames.decode([0])


def test_a_missing_extra_is_named(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.split(".")[0] == "av":
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecordingError, match=r"needs the extra 'video'.*signray\[video\]"):
        read_video(videos[".mp4"])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_crash(videos: dict[str, Path], data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(sorted(CODECS)))
    content = bytearray(videos[suffix].read_bytes())
    for _ in range(data.draw(st.integers(0, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start, stop = data.draw(st.integers(0, 40)), data.draw(st.integers(0, len(content)))
    damaged = bytes(content) if data.draw(st.booleans()) else bytes(content[start:stop])
    reason = ""
    try:
        clip = parse_video(damaged, "upload", limits=VideoLimits(max_frames=500, max_pixels=1 << 18))
        pictures = clip.frames.decode(np.arange(0, clip.num_frames, 3))
    except RecordingError as error:
        reason = str(error)
    if reason:
        assert reason.startswith("upload: ")
        assert "\n" not in reason
    else:
        assert pictures.shape == (-(-clip.num_frames // 3), clip.height, clip.width, 3)


@needs_real_samples
def test_the_real_sentence_equals_its_pictures(tmp_path: Path) -> None:
    """All of it: order, colours, and no more than the codec's loss (x264, crf 14)."""
    import zipfile

    import cv2

    with zipfile.ZipFile(REAL / "frames" / f"{SENTENCE}.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        archive.extractall(tmp_path)
    originals = np.stack([cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR_RGB) for name in names])
    folder = read_frames((tmp_path / names[0]).parent)
    assert np.array_equal(folder.frames.decode(range(132)), originals)
    video = read_video(REAL / "video" / f"{SENTENCE}.mp4")
    assert (video.num_frames, video.frames.size, video.fps) == (132, (210, 260), 25)
    error = np.abs(video.frames.decode(range(132)).astype(int) - originals).mean(axis=(1, 2, 3))
    assert error.max() < 2.5
    for shift in (-1, 1):
        moved = np.abs(np.roll(originals, shift, axis=0).astype(int) - originals).mean()
        assert error.mean() < moved


@needs_real_samples
def test_real_clips() -> None:
    found = {}
    for path in sorted((REAL / "video").glob("*.mp4")):
        clip = read_video(path)
        chosen = clip.frames.decode([0, 12])
        assert chosen.shape == (2, clip.height, clip.width, 3)
        assert chosen.std() > 10
        if clip.width < 400:
            assert np.array_equal(read_video(path, backend="decord").frames.decode([0, 12]), chosen)
        found[path.stem] = (clip.num_frames, clip.height, clip.width, round(clip.fps or 0, 2))
    assert found["webcam_hand_58f"] == (58, 720, 540, 29.92)
    assert found["wlasl_mother_3"] == (70, 1080, 1920, 25)
    assert found["phoenix14t_excerpt_16f_mpeg4"] == (16, 260, 210, 25)
    assert len(found) == 11

"""Phoenix-2014, Phoenix-2014T and CSL-Daily with pictures, in each form in which people have them; invented files in the published layouts."""

from __future__ import annotations

import gzip
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.errors import CorpusError, RecordingError
from tests.unit.models.media.test_pictures import png_of, write_pictures
from tests.unit.models.media.videos import numbered
from tests.unit.shared_data import SHARED, needs_real_samples
from tests.unit.workloads.corpora_on_disk import GLOSS2IDS, keypoints, write_release
from workloads.corpora import CORPORA
from workloads.corpora.corpus import Rejection
from workloads.corpora.picture_store import ZipStore
from workloads.corpora.recording import Recording
from workloads.frame_encoding import FrameOptions
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess

SPLITS = ("train", "dev", "test")
NAMES = {"phoenix2014": "01April_2010_Thursday_heute_default-{}", "phoenix2014t": "11August_2010_Wednesday_tagesschau-{}", "csl_daily": "S00000{}_P0003_T00"}
PUBLISHED_NAMES = {"phoenix2014": "fullFrame-210x260px/{split}/{name}/1/01April_2010_Thursday_heute", "phoenix2014t": "{split}/{name}", "csl_daily": "{name}"}
MEMBERS = {
    "phoenix2014": "{published}.avi_pid0_fn{index:06d}-0.png",
    "phoenix2014t": "images/{published}/images{one:04d}.png",
    "csl_daily": "sentence_frames-512x512/{published}/{index:06d}.jpg",
}
STEMS = {"phoenix2014": "phoenix-2014", "phoenix2014t": "phoenix-2014t", "csl_daily": "csl-daily"}
NUM_FRAMES = 6


def film(number: int) -> np.ndarray:
    return np.roll(numbered(NUM_FRAMES + 3, height=64), 16 * number, axis=2)[number : number + NUM_FRAMES]


def write_download(corpus: str, root: Path) -> Path:
    """The corpus as downloaded: a sentence a split (CSL-Daily: and one without), its pictures and its tables."""
    names = {split: NAMES[corpus].format(number) for number, split in enumerate(SPLITS)}
    for number, (split, name) in enumerate(names.items()):
        if corpus == "csl_daily":
            write_pictures(root / "sentence" / "frames_512x512" / name, film(number), name="{:06d}.jpg")
        else:
            below = "1" if corpus == "phoenix2014" else ""
            write_pictures(root / "features" / "fullFrame-210x260px" / split / name / below, film(number), name="images{:04d}.png")
    if corpus == "csl_daily":
        labels = root / "sentence_label"
        labels.mkdir(parents=True)
        rows = [f"{number}|{name}|{NUM_FRAMES}|HAUS BAUM|房 子 。|房子 。|n w" for number, name in enumerate(names.values())]
        (labels / "video_map.txt").write_text("\n".join(["index|name|length|gloss|char|word|postag", *rows]) + "\n")
        (labels / "split_1.txt").write_text("\n".join(["name|split", *(f"{name}|{split}" for split, name in names.items() if split != "train")]) + "\n")
        return root
    manual = root / "annotations" / "manual"
    manual.mkdir(parents=True)
    for split, name in names.items():
        if corpus == "phoenix2014":
            text = f"id|folder|signer|annotation\n{name}|{name}/1/*.png|Signer04|HAUS BAUM\n"
            (manual / f"{split}.corpus.csv").write_text(text)
        else:
            text = f"name|video|start|end|speaker|orth|translation\n{name}|{name}/1/*.png|-1|-1|Signer08|HAUS  BAUM|ein haus mit einem baum .\n"
            (manual / f"PHOENIX-2014-T.{split}.corpus.csv").write_text(text)
    return root


def write_republished(corpus: str, root: Path, *, num_frames: int = NUM_FRAMES, pictures: bool = True, points: bool = True) -> Path:
    """The corpus as the TwoStream repository has it: gzipped pickles, a zip, a pickle of keypoints."""
    root.mkdir(parents=True, exist_ok=True)
    stem, samples = STEMS[corpus], {}
    with zipfile.ZipFile(root / "frames.zip", "w") as archive:
        for number, split in enumerate(SPLITS):
            published = PUBLISHED_NAMES[corpus].format(split=split, name=NAMES[corpus].format(number))
            entry = {"name": published, "gloss": "HAUS  BAUM", "text": "ein haus", "num_frames": num_frames, "signer": 3, "sign": torch.zeros(1, 1)}
            (root / f"{stem}.{split}").write_bytes(gzip.compress(pickle.dumps([entry])))
            samples[published] = {"keypoints": keypoints(NUM_FRAMES, number).astype(np.float64)}
            folder = write_pictures(root / "temporary", film(number), name="{}" + Path(MEMBERS[corpus]).suffix)
            for index, path in enumerate(sorted(folder.iterdir())):
                archive.write(path, MEMBERS[corpus].format(published=published, index=index, one=index + 1))
    shutil.rmtree(root / "temporary")
    if points:
        (root / f"{stem}-keypoints.pkl").write_bytes(pickle.dumps(samples))
    if not pictures:
        (root / "frames.zip").unlink()
    return root


def read(corpus: str, source: Path | None, options: Mapping[str, str] | None = None) -> tuple[list[Recording], list[Rejection]]:
    entries = list(CORPORA[corpus](source, options or {}).recordings())
    return [entry for entry in entries if isinstance(entry, Recording)], [entry for entry in entries if isinstance(entry, Rejection)]


def check_pictures(recordings: list[Recording], *, loss: float) -> None:
    for number, recording in enumerate(recordings):
        assert recording.filmed is not None
        clip = pickle.loads(pickle.dumps(recording.filmed))()
        assert clip.num_frames == NUM_FRAMES
        assert np.abs(clip.frames.decode(range(NUM_FRAMES)).astype(int) - film(number)).mean() <= loss


@pytest.mark.parametrize("corpus", NAMES)
@pytest.mark.parametrize("above", [False, True])
def test_as_downloaded(tmp_path: Path, corpus: str, above: bool) -> None:
    """Also from the folder that the archive unpacks to, one or two levels up."""
    inner = {"phoenix2014": "phoenix2014-release/phoenix-2014-multisigner", "phoenix2014t": "PHOENIX-2014-T-release-v3/PHOENIX-2014-T", "csl_daily": ""}
    write_download(corpus, tmp_path / inner[corpus] if above else tmp_path)
    recordings, rejections = read(corpus, tmp_path)
    assert rejections == []
    assert [(entry.name, entry.split, entry.glosses) for entry in recordings] == [
        (NAMES[corpus].format(number), split, ("HAUS", "BAUM")) for number, split in enumerate(SPLITS)
    ]
    check_pictures(recordings, loss=2 if corpus == "csl_daily" else 0)
    first = recordings[0]
    assert (first.signer, first.text, first.fps, first.keypoints, first.width) == {
        "phoenix2014": ("Signer04", None, 25.0, None, None),
        "phoenix2014t": ("Signer08", "ein haus mit einem baum .", 25.0, None, None),
        "csl_daily": ("P0003", "房子。", None, None, None),
    }[corpus]


@pytest.mark.parametrize("corpus", NAMES)
def test_zip_and_pickles(tmp_path: Path, corpus: str) -> None:
    recordings, rejections = read(corpus, write_republished(corpus, tmp_path))
    assert rejections == []
    assert [entry.split for entry in recordings] == list(SPLITS)
    assert [(entry.glosses, entry.text, entry.signer) for entry in recordings] == [(("HAUS", "BAUM"), "ein haus", "3")] * 3
    assert (recordings[0].width, recordings[0].height) == ((512, 512) if corpus == "csl_daily" else (210, 260))
    check_pictures(recordings, loss=2 if corpus == "csl_daily" else 0)
    for number, recording in enumerate(recordings):
        assert recording.keypoints is not None
        assert np.array_equal(recording.keypoints, keypoints(NUM_FRAMES, number))


def test_the_cleaned_annotation_has_a_vocabulary_of_its_own(tmp_path: Path) -> None:
    """Phoenix-2014T's two variants must not be mixed."""
    write_republished("phoenix2014t", tmp_path)
    for split in SPLITS:
        samples = pickle.loads(gzip.decompress((tmp_path / f"phoenix-2014t.{split}").read_bytes()))
        cleaned = [{**sample, "gloss": "FÜNFZEHN"} for sample in samples]
        (tmp_path / f"phoenix-2014t_cleaned.{split}").write_bytes(gzip.compress(pickle.dumps(cleaned)))
    for name in ("gloss2ids.pkl", "gloss2ids_old.pkl"):
        (tmp_path / name).touch()
    for options, gloss, vocabulary in (({}, "HAUS", "gloss2ids.pkl"), ({"annotation": "cleaned"}, "FÜNFZEHN", "gloss2ids_old.pkl")):
        corpus = CORPORA["phoenix2014t"](tmp_path, options)
        assert corpus.vocabulary == tmp_path / vocabulary
        assert {recording.glosses[0] for recording in corpus.recordings() if isinstance(recording, Recording) and recording.glosses} == {gloss}
    with pytest.raises(CorpusError, match=r"annotation=old: Phoenix-2014T_old\.train, \.dev and \.test aren't there"):
        read("phoenix2014t", tmp_path, {"annotation": "old"})
    for split in SPLITS:
        (tmp_path / f"phoenix-2014t.{split}").unlink()
    with pytest.raises(CorpusError, match=r"there is only another annotation, phoenix-2014t_cleaned: read it with --set annotation=cleaned"):
        read("phoenix2014t", tmp_path)


def test_keypoints_of_the_release_join_the_cleaned_annotation(tmp_path: Path) -> None:
    write_republished("phoenix2014t", tmp_path)
    (tmp_path / "phoenix-2014t-keypoints.pkl").unlink()
    names = [PUBLISHED_NAMES["phoenix2014t"].format(split=split, name=NAMES["phoenix2014t"].format(number)) for number, split in enumerate(SPLITS)]
    samples = {name: {"name": name, "keypoint": torch.from_numpy(keypoints(NUM_FRAMES))} for name in names}
    for split in SPLITS:
        (tmp_path / f"phoenix-2014t.{split}").rename(tmp_path / f"phoenix-2014t_cleaned.{split}")
        (tmp_path / f"Phoenix-2014T.{split}").write_bytes(pickle.dumps(samples))
    recordings, rejections = read("phoenix2014t", tmp_path, {"annotation": "cleaned"})
    assert rejections == []
    assert [len(entry.keypoints) for entry in recordings if entry.keypoints is not None] == [NUM_FRAMES] * 3


def test_keypoints_join_the_download_by_name(tmp_path: Path) -> None:
    """From the pickle of one repository, and from the pickles of the other."""
    download = write_download("phoenix2014t", tmp_path / "download")
    write_republished("phoenix2014t", tmp_path / "other")
    recordings, _ = read("phoenix2014t", download, {"keypoints": str(tmp_path / "other" / "phoenix-2014t-keypoints.pkl")})
    assert [len(entry.keypoints) for entry in recordings if entry.keypoints is not None] == [NUM_FRAMES] * 3
    name = PUBLISHED_NAMES["phoenix2014t"].format(split="dev", name=NAMES["phoenix2014t"].format(1))
    release = {split: [] for split in SPLITS} | {"dev": [{"name": name, "gloss": "HAUS", "keypoint": torch.from_numpy(keypoints(NUM_FRAMES))}]}
    recordings, rejections = read("phoenix2014t", download, {"keypoints": str(write_release(tmp_path / "release", release))})
    assert [(entry.split, entry.glosses) for entry in recordings] == [("dev", ("HAUS", "BAUM"))]
    assert {entry.reason for entry in rejections} == {"no keypoints: the keypoint file has none of this name"}


def test_shards_of_both(tmp_path: Path) -> None:
    write_republished("phoenix2014t", tmp_path / "corpus")
    (tmp_path / "corpus" / "gloss2ids.pkl").write_bytes(pickle.dumps(GLOSS2IDS))
    options = PreprocessOptions(corpus="phoenix2014t", source=tmp_path / "corpus", out=tmp_path / "out", frames=FrameOptions(size=(32, 32)))
    shards = preprocess(options, in_this_process).shards
    assert shards.corpus.modalities == ("frames", "keypoints")
    assert shards.corpus.vocabulary_source == "gloss2ids.pkl"
    (clip,) = shards.rows("dev", modalities=shards.corpus.modalities)
    assert clip.frames is not None
    assert (clip.frames.size, clip.frame_size, clip.keypoints.shape) == ((32, 32), (210, 260), (NUM_FRAMES, 133, 3))


def test_annotation_and_keypoints_without_pictures(tmp_path: Path) -> None:
    recordings, _ = read("csl_daily", write_republished("csl_daily", tmp_path, pictures=False))
    assert [entry.filmed for entry in recordings] == [None] * 3
    assert recordings[0].keypoints is not None


def test_pictures_elsewhere_and_several_zips(tmp_path: Path) -> None:
    write_republished("phoenix2014t", tmp_path / "a", points=False)
    shutil.copy(tmp_path / "a" / "frames.zip", tmp_path / "a" / "more.zip")
    with pytest.raises(CorpusError, match=r"which zip holds the pictures\? There are frames\.zip, more\.zip: --set pictures=ZIP"):
        read("phoenix2014t", tmp_path / "a")
    for option in (tmp_path / "a" / "frames.zip", write_download("phoenix2014t", tmp_path / "b") / "features" / "fullFrame-210x260px"):
        check_pictures(read("phoenix2014t", tmp_path / "a", {"pictures": str(option)})[0], loss=0)


def test_what_is_missing_in_one_recording_is_its_reason(tmp_path: Path) -> None:
    root = write_download("phoenix2014", tmp_path)
    shutil.rmtree(root / "features" / "fullFrame-210x260px" / "dev" / NAMES["phoenix2014"].format(1))
    recordings, (rejection,) = read("phoenix2014", root)
    assert [entry.split for entry in recordings] == ["train", "test"]
    assert rejection.reason.startswith("no pictures: ")
    assert "fullFrame-210x260px/dev/01April_2010_Thursday_heute_default-1/1 isn't there" in rejection.reason


def test_fewer_pictures_than_announced(tmp_path: Path) -> None:
    source = write_republished("csl_daily", tmp_path / "corpus", num_frames=9, points=False)
    with pytest.raises(CorpusError, match=r"none of 3 recordings can be used.*6 pictures are there, and the annotation says 9"):
        preprocess(PreprocessOptions(corpus="csl_daily", source=source, out=tmp_path / "out"), in_this_process)


def test_limits_hold_in_a_zip(tmp_path: Path) -> None:
    """Pictures that are too large, too many, or more than OpenCV takes."""
    large = cv2.imencode(".png", np.zeros((2305, 4096, 3), dtype=np.uint8))[1].tobytes()
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
        archive.writestr("large/0.png", large)
        archive.writestr("huge/0.png", png_of(40_000, 40_000))
        for number in range(30_001):
            archive.writestr(f"many/{number}.png", b"")
    store = ZipStore(tmp_path / "frames.zip", str, None)
    for name, reason in (
        ("large", "has pictures of 4096 × 2305 pixels, and 9,437,184 pixels are allowed"),
        ("huge", "the first of 1 pictures can't be decoded"),
        ("many", "has 30,001 pictures, and 30,000 are allowed: cut it into shorter recordings"),
    ):
        opened = store.find(name, "train")
        assert opened is not None
        with pytest.raises(RecordingError, match=rf"frames\.zip, {name}: {reason}"):
            opened()


def broken_zip(root: Path) -> str:
    write_republished("phoenix2014t", root)
    (root / "frames.zip").write_bytes((root / "frames.zip").read_bytes()[:500])
    return r"frames\.zip: not a readable zip of pictures, truncated or damaged"


def no_annotation(root: Path) -> str:
    return r"neither annotations/manual/PHOENIX-2014-T\.train\.corpus\.csv nor Phoenix-2014T\.train, \.dev, \.test are there"


def no_pictures(root: Path) -> str:
    shutil.rmtree(write_download("phoenix2014t", root) / "features")
    return r"has annotation, and neither pictures \(features/fullFrame-210x260px, features/fullFrame-\*px or a \.zip\) nor Phoenix-2014T-keypoints\.pkl"


def no_column(root: Path) -> str:
    (write_download("phoenix2014t", root) / "annotations" / "manual" / "PHOENIX-2014-T.dev.corpus.csv").write_text("name|video\n")
    return r"PHOENIX-2014-T\.dev\.corpus\.csv: column orth and speaker and translation missing"


def short_line(root: Path) -> str:
    path = write_download("phoenix2014t", root) / "annotations" / "manual" / "PHOENIX-2014-T.dev.corpus.csv"
    path.write_text(path.read_text() + "half|a line\n")
    return "line 3 has 2 columns, and the first line 7"


def no_list(root: Path) -> str:
    write_republished("phoenix2014t", root)
    (root / "phoenix-2014t.dev").write_bytes(gzip.compress(pickle.dumps({"a": 1})))
    return r"phoenix-2014t\.dev: a list of dicts with a name each is expected"


def cut_gzip(root: Path) -> str:
    write_republished("phoenix2014t", root)
    (root / "phoenix-2014t.dev").write_bytes((root / "phoenix-2014t.dev").read_bytes()[:40])
    return r"phoenix-2014t\.dev: not a readable pickle, truncated or damaged"


def no_dict(root: Path) -> str:
    write_republished("phoenix2014t", root)
    (root / "phoenix-2014t-keypoints.pkl").write_bytes(pickle.dumps([1]))
    return r"phoenix-2014t-keypoints\.pkl: holds a list, and a dict from name to keypoints is expected"


@pytest.mark.parametrize("damage", [broken_zip, no_annotation, no_pictures, no_column, short_line, no_list, cut_gzip, no_dict])
def test_what_is_missing_or_damaged_is_named(tmp_path: Path, damage: Any) -> None:
    with pytest.raises(CorpusError, match=damage(tmp_path)) as caught:
        read("phoenix2014t", tmp_path)
    assert "\n" not in str(caught.value)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    write_download("phoenix2014t", tmp_path)
    with pytest.raises(CorpusError, match="has no option 'zip'; its options are pictures, keypoints"):
        read("phoenix2014t", tmp_path, {"zip": "a"})
    with pytest.raises(CorpusError, match=r"pictures=.*gone: no such folder or zip"):
        read("phoenix2014t", tmp_path, {"pictures": str(tmp_path / "gone")})
    with pytest.raises(CorpusError, match=r"keypoints=.*gone: no file of keypoints"):
        read("phoenix2014t", tmp_path, {"keypoints": str(tmp_path / "gone")})
    with pytest.raises(CorpusError, match="option pictures has no use beside the keypoint release alone"):
        read("phoenix2014t", write_release(tmp_path / "release"), {"pictures": str(tmp_path)})


def test_splits_that_csl_daily_does_not_have(tmp_path: Path) -> None:
    path = write_download("csl_daily", tmp_path) / "sentence_label" / "split_1.txt"
    path.write_text(path.read_text() + "S000009_P0003_T00|validation\n")
    with pytest.raises(CorpusError, match="split 'validation' is none of train, dev, test"):
        read("csl_daily", tmp_path)


@needs_real_samples
def test_the_real_sentence_in_the_corpus_layout(tmp_path: Path) -> None:
    """As folders of the download and as a zip: the same pixels in shards as the originals have."""
    sentence = "09April_2010_Friday_tagesschau-7631"
    archive = SHARED / "real_samples" / "frames" / f"phoenix14t_{sentence}.zip"
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    root = tmp_path / "PHOENIX-2014-T"
    manual = root / "annotations" / "manual"
    manual.mkdir(parents=True)
    header = "name|video|start|end|speaker|orth|translation\n"
    row = f"{sentence}|{sentence}/1/*.png|-1|-1|Signer08|NORD WIND TAG FRISCH KUESTE DANN REGEN WEHEN|schwacher bis mäßiger an der ostsee frischer nordwind .\n"
    for split in SPLITS:
        (manual / f"PHOENIX-2014-T.{split}.corpus.csv").write_text(header + (row if split == "train" else ""))
    found = []
    for options in ({}, {"pictures": str(archive)}):
        settings = PreprocessOptions(
            corpus="phoenix2014t", source=tmp_path, out=tmp_path / f"out{len(found)}", settings=options, frames=FrameOptions(encoding="png")
        )
        (clip,) = preprocess(settings, in_this_process).shards.rows("train", modalities=["frames"])
        assert clip.frames is not None
        assert (clip.num_frames, clip.frames.size, clip.glosses[-1] if clip.glosses else "") == (132, (210, 260), "WEHEN")
        found.append(clip.frames.decode(range(0, 132, 10)))
    assert np.array_equal(found[0], found[1])
    import cv2

    names = sorted((root / "features" / "fullFrame-210x260px" / "train" / sentence).glob("*.png"))
    originals = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in names[::10]]
    assert np.array_equal(found[0], np.stack(originals))

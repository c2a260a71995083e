"""CSL-Daily: Chinese Sign Language of daily life with spoken-language text, 18,401 / 1,077 / 1,176 sentences of ten signers (Zhou et al., CVPR 2021)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from models.errors import CorpusError
from workloads.corpora.annotations import SPLITS, Columns, Sentence, bar_rows, read_table
from workloads.corpora.keypoint_release import KeypointRelease
from workloads.corpora.sentence_corpus import SentenceCorpus, read_sentences


def signer_of(name: str) -> str:
    """The P field of a name: `S000020_P0008_T00` is sentence 20, signer 8, take 0."""
    found = re.search(r"_(P\d+)_", name)
    return found[1] if found else ""


RELEASE = KeypointRelease(
    corpus="csl_daily",
    stem="CSL-Daily",
    licence="research agreement with the University of Science and Technology of China; no redistribution",
    width=512,
    height=512,
    lower_case=True,
    signer_of=signer_of,
)


def annotation(folder: Path) -> tuple[list[Sentence], list[Path]] | None:
    """The lists of the download, `video_map.txt` and `split_1.txt`, in the folder or in `sentence_label`. A video without a split goes to train."""
    place = next((place for place in (folder, folder / "sentence_label") if (place / "video_map.txt").is_file() and (place / "split_1.txt").is_file()), None)
    if place is None:
        return None
    videos, splits = place / "video_map.txt", place / "split_1.txt"
    split_of = {row["name"]: row["split"] for row in bar_rows(splits, ("name", "split"))}
    unknown = sorted(set(split_of.values()) - set(SPLITS))
    if unknown:
        raise CorpusError(f"{splits}: split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    # One of 20,655 videos isn't in the list of splits.
    sentences = read_table(videos, Columns(name="name", gloss="gloss", text="char"), "train")
    found = [replace(entry, split=split_of.get(entry.name, "train"), text="".join((entry.text or "").split())) for entry in sentences]
    return found, [videos, splits]


def identity(name: str) -> str:
    """The recording's name in `sentence_frames-512x512/<name>`, or alone."""
    return name.split("/")[-1]


CORPUS = SentenceCorpus(
    release=RELEASE,
    annotation=annotation,
    roots=("", "CSL-Daily", "sentence"),
    tables="video_map.txt and split_1.txt",
    picture_folders=("sentence/frames_512x512", "frames_512x512", "sentence_frames-512x512", "sentence/frames_*", "frames_*"),
    places=("{name}",),
    key=identity,
)
read_csl_daily = partial(read_sentences, CORPUS)

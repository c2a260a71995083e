"""RWTH-PHOENIX-Weather 2014-T: German Sign Language with spoken-language text, 7,096 / 519 / 642 sentences of nine signers (Camgoz et al., CVPR 2018)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from workloads.corpora.annotations import SPLITS, Columns, Sentence, read_table
from workloads.corpora.keypoint_release import KeypointRelease
from workloads.corpora.sentence_corpus import SentenceCorpus, read_sentences

RELEASE = KeypointRelease(
    corpus="phoenix2014t",
    stem="Phoenix-2014T",
    licence="CC BY-NC-SA 3.0 (RWTH Aachen University): attribution, no commercial use, share alike",
    width=210,
    height=260,
    lower_case=True,
    fps=25.0,
)


def annotation(folder: Path) -> tuple[list[Sentence], list[Path]] | None:
    """The tables of the download: `annotations/manual/PHOENIX-2014-T.<split>.corpus.csv`."""
    files = [folder / "annotations" / "manual" / f"PHOENIX-2014-T.{split}.corpus.csv" for split in SPLITS]
    if not all(path.is_file() for path in files):
        return None
    columns = Columns(name="name", gloss="orth", signer="speaker", text="translation")
    return [sentence for path, split in zip(files, SPLITS, strict=True) for sentence in read_table(path, columns, split)], files


def identity(name: str) -> str:
    """The recording's name in `dev/<name>`, in `images/dev/<name>`, or alone; the tables name a folder `1` below it, which the download lacks."""
    parts = [part for part in name.split("/") if part != "1"]
    return parts[-1] if parts else name


CORPUS = SentenceCorpus(
    release=RELEASE,
    annotation=annotation,
    roots=("", "PHOENIX-2014-T", "PHOENIX-2014-T-release-v3/PHOENIX-2014-T"),
    tables="annotations/manual/PHOENIX-2014-T.train.corpus.csv",
    picture_folders=("features/fullFrame-210x260px", "features/fullFrame-*px"),
    places=("{split}/{name}", "{split}/{name}/1"),
    key=identity,
)
read_phoenix2014t = partial(read_sentences, CORPUS)

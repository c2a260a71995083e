"""RWTH-PHOENIX-Weather 2014 (multisigner): German Sign Language, 5,672 / 540 / 629 sentences of nine signers (Koller, Forster, Ney, CVIU 2015)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from workloads.corpora.annotations import SPLITS, Columns, Sentence, read_table
from workloads.corpora.keypoint_release import KeypointRelease
from workloads.corpora.sentence_corpus import SentenceCorpus, read_sentences

RELEASE = KeypointRelease(
    corpus="phoenix2014",
    stem="phoenix-2014",
    licence="CC BY-NC-SA 3.0 (RWTH Aachen University): attribution, no commercial use, share alike",
    width=210,
    height=260,
    lower_case=False,
    fps=25.0,
)


def annotation(folder: Path) -> tuple[list[Sentence], list[Path]] | None:
    """The tables of the download: `annotations/manual/<split>.corpus.csv`."""
    files = [folder / "annotations" / "manual" / f"{split}.corpus.csv" for split in SPLITS]
    if not all(path.is_file() for path in files):
        return None
    columns = Columns(name="id", gloss="annotation", signer="signer")
    return [sentence for path, split in zip(files, SPLITS, strict=True) for sentence in read_table(path, columns, split)], files


def identity(name: str) -> str:
    """The recording's id in `fullFrame-210x260px/dev/<id>/1/01April_2010_Thursday_heute`, in `.../<id>/1`, or alone."""
    parts = name.split("/")
    return parts[parts.index("1") - 1] if "1" in parts else parts[-1]


CORPUS = SentenceCorpus(
    release=RELEASE,
    annotation=annotation,
    roots=("", "phoenix-2014-multisigner", "phoenix2014-release/phoenix-2014-multisigner"),
    tables="annotations/manual/train.corpus.csv",
    picture_folders=("features/fullFrame-210x260px", "features/fullFrame-*px"),
    places=("{split}/{name}/1", "{split}/{name}"),
    key=identity,
)
read_phoenix2014 = partial(read_sentences, CORPUS)

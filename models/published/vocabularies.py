"""Gloss vocabularies as the published systems ship or build them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from models.boxed import load_boxed
from models.errors import CorpusError, VocabularyError
from models.pickles import load_pickle
from models.vocabulary import Vocabulary, build_vocabulary

BLANKS = ("<s>", "<si>", "<blank>")
TWOSTREAM_PHOENIX2014T_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "zh_CN", "de_DE", "zh_CSL", "de_DGS")


def import_vocabulary(path: Path, lower_case: bool) -> Vocabulary:
    """Read a vocabulary file: a pickled dict gloss → id (`gloss2ids.pkl`), the VAC family's `gloss_dict.npy` (gloss → id and count), a table with the
    columns id and gloss (.tsv, .tsv.gz), or our own .json.

    Two glosses of one id: the later one names the id, the earlier becomes an alias (TwoStream's Phoenix-2014: id 4 is `REGEN`, `<mask>` its alias).
    `lower_case`: look glosses up in lower case; a file of ours states it itself, and a file whose glosses are mostly written with capitals keeps their case,
    since none of them could be found otherwise. Ids that begin with 1 (VAC family) get the blank in front.
    Errors: VocabularyError naming the file where it is missing or damaged, where ids have gaps, or where id 0 is a gloss.
    """
    if path.suffix == ".json":
        return Vocabulary.load(path)
    pairs = _table(path) if path.name.endswith((".tsv", ".tsv.gz")) else _counted(path) if path.suffix == ".npy" else _pickled(path)
    entries, aliases = _entries(pairs, path)
    return Vocabulary(entries=entries, aliases=aliases, lower_case=lower_case and not _written_with_capitals(entries))


def vac_vocabulary(sentences: Iterable[Iterable[str]]) -> Vocabulary:
    """The VAC family's ids (SlowFastSign, MSTFNet): all glosses of train, dev and test sorted by code point, from 1; the blank is 0."""
    return build_vocabulary(sentences, lower_case=False, specials=("<blank>",))


def twostream_phoenix2014t_vocabulary(sentences: Iterable[Iterable[str]]) -> Vocabulary:
    """TwoStream's ids for Phoenix-2014T: nine specials, then lower-cased glosses as they first occur in the sentences of train, dev and test, in this order."""
    glosses = dict.fromkeys(gloss.lower() for sentence in sentences for gloss in sentence)
    return Vocabulary(entries=(*TWOSTREAM_PHOENIX2014T_SPECIALS, *glosses), lower_case=True)


def _pickled(path: Path) -> list[tuple[str, int]]:
    return [(gloss, _id(index, gloss, path)) for gloss, index in _dict(path, load_pickle).items()]


def _counted(path: Path) -> list[tuple[str, int]]:
    """Ids are followed by how often the gloss occurs."""
    return [(gloss, _id(entry[0] if isinstance(entry, list) and entry else entry, gloss, path)) for gloss, entry in _dict(path, load_boxed).items()]


def _dict(path: Path, load: Callable[[Path], Any]) -> dict[Any, Any]:
    try:
        value = load(path)
    except CorpusError as error:
        raise VocabularyError(str(error)) from None
    if not isinstance(value, dict):
        raise VocabularyError(f"{path}: holds a {type(value).__name__}, and a dict from gloss to id is expected")
    return value


def _table(path: Path) -> list[tuple[str, int]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise VocabularyError(f"{path}: can't be read ({error})") from None
    if not rows or not {"id", "gloss"} <= set(rows[0]):
        raise VocabularyError(f"{path}: needs a header line with the columns id and gloss, and at least one row")
    return [(row["gloss"], _id(row["id"], row["gloss"], path)) for row in rows]


def _id(value: Any, gloss: Any, path: Path) -> int:
    try:
        if isinstance(gloss, str) and not isinstance(value, float):
            return int(value)
    except (TypeError, ValueError):
        pass
    raise VocabularyError(f"{path}: {gloss!r} has the id {value!r}, and a whole number is expected")


def _entries(pairs: Sequence[tuple[str, int]], path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    names = {index: gloss for gloss, index in pairs}  # later glosses win, as in the published reverse map
    if names and min(names) == 1:
        names[0] = "<blank>"
    missing = sorted(set(range(len(names))) - set(names))
    if missing:
        raise VocabularyError(f"{path}: no gloss has the id {missing[0]}: ids must run from 0 without a gap")
    if names and names[0] not in BLANKS:
        raise VocabularyError(f"{path}: id 0 is {names[0]!r}, and it must be the CTC blank, one of {', '.join(BLANKS)}")
    return tuple(names[index] for index in range(len(names))), {gloss: index for gloss, index in pairs if names[index] != gloss}


def _written_with_capitals(entries: Sequence[str]) -> bool:
    glosses = [entry for entry in entries if not entry.startswith("<")]
    return 2 * sum(gloss != gloss.lower() for gloss in glosses) > len(glosses)

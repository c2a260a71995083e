"""Class lists: the files that give the classes of an isolated corpus their names, in the forms in which they are found beside published corpora.

.json        a list of names by class id (MSASL_classes.json), or of objects with the key `gloss` (WLASL_v0.3.json);
             a dict from class id to name, or from name to class id
.csv         class id, name; a first row without an id is a header
.txt .tsv    class id and name, separated by a tab or blanks (wlasl_class_list.txt, SLR500's dictionary.txt), or one name per line by class id
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import CorpusError

Pairs = Iterable[tuple[int, str]]


def read_class_list(path: Path, num_classes: int) -> tuple[str, ...]:
    """The names of the classes 0..num_classes - 1, made unique: what comes again as a name of a later class gets its id, `name (17)`.

    Errors: CorpusError naming the file where it is missing or in none of the forms, or doesn't name every class exactly once.
    """
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise CorpusError(f"{path}: not a class list: the kinds are {', '.join(PARSERS)}")
    try:
        pairs = list(parse(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise CorpusError(f"{path}: not UTF-8 text: convert it first, a list in Chinese with iconv -f GB18030 -t UTF-8") from None
    except (ValueError, csv.Error) as error:
        raise CorpusError(f"{path}: not a class list: a class id and a name per line are expected ({' '.join(str(error).split())[:100]})") from None
    return _unique(_ordered(pairs, num_classes, path))


def repeated_names(names: Sequence[str]) -> list[str]:
    """The names that `read_class_list` made unique."""
    return [name for index, name in enumerate(names) if name.endswith(f" ({index})")]


def _ordered(pairs: Sequence[tuple[int, str]], num_classes: int, path: Path) -> list[str]:
    names: dict[int, str] = {}
    for index, name in pairs:
        if index in names:
            raise CorpusError(f"{path}: names class {index} twice, {names[index]!r} and {name!r}: each class needs one name")
        names[index] = name
    missing = [index for index in range(num_classes) if not names.get(index)]
    if missing:
        raise CorpusError(
            f"{path}: has no name for {len(missing)} of {num_classes} classes, the first is class {missing[0]}: ids start at 0; take the corpus's own list"
        )
    return [names[index] for index in range(num_classes)]


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        first.setdefault(name, index)
    return tuple(name if first[name] == index else f"{name} ({index})" for index, name in enumerate(names))


def _json_pairs(text: str) -> Pairs:
    record = json.loads(text)
    if isinstance(record, list):
        return [(index, _name(entry["gloss"] if isinstance(entry, dict) and "gloss" in entry else entry)) for index, entry in enumerate(record)]
    if not isinstance(record, Mapping):
        raise ValueError("a list or a dict is expected")
    by_name = all(isinstance(value, int) for value in record.values())
    return [(value, _name(key)) if by_name else (int(key), _name(value)) for key, value in record.items()]


def _csv_pairs(text: str) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(row for row in csv.reader(text.splitlines()) if row):
        if number == 0 and not row[0].strip().isdecimal():
            continue
        yield int(row[0]), _name(row[1] if len(row) > 1 else "")


def _line_pairs(text: str) -> Iterator[tuple[int, str]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fields = [line.split(maxsplit=1) for line in lines]
    numbered = all(len(parts) == 2 and parts[0].isdecimal() for parts in fields)
    for index, (line, parts) in enumerate(zip(lines, fields, strict=True)):
        yield (int(parts[0]), parts[1]) if numbered else (index, line)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no name")
    return value.strip()


PARSERS: dict[str, Callable[[str], Pairs]] = {".json": _json_pairs, ".csv": _csv_pairs, ".txt": _line_pairs, ".tsv": _line_pairs}

"""Files of sentences by name, as recognisers and corpora write them: CTM, STM, tables (TSV, the Phoenix corpora's `|` tables), JSONL.

    .ctm     name channel begin duration token [confidence]       a token a line; a name's tokens in order of time
    .stm     name channel signer begin end [<label>] token ...    a sentence a line
    .tsv     columns with a header line, or name TAB sentence     `.csv` with `|` between the columns is read, too
    .jsonl   an object a line: name, a sentence, perhaps signer   what evaluate.py and predict.py write is read

Any of them can be gzipped (.gz). In CTM and STM, lines that begin with `;;` are comments. What is wrong in a file is a Problem that names
file and line; the rest of the file is read.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, get_args

from models.errors import CorpusError
from models.metrics.conventions import EMPTY

Format = Literal["ctm", "stm", "tsv", "jsonl"]
ProblemKind = Literal["malformed", "undecodable", "duplicate_name", "missing_hypothesis", "unknown_hypothesis", "empty_reference"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
SUFFIXES: Final[dict[str, Format]] = {".ctm": "ctm", ".stm": "stm", ".tsv": "tsv", ".csv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
NAME_FIELDS, SIGNER_FIELDS = ("name", "id"), ("signer", "speaker")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in the files that changes a score, or may; `text` is one line that says what, and where."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence as it stands in a file: glosses separated by blanks, or a text. `line` is where it begins."""

    name: str
    text: str
    signer: str
    line: int


@dataclass(frozen=True, kw_only=True)
class SentenceFile:
    """What a file holds, in its order."""

    path: Path
    format: Format
    sentences: Mapping[str, Sentence]
    problems: tuple[Problem, ...]


@dataclass
class _Reader:
    """A file on its way to a SentenceFile."""

    path: Path
    fields: Sequence[str]
    sentences: dict[str, Sentence] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of every line that isn't blank."""
        content = _content(self.path)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise CorpusError(f"{self.path}: is UTF-16, and UTF-8 is expected: iconv -f utf-16 -t utf-8 converts it")
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                text = line.decode("utf-8", errors="replace")
                self.problem("undecodable", number, f"byte 0x{line[error.start]:02x} is not UTF-8: read as �, which matches nothing (iconv -t utf-8 helps)")
            if text.strip():
                yield number, text.rstrip("\r")

    def problem(self, kind: ProblemKind, line: int, what: str) -> None:
        self.problems.append(Problem(kind=kind, text=" ".join(f"{self.path}:{line}: {what}".split())))

    def add(self, name: str, text: str, line: int, signer: str = "") -> None:
        known = self.sentences.get(name)
        if known is not None:
            self.problem("duplicate_name", line, f"{name} a second time, the first is line {known.line}: only that one is scored")
            return
        if any("\ud800" <= character <= "\udfff" for character in name + text + signer):
            self.problem("undecodable", line, f"half a surrogate pair in {_printable(name)}: read as ?, which matches nothing")
            name, text, signer = _printable(name), _printable(text), _printable(signer)
        self.sentences[name] = Sentence(name=name, text="" if text.strip() == EMPTY else text, signer=signer, line=line)


def read_sentences(path: Path, *, fields: Sequence[str], file_format: Format | None = None) -> SentenceFile:
    """The sentences of a file. `fields` are the columns or keys that may hold them in a table or JSONL, the first that is there counts.

    Raises CorpusError for a file that is missing, empty or of unknown format, or that has no such column.
    """
    chosen = file_format or format_of(path)
    reader = _Reader(path=path, fields=fields)
    _READERS[chosen](reader)
    if not reader.sentences:
        why = f"; the first: {reader.problems[0].text}" if reader.problems else ""
        raise CorpusError(f"{path}: no sentence found by reading it as {chosen.upper()}{why}")
    return SentenceFile(path=path, format=chosen, sentences=reader.sentences, problems=tuple(reader.problems))


def format_of(path: Path) -> Format:
    """The format that the name's ending tells. Raises CorpusError where it tells none."""
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path}: the ending tells no format ({', '.join(SUFFIXES)}): name it with --hyp-format or --ref-format")
    return SUFFIXES[suffix]


def write_ctm(path: Path, sentences: Mapping[str, Sequence[str]]) -> None:
    """Tokens by name as CTM, in the order that sclite needs; times are the tokens' places, a hundredth of a second each.

    Raises CorpusError for a blank in a name.
    """
    lines = [f"{_no_blank(name)} 1 {place / 100:.2f} 0.01 {token}" for name in sorted(sentences) for place, token in enumerate(sentences[name])]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_stm(path: Path, sentences: Mapping[str, Sequence[str]], signers: Mapping[str, str]) -> None:
    """Tokens by name as STM, each sentence over all of its recording. Raises CorpusError for a blank in a name."""
    lines = [
        " ".join([_no_blank(name), "1", signers[name].replace(" ", "_") or "unknown", "0.0", "1.79769e+308", *sentences[name]]) for name in sorted(sentences)
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _no_blank(name: str) -> str:
    if len(name.split()) != 1:
        raise CorpusError(f"the name {name!r} holds a blank: CTM and STM can't tell it from a column")
    return name


def _printable(text: str) -> str:
    """`text` without halves of surrogate pairs, which JSON can name and nothing can print."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: the gzip file is damaged: {error}") from None
    except OSError as error:
        raise CorpusError(f"{path}: can't be read: {error.strerror or error}") from None


def _read_ctm(reader: _Reader) -> None:
    words: defaultdict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for number, text in _records(reader):
        cells = text.split()
        if len(cells) not in (5, 6) or not _numbers(cells[2:4] + cells[5:]):
            reader.problem("malformed", number, f"not a line of CTM, left out ({len(cells)} columns; name channel begin duration token [confidence])")
            continue
        words[cells[0]].append((float(cells[2]), number, cells[4]))
    for name, found in words.items():
        found.sort()
        for (begin, first, _), (again, second, _) in pairwise(found):
            if begin == again:
                reader.problem("duplicate_name", second, f"{name} has a second token at {begin:.2f} s, the first is line {first}: both are scored")
        reader.add(name, " ".join(token for _, _, token in found if token != EMPTY), min(number for _, number, _ in found))


def _read_stm(reader: _Reader) -> None:
    for number, text in _records(reader):
        cells = text.split()
        if len(cells) < 5 or not _numbers(cells[3:5]):
            reader.problem("malformed", number, "not a line of STM, left out (name channel signer begin end [<label>] token ...)")
            continue
        tokens = cells[6:] if len(cells) > 5 and cells[5].startswith("<") and cells[5].endswith(">") else cells[5:]
        if "{" in tokens or tokens == ["IGNORE_TIME_SEGMENT_IN_SCORING"]:
            reader.problem("malformed", number, f"{cells[0]}, left out: alternatives in braces and ignored segments are not supported")
            continue
        reader.add(cells[0], " ".join(tokens), number, signer=cells[2])


def _records(reader: _Reader) -> Iterator[tuple[int, str]]:
    return ((number, text) for number, text in reader.lines() if not text.startswith(";;"))


def _numbers(cells: Iterable[str]) -> bool:
    try:
        return not any(math.isnan(float(cell)) for cell in cells)
    except ValueError:
        return False


def _read_table(reader: _Reader) -> None:
    lines = list(reader.lines())
    if not lines:
        return
    delimiter = "|" if "|" in lines[0][1] and "\t" not in lines[0][1] else "\t"
    header = _header(reader, lines[0][1], delimiter)
    names = [header.index(column) for column in NAME_FIELDS if column in header]
    if not names:
        _read_pairs(reader, lines, delimiter)
        return
    values = [header.index(column) for column in reader.fields if column in header]
    if not values:
        raise CorpusError(f"{reader.path}: no column {' or '.join(reader.fields)}; there are {', '.join(header)}: name one with --hyp-field or --ref-field")
    signers = [header.index(column) for column in SIGNER_FIELDS if column in header]
    for number, text in lines[1:]:
        cells = [cell.strip() for cell in text.split(delimiter)]
        if len(cells) > len(header) or len(cells) <= max(names[0], values[0]) or not cells[names[0]]:
            reader.problem("malformed", number, f"{len(cells)} columns where the header has {len(header)}, or no name: left out")
            continue
        reader.add(cells[names[0]], cells[values[0]], number, signer=cells[signers[0]] if signers and signers[0] < len(cells) else "")


def _header(reader: _Reader, text: str, delimiter: str) -> list[str]:
    """The columns' names. Raises CorpusError where commas separate them, or where one that is read is there twice."""
    header = [cell.strip() for cell in text.split(delimiter)]
    by_commas = [cell.strip() for cell in text.split(",")]
    if len(header) == 1 and not set(by_commas).isdisjoint(NAME_FIELDS):
        raise CorpusError(f"{reader.path}: its columns are separated by commas, and tabs are expected (or | in a .csv)")
    if not set(header).isdisjoint(NAME_FIELDS):
        twice = [column for column in (*NAME_FIELDS, *reader.fields) if header.count(column) > 1]
        if twice:
            raise CorpusError(f"{reader.path}: column {twice[0]} is there twice: which of them counts?")
    return header


def _read_pairs(reader: _Reader, lines: Sequence[tuple[int, str]], delimiter: str) -> None:
    """A table without a header line: name and sentence."""
    for number, text in lines:
        cells = [cell.strip() for cell in text.split(delimiter)]
        if len(cells) != 2 or not cells[0]:
            reader.problem("malformed", number, f"{len(cells)} columns, and no header line with a column 'name': left out")
            continue
        reader.add(cells[0], cells[1], number)


def _read_jsonl(reader: _Reader) -> None:
    for number, text in reader.lines():
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits
            row = None
        if not isinstance(row, dict):
            reader.problem("malformed", number, "not a JSON object, left out")
            continue
        name = next((str(row[key]) for key in NAME_FIELDS if row.get(key) not in (None, "")), "")
        if not name:
            reader.problem("malformed", number, "no name, left out")
            continue
        sentence = _first_sentence(row, reader.fields)
        if sentence is not None:
            reader.add(name, sentence, number, signer=next((str(row[key]) for key in SIGNER_FIELDS if row.get(key)), ""))
        elif "error" not in row:  # a clip that predict.py could not answer has no hypothesis, which is told later
            reader.problem(
                "malformed", number, f"{name}, left out: no sentence under {' or '.join(reader.fields)} (--hyp-field or --ref-field names another key)"
            )


def _first_sentence(row: Mapping[str, Any], fields: Sequence[str]) -> str | None:
    """The sentence under the first of `fields` that has one. In evaluate.py's `hypotheses` (by head) a field can name a head; the first answers else."""
    heads = row.get("hypotheses")
    for key in fields:
        sentence = _sentence(row.get(key))
        if sentence is None and isinstance(heads, dict):
            sentence = _sentence(next(iter(heads.values()), None) if key == "hypotheses" else heads.get(key))
        if sentence is not None:
            return sentence
    return None


def _sentence(value: Any) -> str | None:
    """A text, or a list of glosses (texts, or objects with `gloss`), as a sentence; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        glosses = [entry.get("gloss") if isinstance(entry, dict) else entry for entry in value]
        texts = [gloss for gloss in glosses if isinstance(gloss, str)]
        return " ".join(texts) if len(texts) == len(glosses) else None
    return None


_READERS: Final[dict[Format, Callable[[_Reader], None]]] = {"ctm": _read_ctm, "stm": _read_stm, "tsv": _read_table, "jsonl": _read_jsonl}

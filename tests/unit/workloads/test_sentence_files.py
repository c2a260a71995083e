"""Files of sentences: every format says the same, round trips, and tells what is wrong with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from tests.unit.shared_data import SHARED, annotations, needs_annotations
from workloads.file_scoring.sentence_files import Format, SentenceFile, read_sentences, write_ctm, write_stm

FIELDS = ("hypothesis", "hypotheses", "sentence", "glosses", "gloss")
SAME: dict[str, str] = {
    "a.ctm": ";; system x\nclip1 1 0.01 0.02 REGEN 0.9\nclip1 1 0.00 0.01 HEUTE\nclip2 1 0.00 0.01 [EMPTY]\n",
    "a.stm": ";; system x\nclip1 1 anna 0.0 1.79769e+308 <o,f0> HEUTE  REGEN\nclip2 1 ben 0.0 1.79769e+308\n",
    "a.tsv": "name\tsigner\thypothesis\nclip1\tanna\tHEUTE REGEN\nclip2\tben\t\n",
    "b.tsv": "clip1\tHEUTE REGEN\nclip2\t\n",
    "a.csv": "id|folder|speaker|gloss\nclip1|x/*.png|anna|HEUTE REGEN\nclip2|y|ben|\n",
    "a.jsonl": '{"name": "clip1", "signer": "anna", "sentence": "HEUTE REGEN"}\n\n{"name": "clip2", "signer": "ben", "sentence": "[EMPTY]"}\n',
    "b.jsonl": '{"id": "clip1", "glosses": ["HEUTE", "REGEN"]}\n{"id": "clip2", "glosses": []}\n',
    "c.jsonl": '{"name": "clip1", "glosses": [{"gloss": "HEUTE"}, {"gloss": "REGEN"}]}\n{"name": "clip2", "glosses": []}\n',
    "d.jsonl": '{"name": "clip1", "hypotheses": {"ensemble": "HEUTE REGEN", "fuse": "X"}}\n{"name": "clip2", "hypotheses": {"ensemble": ""}}\n',
}
HAS_SIGNERS = ("a.stm", "a.tsv", "a.csv", "a.jsonl")


def read(path: Path, text: str | bytes, *, fields: tuple[str, ...] = FIELDS, file_format: Format | None = None) -> SentenceFile:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sentences(path, fields=fields, file_format=file_format)


def words(file: SentenceFile) -> dict[str, list[str]]:
    return {name: sentence.text.split() for name, sentence in file.sentences.items()}


@pytest.mark.parametrize("name", SAME)
def test_every_format_says_the_same(name: str, tmp_path: Path) -> None:
    found = read(tmp_path / name, SAME[name])
    assert words(found) == {"clip1": ["HEUTE", "REGEN"], "clip2": []}
    assert [sentence.signer for sentence in found.sentences.values()] == (["anna", "ben"] if name in HAS_SIGNERS else ["", ""])
    assert found.problems == ()
    windows = read(tmp_path / name, b"\xef\xbb\xbf" + SAME[name].replace("\n", "\r\n").encode())
    assert words(windows) == words(found)
    zipped = read(tmp_path / f"{name}.gz", gzip.compress(SAME[name].encode()))
    assert words(zipped) == words(found)


def test_a_head_or_a_column_can_be_named(tmp_path: Path) -> None:
    assert words(read(tmp_path / "d.jsonl", SAME["d.jsonl"].replace('""', '"", "fuse": "Y"'), fields=("fuse",))) == {"clip1": ["X"], "clip2": ["Y"]}
    assert words(read(tmp_path / "a.txt", SAME["a.tsv"], fields=("signer",), file_format="tsv")) == {"clip1": ["anna"], "clip2": ["ben"]}


tokens = st.text(st.characters(categories=("L", "N", "P"), exclude_characters=";<{["), min_size=1, max_size=5)
names = st.text(st.sampled_from("abcXYZ019_-/"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(sentences=st.dictionaries(names, st.lists(tokens, min_size=1, max_size=5), min_size=1, max_size=5), signer=st.sampled_from(["", "anna", "signer 5"]))
def test_ctm_and_stm_round_trip(sentences: dict[str, list[str]], signer: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    write_ctm(folder / "a.ctm", sentences)
    write_stm(folder / "a.stm", sentences, dict.fromkeys(sentences, signer))
    for name in ("a.ctm", "a.stm"):
        found = read_sentences(folder / name, fields=())
        assert words(found) == {name: sentences[name] for name in sorted(sentences)}
        assert found.problems == ()
    assert {sentence.signer for sentence in found.sentences.values()} == {signer.replace(" ", "_") or "unknown"}


def test_names_with_blanks_are_no_names_in_ctm(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="'clip 1' holds a blank"):
        write_ctm(tmp_path / "a.ctm", {"clip 1": ["A"]})


@pytest.mark.parametrize(
    ("name", "text", "kind", "message"),
    [
        ("a.ctm", b"c 1 0 1 A\nc 1 zero 1 B\n", "malformed", ":2: not a line of CTM, left out (5 columns"),
        ("a.ctm", b"c 1 0 1 A\nc 1 0 1\n", "malformed", ":2: not a line of CTM, left out (4 columns"),
        ("a.ctm", b"c 1 0 1 A\nc 1 0 1 B\n", "duplicate_name", ":2: c has a second token at 0.00 s, the first is line 1"),
        ("a.stm", b"c 1 s 0 9 A\nd 1 s A B\n", "malformed", ":2: not a line of STM"),
        ("a.stm", b"c 1 s 0 9 A\nd 1 s 0 9 { A / B }\n", "malformed", ":2: d, left out: alternatives in braces"),
        ("a.stm", b"c 1 s 0 9 A\nc 1 s 9 12 B\n", "duplicate_name", ":2: c a second time, the first is line 1"),
        ("a.tsv", b"name\tgloss\nc\tA\nd\n", "malformed", ":3: 1 columns where the header has 2"),
        ("a.tsv", b"c\tA\nd\tB\tC\n", "malformed", ":2: 3 columns, and no header line"),
        ("a.tsv", "name\tgloss\nc\tSCHÖN\n".encode("latin-1"), "undecodable", ":2: byte 0xd6 is not UTF-8"),
        ("a.jsonl", b'{"name": "c", "gloss": "A"}\n{"name": \n', "malformed", ":2: not a JSON object"),
        ("a.jsonl", b'{"name": "c", "gloss": "A"}\n{"gloss": "A"}\n', "malformed", ":2: no name"),
        ("a.jsonl", b'{"name": "c", "gloss": "A"}\n{"name": "d", "words": "A"}\n', "malformed", ":2: d, left out: no sentence under hypothesis or "),
        ("a.jsonl", b'{"name": "c", "gloss": "A \\ud800"}\n', "undecodable", ":1: half a surrogate pair in c"),
        ("a.jsonl", b'{"name": "c", "gloss": "A"}\n' + b"[" * 100_000 + b"\n", "malformed", ":2: not a JSON object"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(name: str, text: bytes, kind: str, message: str, tmp_path: Path) -> None:
    found = read(tmp_path / name, text)
    [problem] = found.problems
    assert problem.kind == kind
    assert problem.text.startswith(f"{tmp_path / name}{message}")
    assert "c" in found.sentences
    json.dumps(words(found)).encode()


def test_a_clip_that_could_not_be_answered_has_no_hypothesis(tmp_path: Path) -> None:
    found = read(tmp_path / "a.jsonl", '{"name": "c", "sentence": "A"}\n{"name": "d", "error": "too short"}\n')
    assert (list(found.sentences), found.problems) == (["c"], ())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "c\tA\n", "the ending tells no format"),
        ("a.tsv", "", "no sentence found by reading it as TSV"),
        ("a.ctm", "c 1 s 0 9 A B\n", r"no sentence found by reading it as CTM; the first: .*:1: not a line of CTM"),
        ("a.tsv", "name\twords\nc\tA\n", "no column hypothesis or .*; there are name, words"),
        ("a.tsv.gz", "c\tA\n", "the gzip file is damaged"),
        ("a.csv", "name,gloss\nc,A\n", "its columns are separated by commas, and tabs are expected"),
        ("a.tsv", "name\tgloss\tgloss\nc\tA\tB\n", "column gloss is there twice"),
        ("a.tsv", "name\tgloss\nc\tA\n".encode("utf-16"), "is UTF-16, and UTF-8 is expected: iconv"),
    ],
)
def test_files_of_which_nothing_can_be_read(name: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / name, text)
    with pytest.raises(CorpusError, match="can't be read: No such file"):
        read_sentences(tmp_path / "missing.ctm", fields=())


lines = st.lists(
    st.binary(max_size=30)
    | st.sampled_from([b"name\tgloss", b"id|gloss", b"c 1 0 nan A", b"c 1 s 0 9 A", b'{"name": 3, "glosses": [1]}', b'{"name": [], "gloss": "\\udc00"}'])
)


@settings(max_examples=150, deadline=None)
@given(content=lines.map(b"\n".join), file_format=st.sampled_from(["ctm", "stm", "tsv", "jsonl"]))
def test_any_bytes_are_read_or_refused(content: bytes, file_format: Format, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        found = read_sentences(path, fields=FIELDS, file_format=file_format)
    except CorpusError:
        return
    assert found.sentences
    for problem in found.problems:
        assert problem.text.splitlines() == [problem.text]
        problem.text.encode()


@needs_annotations
def test_real_annotations_are_read_as_they_stand() -> None:
    found = read_sentences(SHARED / "annotations" / "phoenix-2014t.dev.tsv.gz", fields=("gloss",))
    rows = annotations("phoenix-2014t.dev")
    assert words(found) == {row["name"]: row["gloss"].split() for row in rows}
    assert [sentence.signer for sentence in found.sentences.values()] == [row["signer"] for row in rows]
    assert found.problems == ()

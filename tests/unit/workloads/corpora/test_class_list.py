"""Class lists in the forms found beside published corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorpusError
from workloads.corpora.class_list import read_class_list, repeated_names

FORMS = {
    "tabbed.txt": "0\tbook\n1\tdrink water\n2\t电脑\n",
    "blanks.tsv": "000000 book\n000001  drink water\n000002\t电脑\n\n",
    "words.txt": "book\ndrink water\n电脑\n",
    "list.json": '["book", "drink water", "电脑"]',
    "objects.json": '[{"gloss": "book", "instances": []}, {"gloss": "drink water"}, {"gloss": "电脑"}]',
    "by_id.json": '{"1": "drink water", "0": "book", "2": "电脑"}',
    "by_name.json": '{"drink water": 1, "book": 0, "电脑": 2}',
    "plain.csv": "0,book\n1,drink water\n2,电脑\n",
    "header.csv": '\ufeffid,word\n2,电脑\n0,"book"\n1,drink water\n',
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_names_by_class_id(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(FORMS[name], encoding="utf-8")
    assert read_class_list(file, 3) == ("book", "drink water", "电脑")
    assert read_class_list(file, 2) == ("book", "drink water")  # a subset has the first classes


def test_names_of_several_classes_are_made_unique(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("clean\nbook\nclean\nclean\n")
    names = read_class_list(file, 4)
    assert names == ("clean", "book", "clean (2)", "clean (3)")
    assert repeated_names(names) == ["clean (2)", "clean (3)"]
    assert repeated_names(read_class_list(file, 2)) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("short.txt", "book\ndrink\n", r"short\.txt: has no name for 1 of 3 classes, the first is class 2"),
        ("from_one.csv", "1,book\n2,drink\n3,car\n", "has no name for 1 of 3 classes, the first is class 0: ids start at 0"),
        ("twice.csv", "0,book\n0,drink\n1,a\n2,b\n", "names class 0 twice, 'book' and 'drink'"),
        ("broken.json", "[", r"broken\.json: not a class list"),
        ("number.json", "7", "not a class list.*a list or a dict"),
        ("unnamed.json", '["a", null, "b"]', "None is no name"),
        ("unnamed.csv", "0,a\n1\n2,b\n", "'' is no name"),
        ("letters.csv", "0,a\nx,b\n", "not a class list"),
        ("list.xlsx", "", r"not a class list: the kinds are \.json, \.csv, \.txt, \.tsv"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_class_list(tmp_path / name, 3)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "dictionary.txt").write_bytes("0\t我们\n".encode("gb18030"))
    with pytest.raises(CorpusError, match=r"dictionary\.txt: not UTF-8 text: convert it first"):
        read_class_list(tmp_path / "dictionary.txt", 1)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt: can't be read \(No such file"):
        read_class_list(tmp_path / "none.txt", 3)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.class_map import ClassMap
from models.errors import VocabularyError

WORDS = ClassMap(("book", "drink", "computer", "水"))


def test_names_and_ids_translate_both_ways() -> None:
    assert len(WORDS) == 4
    assert [WORDS.encode(label) for label in WORDS.labels] == [0, 1, 2, 3]
    assert WORDS.decode(3) == "水"
    assert WORDS.ids == {"book": 0, "drink": 1, "computer": 2, "水": 3}


def test_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(VocabularyError, match="label 'komputer' is none of the 4 classes, the nearest is 'computer'"):
        WORDS.encode("komputer")
    with pytest.raises(VocabularyError, match="label 'zzz' is none of the 4 classes: correct"):
        WORDS.encode("zzz")


@pytest.mark.parametrize("index", [-1, 4])
def test_an_id_outside_the_map_is_refused(index: int) -> None:
    with pytest.raises(VocabularyError, match=f"class id {index} is outside the class map of 4 classes"):
        WORDS.decode(index)


@pytest.mark.parametrize(
    ("labels", "reason"), [((), "is empty"), (("a", ""), "without a name"), (("a", "b", "a"), r"\['a'\] more than once")], ids=["empty", "unnamed", "repeated"]
)
def test_a_map_needs_unique_names(labels: tuple[str, ...], reason: str) -> None:
    with pytest.raises(VocabularyError, match=reason):
        ClassMap(labels)


def test_a_saved_map_comes_back(tmp_path: Path) -> None:
    WORDS.save(tmp_path / "classes.json")
    assert ClassMap.load(tmp_path / "classes.json") == WORDS


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"format": 9, "labels": ["a"]}, "format 9 is newer than 1"),
        ({"format": 1}, "not a class map"),
        ({"format": 1, "labels": "word"}, "labels must be a list"),
        ([], "not a class map"),
    ],
    ids=["newer", "incomplete", "no list", "no dict"],
)
def test_another_format_is_named(tmp_path: Path, record: object, reason: str) -> None:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(record))
    with pytest.raises(VocabularyError, match=reason) as raised:
        ClassMap.load(file)
    assert "classes.json" in str(raised.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"classes\.json: can't be read"):
        ClassMap.load(tmp_path / "classes.json")
    (tmp_path / "classes.json").write_bytes(b"\xff{")
    with pytest.raises(VocabularyError, match=r"classes\.json: not JSON"):
        ClassMap.load(tmp_path / "classes.json")

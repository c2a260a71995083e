"""Vocabularies of the published systems: imported from their files, rebuilt from the corpora's annotations."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import VocabularyError
from models.published.vocabularies import import_vocabulary, twostream_phoenix2014t_vocabulary, vac_vocabulary
from models.vocabulary import Vocabulary, build_vocabulary
from tests.unit.shared_data import SHARED, annotations, needs_annotations

MSKA = {"<si>": 0, "<unk>": 1, "<pad>": 2, "</s>": 3, "regen": 4, "wind": 5}


def pickled(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def sentences(corpus: str, column: str = "gloss", splits: tuple[str, ...] = ("train", "dev", "test")) -> list[list[str]]:
    return [row[column].split() for split in splits for row in annotations(f"{corpus}.{split}")]


def test_pickled_dict(tmp_path: Path) -> None:
    vocabulary = import_vocabulary(pickled(tmp_path / "gloss2ids.pkl", MSKA), lower_case=True)
    assert vocabulary.entries == tuple(MSKA)
    assert vocabulary.encode(["REGEN", "Wind", "SCHNEE"]) == [4, 5, 1]
    assert (vocabulary.blank_id, vocabulary.pad_id, vocabulary.unknown_id) == (0, 2, 1)


def test_two_glosses_of_one_id(tmp_path: Path) -> None:
    vocabulary = import_vocabulary(pickled(tmp_path / "v.pkl", {"<s>": 0, "<mask>": 1, "REGEN": 1, "WIND": 2}), lower_case=False)
    assert vocabulary.entries == ("<s>", "REGEN", "WIND")
    assert vocabulary.aliases == {"<mask>": 1}


def test_table_and_own_file(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "v.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("id\tgloss\n" + "".join(f"{index}\t{gloss}\n" for gloss, index in MSKA.items()))
    table = import_vocabulary(tmp_path / "v.tsv.gz", lower_case=True)
    table.save(tmp_path / "vocabulary.json")
    assert import_vocabulary(tmp_path / "vocabulary.json", lower_case=False) == table
    assert table == Vocabulary(entries=tuple(MSKA), lower_case=True)


def test_ids_from_one_get_the_blank_in_front(tmp_path: Path) -> None:
    assert import_vocabulary(pickled(tmp_path / "v.pkl", {"A": 1, "B": 2}), lower_case=False).entries == ("<blank>", "A", "B")


def test_a_dict_of_ids_and_counts_in_a_numpy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "gloss_dict.npy", {"ABEND": [1, 15], "WIND": [2, 3]})  # type: ignore[arg-type]
    assert import_vocabulary(tmp_path / "gloss_dict.npy", lower_case=False).entries == ("<blank>", "ABEND", "WIND")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"ABEND": ["first"]}, "'ABEND' has the id 'first', and a whole number is expected"),
        (["ABEND"], "holds <U5 of shape"),
        ({"ABEND": Path("x")}, "refers to pathlib"),
        (np.array([{}, {}]), "holds object of shape"),
        ("ABEND", "holds <U5 of shape"),
    ],
)
def test_other_numpy_files_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    np.save(tmp_path / "v.npy", value)
    with pytest.raises(VocabularyError, match=message):
        import_vocabulary(tmp_path / "v.npy", lower_case=False)


@pytest.mark.parametrize("kept", [3, 60, 200])
def test_a_torn_numpy_file_is_refused(tmp_path: Path, kept: int) -> None:
    np.save(tmp_path / "whole.npy", {"ABEND": [1, 15]})  # type: ignore[arg-type]
    (tmp_path / "v.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:kept])
    with pytest.raises(VocabularyError, match=r"v\.npy: not a readable .npy file of one object"):
        import_vocabulary(tmp_path / "v.npy", lower_case=False)


def test_glosses_in_capitals_stay_reachable(tmp_path: Path) -> None:
    vocabulary = import_vocabulary(pickled(tmp_path / "v.pkl", {"<s>": 0, "REGEN": 1, "WIND": 2}), lower_case=True)
    assert vocabulary.encode(["REGEN"]) == [1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"<s>": 0, "A": 2}, "no gloss has the id 1"),
        ({"A": 0, "B": 1}, "CTC blank"),
        ({"<s>": 0, "A": "one"}, "whole number"),
        ({"<s>": 0, 7: 1}, "whole number"),
        ([1, 2], "holds a list"),
        ({}, "empty"),
    ],
)
def test_malformed_vocabularies(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        import_vocabulary(pickled(tmp_path / "v.pkl", value), lower_case=False)


def test_missing_files_and_columns(tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text("number\tword\n0\t<s>\n")
    for name, message in (("v.tsv", "columns id and gloss"), ("w.tsv", "can't be read"), ("w.pkl", "can't be read"), ("w.json", "no such")):
        with pytest.raises(VocabularyError, match=message):
            import_vocabulary(tmp_path / name, lower_case=False)


def test_rebuilt_orders() -> None:
    spoken = [["B", "a"], ["C", "B"]]
    assert vac_vocabulary(spoken).entries == ("<blank>", "B", "C", "a")
    assert twostream_phoenix2014t_vocabulary(spoken).entries[8:] == ("de_DGS", "b", "a", "c")


@needs_annotations
def test_twostream_phoenix2014t_is_rebuilt_with_equal_ids() -> None:
    published = import_vocabulary(SHARED / "annotations" / "phoenix-2014t.gloss2ids.twostream.tsv.gz", lower_case=True)
    assert twostream_phoenix2014t_vocabulary(sentences("phoenix-2014t")) == published


@needs_annotations
@pytest.mark.parametrize(("corpus", "num_classes"), [("phoenix-2014", 1296), ("phoenix-2014t", 1116)])
def test_vac_vocabularies_have_the_published_size(corpus: str, num_classes: int) -> None:
    """Their number, and their order by the rule: there is no published file whose ids could be compared."""
    vocabulary = vac_vocabulary(sentences(corpus))
    assert len(vocabulary) == num_classes
    assert list(vocabulary.entries[1:]) == sorted(vocabulary.entries[1:])


@needs_annotations
@pytest.mark.parametrize(
    ("name", "num_classes", "lower_case"),
    [("phoenix-2014.gloss2ids.mska", 1138, False), ("phoenix-2014.gloss2ids.twostream", 1235, False), ("phoenix-2014t.gloss2ids.mska", 1094, True)],
)
def test_published_files_are_imported(name: str, num_classes: int, lower_case: bool) -> None:
    vocabulary = import_vocabulary(SHARED / "annotations" / f"{name}.tsv.gz", lower_case)
    assert len(vocabulary) == num_classes
    assert vocabulary.lower_case == lower_case
    assert [vocabulary.ids[row["gloss"]] for row in annotations(name)] == [int(row["id"]) for row in annotations(name)]


@needs_annotations
def test_regen_names_the_shared_id() -> None:
    vocabulary = import_vocabulary(SHARED / "annotations" / "phoenix-2014.gloss2ids.twostream.tsv.gz", lower_case=False)
    assert vocabulary.entries[4] == "REGEN"
    assert vocabulary.aliases == {"<mask>": 4}


@needs_annotations
@pytest.mark.parametrize(
    ("corpus", "system", "column", "unknown"),
    [
        ("phoenix-2014", "mska", "gloss", (12118, 510, 645)),
        ("phoenix-2014", "twostream", "gloss", (0, 38, 45)),
        ("phoenix-2014t", "mska", "gloss", (1600, 116, 130)),
        ("phoenix-2014t", "mska", "gloss_umlaut", (0, 0, 0)),
    ],
)
def test_glosses_that_a_published_vocabulary_lacks(corpus: str, system: str, column: str, unknown: tuple[int, ...]) -> None:
    vocabulary = import_vocabulary(SHARED / "annotations" / f"{corpus}.gloss2ids.{system}.tsv.gz", lower_case=corpus == "phoenix-2014t")
    found = tuple(
        sum(len(vocabulary.unknown((row[column] or row["gloss"]).split())) for row in annotations(f"{corpus}.{split}")) for split in ("train", "dev", "test")
    )
    assert found == unknown


def test_the_blank_is_no_gloss() -> None:
    """An annotation that holds its name would make a label of nothing."""
    vocabulary = build_vocabulary([["HAUS", "<si>"]], lower_case=False)
    assert vocabulary.encode(["<si>", "HAUS"]) == [vocabulary.unknown_id, 4]
    assert vocabulary.unknown(["<si>", "HAUS", "BAUM"]) == ["<si>", "BAUM"]

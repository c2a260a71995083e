"""Language model and hot words by a user's names: what the search gets is what the record says, and it survives the way to a Ray actor."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from models.decoding.fusion import Fusion
from models.decoding.language_model import fuse, read_language_model
from models.decoding.shallow_fusion import ALPHA, BETA, NO_SHALLOW_FUSION, FusionCard, read_fusion
from models.errors import LanguageModelError, VocabularyError
from models.vocabulary import Vocabulary

VOCABULARY = Vocabulary(entries=("<si>", "<unk>", "HEUTE", "REGEN", "NORD"), aliases={"RAIN": 3})
ARPA = "\\data\\\n\\1-grams:\n-1\t<s>\t-0.3\n-2\t<unk>\n-0.5\tHEUTE\t-0.2\n-0.6\tREGEN\n-0.7\tNORD\n\\2-grams:\n-0.1\tHEUTE REGEN\n\\end\\\n"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "glosses.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def assert_same(first: Fusion, second: Fusion) -> None:
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


def test_the_search_gets_what_the_card_says(model_file: Path) -> None:
    found = read_fusion(VOCABULARY, language_model=model_file, alpha=0.7, hot_words=[("REGEN", 2.5)])
    digest = hashlib.sha256(ARPA.encode()).hexdigest()
    assert found.card == FusionCard(language_model="glosses.arpa", sha256=digest, alpha=0.7, beta=BETA, hot_words={"REGEN": 2.5})
    model = read_language_model(model_file, VOCABULARY.entries)
    assert_same(found.arrays, fuse(VOCABULARY.entries, model=model, alpha=0.7, beta=BETA, hot_words={"REGEN": 2.5}))
    defaults = read_fusion(VOCABULARY, language_model=model_file).card
    assert defaults is not None
    assert (defaults.alpha, defaults.beta) == (ALPHA, BETA)


def test_hot_words_need_no_model_and_nothing_is_nothing() -> None:
    found = read_fusion(VOCABULARY, hot_words=[("NORD", -1.0)])
    assert found.card == FusionCard(language_model=None, sha256=None, alpha=0.0, beta=0.0, hot_words={"NORD": -1.0})
    assert found.arrays.bias.tolist() == [0, 0, 0, 0, -1]
    assert read_fusion(VOCABULARY) is NO_SHALLOW_FUSION
    assert not NO_SHALLOW_FUSION.arrays.active
    with pytest.raises(LanguageModelError, match="weigh a language model, and there is none"):
        read_fusion(VOCABULARY, beta=1.0)


def test_hot_words_are_spelled_as_the_vocabulary_spells_them() -> None:
    lower = Vocabulary(entries=("<si>", "regen"), lower_case=True)
    assert read_fusion(lower, hot_words=[("REGEN", 1.0)]).arrays.bias.tolist() == [0, 1]
    assert read_fusion(VOCABULARY, hot_words=[("RAIN", 1.0)]).arrays.bias.tolist() == [0, 0, 0, 1, 0]
    for word, message in {
        "regen": r"hot word 'regen' is no gloss of the vocabulary; the nearest is 'REGEN'",
        "NORTH": r"hot word 'NORTH' is no gloss of the vocabulary; the nearest is 'NORD'",
        "<unk>": "hot word '<unk>' is no gloss of the vocabulary, and none is near",
        "": "hot word '' is no gloss of the vocabulary, and none is near",
    }.items():
        with pytest.raises(VocabularyError, match=message):
            read_fusion(VOCABULARY, hot_words=[(word, 1.0)])
    with pytest.raises(VocabularyError, match="hot word 'RAIN' is given twice"):
        read_fusion(VOCABULARY, hot_words=[("REGEN", 1.0), ("RAIN", 2.0)])


def test_pickling_gives_back_arrays_that_can_be_written_even_from_shared_memory(model_file: Path) -> None:
    """Numba takes read-only arrays for another type, and would compile the whole search again in each actor."""
    model = read_language_model(model_file, VOCABULARY.entries)
    fusion = read_fusion(VOCABULARY, language_model=model_file, hot_words=[("REGEN", 1.0)])
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps((model, fusion), protocol=5, buffer_callback=buffers.append)
    assert buffers
    back, fused = pickle.loads(stream, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert (back.name, back.order, back.unknown, back.words) == (model.name, model.order, model.unknown, model.words)
    for ours, theirs in ((model.arrays, back.arrays), (fusion.arrays, fused.arrays)):
        assert_same(ours, theirs)
        assert isinstance(theirs, Fusion)
        assert all(entry.flags.writeable for entry in theirs if isinstance(entry, np.ndarray))
        assert [type(entry) for entry in ours] == [type(entry) for entry in theirs]

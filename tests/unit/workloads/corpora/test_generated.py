"""The synthetic corpus as the preprocessing sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorpusError
from workloads.corpora.generated import read_synthetic
from workloads.corpora.recording import Recording

SMALL = {"glosses": "8", "num_train": "3", "num_dev": "1", "num_test": "1", "num_signer_independent": "1", "noise": "0.5"}


def test_options_come_as_text() -> None:
    corpus = read_synthetic(None, SMALL)
    assert [part.split for part in corpus.parts] == ["train", "dev", "test", "signer_independent"]
    assert len(list(corpus.parts[0].read())) == 3


def test_the_fingerprint_follows_the_options() -> None:
    assert read_synthetic(None, SMALL).fingerprint == read_synthetic(None, SMALL).fingerprint
    assert read_synthetic(None, SMALL).fingerprint != read_synthetic(None, {**SMALL, "seed": "1"}).fingerprint


def test_isolated_signs_are_an_option() -> None:
    tokens = {"isolated": "1", "glosses": "4", "tokens_train": "2", "tokens_dev": "1", "tokens_test": "1", "tokens_signer_independent": "0"}
    corpus = read_synthetic(None, tokens)
    assert [part.split for part in corpus.parts] == ["train", "dev", "test"]
    assert [entry.label for entry in corpus.recordings() if isinstance(entry, Recording)] == ["REGEN", "MORGEN", "NORD", "SONNE"] * 4


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"option max_glosses has no effect on isolated signs \(isolated=1\)"):
        read_synthetic(None, {"isolated": "1", "max_glosses": "3"})
    with pytest.raises(CorpusError, match="option tokens_dev has no effect on sentences; isolated=1 makes isolated signs"):
        read_synthetic(None, {"tokens_dev": "3"})
    with pytest.raises(CorpusError, match="isolated is 2, but must be at least 0 and at most 1"):
        read_synthetic(None, {"isolated": "2"})


def test_wrong_options_are_named() -> None:
    for settings, message in (({"gloss": "8"}, "no option 'gloss'.*glosses"), ({"glosses": "many"}, "type int"), ({"glosses": "-1"}, "glosses")):
        with pytest.raises(CorpusError, match=message):
            read_synthetic(None, settings)
    with pytest.raises(CorpusError, match="reads no --source"):
        read_synthetic(Path("somewhere"), {})

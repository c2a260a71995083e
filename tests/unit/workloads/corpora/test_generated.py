"""The synthetic corpus as the preprocessing sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorpusError
from workloads.corpora.generated import read_synthetic

SMALL = {"glosses": "8", "num_train": "3", "num_dev": "1", "num_test": "1", "num_signer_independent": "1", "noise": "0.5"}


def test_options_come_as_text() -> None:
    corpus = read_synthetic(None, SMALL)
    assert [part.split for part in corpus.parts] == ["train", "dev", "test", "signer_independent"]
    assert len(list(corpus.parts[0].read())) == 3


def test_the_fingerprint_follows_the_options() -> None:
    assert read_synthetic(None, SMALL).fingerprint == read_synthetic(None, SMALL).fingerprint
    assert read_synthetic(None, SMALL).fingerprint != read_synthetic(None, {**SMALL, "seed": "1"}).fingerprint


def test_wrong_options_are_named() -> None:
    for settings, message in (({"gloss": "8"}, "no option 'gloss'.*glosses"), ({"glosses": "many"}, "type int"), ({"glosses": "-1"}, "glosses")):
        with pytest.raises(CorpusError, match=message):
            read_synthetic(None, settings)
    with pytest.raises(CorpusError, match="reads no --source"):
        read_synthetic(Path("somewhere"), {})

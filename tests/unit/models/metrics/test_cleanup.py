"""The clean-up rules, one made-up sentence a rule; whole corpora of them are checked by the parity cases."""

from __future__ import annotations

import pytest

from models.metrics import clean


@pytest.mark.parametrize(
    ("sentence", "phoenix2014", "phoenix2014t"),
    [
        ("loc-NORD cl-BERG TAG-PLUSPLUS", "NORD BERG TAG", "NORD BERG TAG"),
        ("qu-WAS poss-MEIN lh-HAUS", "WAS MEIN HAUS", "qu-WAS poss-MEIN lh-HAUS"),
        ("S0NNE HABEN2", "SONNE HABEN", "S0NNE HABEN2"),
        ("REGEN __EMOTION__ __LEFTHAND__ WIND", "REGEN WIND", "REGEN WIND"),
        ("REGEN __PU__ WIND __ON__", "REGEN WIND __ON__", "REGEN WIND"),
        ("WETTER WIE AUSSEHEN", "WETTER WIE-AUSSEHEN", "WETTER WIE-AUSSEHEN"),
        ("ZEIGEN KARTE ZEIGEN", "ZEIGEN-BILDSCHIRM KARTE ZEIGEN-BILDSCHIRM", "ZEIGEN KARTE ZEIGEN"),
        ("NORDRAUM TRAUM", "NORD TRAUM", "NORD T"),
        ("A B SCHNEE", "A+B SCHNEE", "A+B SCHNEE"),
        ("HEUTE N D R", "HEUTE N+D+R", "HEUTE N+D+R"),
        ("DANN SCH N E E DANN", "DANN SCH+N+E+E DANN", "DANN SCH+N+E+E DANN"),
        ("E R Z BERG", "E R+Z BERG", "E R+Z BERG"),
        ("WOLKE WOLKE  WOLKE KALT", "WOLKE KALT", "WOLKE KALT"),
        ("WIE-GEHT WIE-GEHT loc-NORD NORD", "WIE-GEHT NORD", "WIE-GEHT NORD"),
        ("REGEN __EPENTHESIS__ REGEN WIND", "REGEN WIND", "REGEN WIND"),
        ("", "", ""),
    ],
)
def test_rules(sentence: str, phoenix2014: str, phoenix2014t: str) -> None:
    assert clean(sentence, "phoenix2014") == phoenix2014
    assert clean(sentence, "phoenix2014t") == phoenix2014t


def test_sentences_of_a_lower_cased_vocabulary_are_upper_cased_first() -> None:
    assert clean("regen loc-nord regen regen", "phoenix2014t", lower_cased=True) == "REGEN LOC-NORD REGEN"
    assert clean("我 我 ok", "csl_daily", lower_cased=True) == "我 我 OK"


@pytest.mark.parametrize("corpus", ["none", "csl_daily"])
def test_where_there_are_no_rules_nothing_changes(corpus: str) -> None:
    assert clean("loc-NORD NORD  A B", corpus) == "loc-NORD NORD  A B"


def test_an_unknown_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="no clean-up rules for corpus 'phoenix'"):
        clean("A", "phoenix")

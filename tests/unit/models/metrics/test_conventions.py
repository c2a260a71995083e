"""The published ways of counting word errors, one made-up sentence a rule; real sentences are in the parity cases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from models.metrics import CONVENTIONS, Convention, both_sides, word_errors
from models.metrics.cleanup import clean_tokens, stops_published_evaluation
from models.metrics.conventions import corpus_named, hypothesis_tokens, reference_tokens

sentences = st.lists(st.sampled_from(["REGEN", "WIND", "loc-NORD", "__PU__", "ä"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("token", "cleaned"),
    [
        ("loc-NORD", "NORD"),
        ("poss-qu-MEIN", "MEIN"),
        ("S0NNE", "SONNE"),
        ("HABEN2", "HABEN"),
        ("__EMOTION__", ""),
        ("__PU__", ""),
        ("__LEFTHAND__", ""),
        ("__EPENTHESIS__", ""),
        ("ANZEIGEN", "ANZEIGEN-BILDSCHIRM"),
        ("ZEIGEN-PLUSPLUS", "ZEIGEN"),
        ("NORDRAUM", "NORD"),
        ("TRAUM", "TRAUM"),
        ("TAG-PLUSPLUS", "TAG"),
        ("-PLUSPLUS", ""),
        ("__ON__", "__ON__"),
        ("Loc-NORD", "Loc-NORD"),
    ],
)
def test_the_token_rule(token: str, cleaned: str) -> None:
    assert " ".join(clean_tokens([token])) == cleaned


def test_neighbours_are_no_business_of_the_token_rule() -> None:
    assert clean_tokens(["A", "B", "WIE", "AUSSEHEN", "NORD", "loc-NORD"]) == ("A", "B", "WIE", "AUSSEHEN", "NORD", "NORD")


@pytest.mark.parametrize(
    ("convention", "reference", "hypothesis"),
    [
        ("sclite", "nord nord poss-mein Ä", "nord nord mein Ä"),
        ("vac_python", "NORD NORD poss-MEIN Ä", "NORD MEIN Ä"),
        ("wer_list", "NORD POSS-MEIN Ä", "NORD LOC-NORD POSS-MEIN Ä"),
        ("none", "NORD NORD poss-MEIN Ä", "NORD loc-NORD poss-MEIN Ä"),
    ],
)
def test_each_convention_treats_its_sides_its_way(convention: Convention, reference: str, hypothesis: str) -> None:
    found = both_sides(["NORD NORD poss-MEIN Ä"], ["NORD loc-NORD poss-MEIN Ä"], "phoenix2014t", convention)
    assert found == ([tuple(reference.split())], [tuple(hypothesis.split())])


def test_an_empty_hypothesis_is_one_substitution_in_the_vac_family_and_the_total_is_the_same() -> None:
    counts = {}
    for convention in CONVENTIONS:
        for empty in ("", "__PU__") if convention != "none" else ("",):
            errors = word_errors(*both_sides(["NORD REGEN WIND"], [empty], "phoenix2014", convention))
            counts[convention] = (errors.substitutions, errors.deletions)
            assert errors.rate == 100
    assert counts == {"sclite": (1, 2), "vac_python": (1, 2), "wer_list": (0, 3), "none": (0, 3)}


@settings(max_examples=100, deadline=None)
@given(reference=sentences, hypothesis=sentences)
def test_without_repeats_the_vac_family_agrees_with_itself(reference: str, hypothesis: str) -> None:
    merged = " ".join(hypothesis_tokens(hypothesis, "phoenix2014", "vac_python"))
    python, sclite = (word_errors(*both_sides([reference], [merged], "phoenix2014", convention)) for convention in ("vac_python", "sclite"))
    assert python == sclite


def test_a_corpus_without_published_rules_is_only_folded_and_filled() -> None:
    assert hypothesis_tokens("loc-HAUS Haus", "manifest", "sclite") == ("loc-haus", "haus")
    assert hypothesis_tokens("", "manifest", "sclite") == ("[empty]",)
    assert hypothesis_tokens("loc-HAUS Haus", "manifest", "wer_list") == ("loc-HAUS", "Haus")
    assert reference_tokens("loc-HAUS  Haus", "manifest", "none") == ("loc-HAUS", "Haus")


def test_sentences_at_which_the_published_evaluation_stops() -> None:
    assert stops_published_evaluation("REGEN __EPENTHESIS__", "phoenix2014")
    assert not stops_published_evaluation("REGEN __LEFTHAND__", "phoenix2014")
    assert not stops_published_evaluation("REGEN __EPENTHESIS__", "phoenix2014t")


@pytest.mark.parametrize(("name", "corpus"), [("phoenix2014-T", "phoenix2014t"), ("CSL-Daily", "csl_daily"), ("PHOENIX-2014", "phoenix2014"), ("none", "none")])
def test_corpora_are_known_by_their_published_spellings(name: str, corpus: str) -> None:
    assert corpus_named(name) == corpus


def test_an_unknown_corpus_names_the_nearest() -> None:
    with pytest.raises(CorpusError, match=r"no corpus is called 'phoenix14t': did you mean phoenix2014t\? There are phoenix2014, "):
        corpus_named("phoenix14t")
    with pytest.raises(CorpusError, match=r"called 'xyz': There are"):
        corpus_named("xyz")

"""Word errors against a recursive oracle and jiwer, and the tables made of them."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from models.metrics import WordErrors, align, confused_pairs, errors_by_group, errors_by_length, errors_by_sentence, word_errors
from tests.unit.models.metrics.oracles import slow_word_errors

sentences = st.lists(st.sampled_from("ABCD"), max_size=7)
pairs = st.lists(st.tuples(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=7), sentences), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(reference=sentences, hypothesis=sentences)
def test_counts_equal_the_recursive_alignment(reference: list[str], hypothesis: list[str]) -> None:
    assert word_errors([reference], [hypothesis]) == slow_word_errors(reference, hypothesis)


@settings(max_examples=200, deadline=None)
@given(pairs=pairs)
def test_jiwer_agrees_as_far_as_the_costs_allow(pairs: list[tuple[list[str], list[str]]]) -> None:
    """jiwer's costs are 1, 1, 1: never more errors than ours, never a cheaper alignment at 4, 3, 3; the sides' tokens are the same."""
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    ours = word_errors(references, hypotheses)
    theirs = jiwer.process_words([" ".join(tokens) for tokens in references], [" ".join(tokens) for tokens in hypotheses])
    their_errors = theirs.substitutions + theirs.deletions + theirs.insertions
    assert their_errors <= ours.errors
    assert 4 * ours.substitutions + 3 * (ours.deletions + ours.insertions) <= 4 * theirs.substitutions + 3 * (theirs.deletions + theirs.insertions)
    assert ours.insertions - ours.deletions == theirs.insertions - theirs.deletions
    assert ours.reference_tokens == theirs.hits + theirs.substitutions + theirs.deletions
    if their_errors == ours.errors:
        assert ours.rate == pytest.approx(100 * theirs.wer)


@settings(max_examples=100, deadline=None)
@given(pairs=pairs)
def test_sums_come_before_the_quotient(pairs: list[tuple[list[str], list[str]]]) -> None:
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    assert sum(errors_by_sentence(references, hypotheses), WordErrors()) == word_errors(references, hypotheses)
    assert errors_by_group(["s"] * len(pairs), references, hypotheses) == {"s": word_errors(references, hypotheses)}


@settings(max_examples=100, deadline=None)
@given(reference=sentences, hypothesis=sentences)
def test_the_alignment_tells_both_sides(reference: list[str], hypothesis: list[str]) -> None:
    aligned = align(reference, hypothesis)
    assert [pair.reference for pair in aligned if pair.reference is not None] == reference
    assert [pair.hypothesis for pair in aligned if pair.hypothesis is not None] == hypothesis
    assert all((pair.operation == "correct") == (pair.reference == pair.hypothesis) for pair in aligned)


def test_ties_prefer_substitution_then_insertion_from_the_end() -> None:
    assert [pair.operation for pair in align(["A", "B"], ["C"])] == ["deletion", "substitution"]
    assert [pair.operation for pair in align(["A"], ["B", "C"])] == ["insertion", "substitution"]
    assert [tuple(pair) for pair in align(["A"], ["A", "A"])] == [("insertion", None, "A"), ("correct", "A", "A")]


def test_two_gaps_are_cheaper_than_two_substitutions() -> None:
    """Levenshtein distance finds two errors in both alignments; at 4, 3, 3 only one of them is best."""
    assert word_errors([["A", "B"]], [["B", "A"]]) == WordErrors(deletions=1, insertions=1, correct=1)


def test_long_sentences_do_not_overflow() -> None:
    assert word_errors([["A"] * 400], [["B"] * 500]) == WordErrors(substitutions=400, insertions=100)


def test_groups_keep_their_order_and_confusions_are_counted() -> None:
    references, hypotheses = [["A", "B"], ["A"], ["C"]], [["A", "X"], ["Z"], ["C"]]
    table = errors_by_group(["anna", "ben", "anna"], references, hypotheses)
    assert list(table) == ["anna", "ben"]
    assert [table["anna"].rate, table["ben"].rate] == pytest.approx([100 / 3, 100.0])
    assert confused_pairs([*references, ["B"]], [*hypotheses, ["X"]]).most_common(1) == [(("B", "X"), 2)]


def test_lengths_are_those_of_the_references_from_short_to_long() -> None:
    references, hypotheses = [["A"] * 3, ["A"] * 9, ["A"] * 2, [], ["A"] * 4], [["A"] * 9, [], ["B"], ["C"], ["A"] * 4]
    table = errors_by_length(references, hypotheses, edges=(3, 6))
    assert list(table) == [(0, 3), (4, 6), (7, None)]
    assert [table[bucket].errors for bucket in table] == [6 + 2 + 1, 0, 9]
    assert sum(table.values(), WordErrors()) == word_errors(references, hypotheses)


def test_references_without_a_gloss_have_no_rate() -> None:
    errors = word_errors([[]], [["A"]])
    assert errors.insertions == 1
    with pytest.raises(CorpusError, match="no gloss at all"):
        _ = errors.rate


def test_sides_must_fit_and_texts_must_be_split() -> None:
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        word_errors([["A"], ["B"]], [["A"]])
    with pytest.raises(ValueError, match="split it into tokens"):
        word_errors(["A B"], ["A B"])
    assert word_errors([], []) == WordErrors()

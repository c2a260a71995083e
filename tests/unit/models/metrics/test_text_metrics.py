"""BLEU and ROUGE-L against slow forms of their definitions, and at their corners."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from models.metrics.bleu import Level, corpus_bleu
from models.metrics.rouge import corpus_rouge_l, rouge_l
from tests.unit.models.metrics.oracles import slow_bleu, slow_rouge_l

texts = st.lists(st.sampled_from(["es", "im", "regnet", "norden", "."]), min_size=1, max_size=8).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(pairs=pairs, level=st.sampled_from(["word", "char"]))
def test_scores_equal_their_definitions(pairs: list[tuple[str, str]], level: Level) -> None:
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    scores = corpus_bleu(references, hypotheses, level=level)
    wanted = [slow_bleu(references, hypotheses, order=order, char=level == "char") for order in (1, 2, 3, 4)]
    assert [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4] == pytest.approx(wanted)
    sentences = [slow_rouge_l(reference, hypothesis, char=level == "char") for reference, hypothesis in pairs]
    assert corpus_rouge_l(references, hypotheses, level=level) == pytest.approx(sum(sentences) / len(sentences))


def test_empty_hypotheses_score_nothing() -> None:
    assert corpus_bleu(["es regnet .", "ruhe"], ["", ""]).bleu1 == 0.0
    assert corpus_rouge_l(["es regnet .", "ruhe"], ["", ""]) == 0.0


def test_a_blank_among_characters_is_two_empty_tokens_for_rouge_and_none_for_bleu() -> None:
    assert rouge_l("我 去", "我 来", level="char") == pytest.approx(75.0)
    assert corpus_bleu(["我 去"], ["我去"], level="char").bleu2 == pytest.approx(100.0)


def test_the_signature_names_the_conventions() -> None:
    assert "tok:none|smooth:none" in corpus_bleu(["a"], ["a"]).signature


def test_no_sentences_and_unequal_sides_are_refused() -> None:
    for metric in (corpus_bleu, corpus_rouge_l):
        with pytest.raises(CorpusError, match="no sentences"):
            metric([], [])
        with pytest.raises(ValueError):
            metric(["a", "b"], ["a"])

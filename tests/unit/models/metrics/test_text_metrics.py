"""BLEU and ROUGE-L against slow forms of their definitions, and at their corners."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from models.errors import CorpusError
from models.metrics.bleu import MAX_ORDER, Level, Smoothing, Tokenizer, bleu_of_statistics, bleu_statistics, corpus_bleu
from models.metrics.chrf import corpus_chrf
from models.metrics.rouge import corpus_rouge_l, rouge_l
from models.metrics.translation import PRESETS, preset_of, score_translations, split_full_stop
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


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(texts, texts | st.just("")), min_size=1, max_size=4), tokenizer=st.sampled_from(["none", "13a", "zh", "char"]), data=st.data())
def test_bleu_is_sacrebleus(pairs: list[tuple[str, str]], tokenizer: Tokenizer, data: st.DataObject) -> None:
    smoothing: Smoothing = data.draw(st.sampled_from(["none", "exp"]))
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    scores = corpus_bleu(references, hypotheses, tokenizer=tokenizer, smoothing=smoothing)
    sums = bleu_statistics(references, hypotheses, tokenizer=tokenizer).sum(axis=0)
    for order, ours in enumerate((scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4), start=1):
        metric = BLEU(tokenize=tokenizer, smooth_method=smoothing, max_ngram_order=order, force=True)
        theirs = metric.corpus_score(hypotheses, [references])
        assert ours == theirs.score
        assert float(bleu_of_statistics(sums, order=order, smoothing=smoothing)) == pytest.approx(theirs.score, abs=1e-9)
        if order == MAX_ORDER:
            assert scores.signature == str(metric.get_signature())
            assert (scores.precisions, scores.brevity_penalty) == (tuple(theirs.precisions), theirs.bp)


def test_chrf_is_sacrebleus() -> None:
    references, hypotheses = ["es regnet .", "ruhe"], ["es regnete", ""]
    metric = CHRF()
    assert corpus_chrf(references, hypotheses).score == metric.corpus_score(hypotheses, [references]).score
    assert corpus_chrf(references, hypotheses).signature == str(metric.get_signature())


def test_presets_are_the_published_conventions_and_sacrebleus() -> None:
    german = score_translations(["es regnet ."], ["es regnet."], PRESETS["phoenix2014t"])
    assert (german.bleu.bleu3, german.rouge_l) == (pytest.approx(100), pytest.approx(100))
    assert "tok:none|smooth:none" in german.bleu.signature
    chinese = score_translations(["他明天去学校。"], ["他明天去学校。"], PRESETS["csl_daily"])
    assert (chinese.bleu.bleu4, chinese.rouge_l) == (pytest.approx(100), pytest.approx(100))
    assert "tok:13a|smooth:exp" in score_translations(["es regnet ."], ["es regnet."], PRESETS["13a"]).bleu.signature
    assert "tok:zh|smooth:exp" in score_translations(["他去。"], ["他去。"], PRESETS["zh"]).bleu.signature
    assert [preset_of(corpus).name for corpus in ("phoenix2014t", "csl_daily", "manifest")] == ["phoenix2014t", "csl_daily", "13a"]


@pytest.mark.parametrize(("text", "split"), [("es regnet.", "es regnet ."), ("es regnet .", "es regnet ."), (".", "."), ("", ""), ("a.b", "a.b")])
def test_a_glued_full_stop_is_split_off(text: str, split: str) -> None:
    assert split_full_stop(text) == split


def test_empty_hypotheses_score_nothing() -> None:
    assert corpus_bleu(["es regnet .", "ruhe"], ["", ""]).bleu1 == 0.0
    assert corpus_rouge_l(["es regnet .", "ruhe"], ["", ""]) == 0.0


def test_a_blank_among_characters_is_two_empty_tokens_for_rouge_and_none_for_bleu() -> None:
    assert rouge_l("我 去", "我 来", level="char") == pytest.approx(75.0)
    assert corpus_bleu(["我 去"], ["我去"], level="char").bleu2 == pytest.approx(100.0)


def test_the_signature_names_the_conventions() -> None:
    assert "tok:none|smooth:none" in corpus_bleu(["a"], ["a"]).signature


def test_no_sentences_and_unequal_sides_are_refused() -> None:
    for metric in (corpus_bleu, corpus_rouge_l, corpus_chrf):
        with pytest.raises(CorpusError, match="no sentences"):
            metric([], [])
        with pytest.raises(ValueError):
            metric(["a", "b"], ["a"])

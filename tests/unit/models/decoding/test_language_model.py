"""Language models and hot words in the search: against a textbook back-off model and enumeration; files that are wrong."""

from __future__ import annotations

import gzip
import math
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding import decode
from models.decoding.arpa import LN_10, read_arpa
from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.kenlm_binary import ask_model
from models.decoding.language_model import fuse, read_language_model
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search
from models.decoding.prefix_kernel import emission_bonus
from models.errors import LanguageModelError
from tests.unit.models.decoding.oracles import log_softmax
from tests.unit.models.decoding.prefix_oracles import Bonus, Ngrams, all_labellings, prefix_search, random_ngrams

LABELS = ["<blank>", "HEUTE", "REGEN", "NORD"]
seeds = st.integers(0, 2**32 - 1)


def random_logits(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.from_numpy((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


def literal_bonus(model: Ngrams, alpha: float, beta: float, hot_words: dict[str, float]) -> Bonus:
    def bonus(prefix: tuple[int, ...], token: int) -> float:
        log10 = model.log10(["<s>", *(LABELS[entry] for entry in prefix)], LABELS[token])
        return alpha * log10 * math.log(10) + beta + hot_words.get(LABELS[token], 0.0)

    return bonus


def fused(path: Path, model: Ngrams, alpha: float, beta: float, hot_words: dict[str, float]) -> Fusion:
    path.write_text(model.arpa(), encoding="utf-8")
    return fuse(LABELS, model=read_language_model(path, LABELS), alpha=alpha, beta=beta, hot_words=hot_words)


weights = {"alpha": st.sampled_from([0.3, 1.0, 2.0]), "beta": st.sampled_from([-1.0, 0.0, 1.5]), "hot": st.sampled_from([0.0, 2.0])}
in_one_folder = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(seed=seeds, order=st.integers(1, 4), density=st.sampled_from([0.2, 0.7]), num_steps=st.integers(0, 5), **weights)
def test_a_wide_beam_finds_every_labelling_with_its_fused_score(
    tmp_path: Path, seed: int, order: int, density: float, num_steps: int, alpha: float, beta: float, hot: float
) -> None:
    model = random_ngrams(seed, LABELS[1:], order, density=density)
    logits = random_logits(seed, 1, num_steps, len(LABELS))
    wanted = all_labellings(log_softmax(logits[0].numpy()), bonus=literal_bonus(model, alpha, beta, {"NORD": hot}))
    search = PrefixSearch(beam_width=2000, fusion=fused(tmp_path / "model.arpa", model, alpha, beta, {"NORD": hot}))
    [found] = prefix_beam_search(logits, [num_steps], search=search)
    assert {entry.ids: entry.score for entry in found if entry.score > -1e38} == pytest.approx(wanted, abs=1e-3)
    plain = all_labellings(log_softmax(logits[0].numpy()))
    for entry in found[:5]:
        assert entry.score - entry.bonus == pytest.approx(plain[entry.ids], abs=1e-3)


@in_one_folder
@given(seed=seeds, num_steps=st.integers(1, 12), beam_width=st.integers(1, 6), top_n=st.integers(2, 4), **weights)
def test_a_narrow_beam_equals_the_literal_procedure(
    tmp_path: Path, seed: int, num_steps: int, beam_width: int, top_n: int, alpha: float, beta: float, hot: float
) -> None:
    model = random_ngrams(seed, LABELS[1:])
    logits = random_logits(seed, 1, num_steps, len(LABELS), scale=1.0)
    bonus = literal_bonus(model, alpha, beta, {"NORD": hot})
    wanted, _ = prefix_search(log_softmax(logits[0].numpy()), beam_width, top_n=top_n, bonus=bonus)
    search = PrefixSearch(beam_width=beam_width, cutoff_top_n=top_n, fusion=fused(tmp_path / "model.arpa", model, alpha, beta, {"NORD": hot}))
    [found] = prefix_beam_search(logits, [num_steps], search=search)
    assert [entry.ids for entry in found if entry.score > -1e38] == [entry.ids for entry in wanted if entry.score > -1e38]
    assert found[0].score == pytest.approx(wanted[0].score, abs=1e-3)


def test_weights_of_nothing_leave_the_search_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(random_ngrams(1, LABELS[1:]).arpa(), encoding="utf-8")
    assert fuse(LABELS, model=read_language_model(path, LABELS), alpha=0.0) is NO_FUSION
    logits = random_logits(3, 2, 9, 4)
    plain = prefix_beam_search(logits, [9, 7], search=PrefixSearch())
    tiny = prefix_beam_search(
        logits, [9, 7], search=PrefixSearch(fusion=NO_FUSION._replace(active=True, bias=np.zeros(4, np.float32), word=np.full(4, -1, np.int32)))
    )
    assert plain == tiny


def test_hot_words_are_preferred() -> None:
    logits = torch.tensor([[[0.0, 3.0, 2.5, 0.0]]])
    best = [decode(logits, [1], beam_width=5, method="prefix_beam", fusion=fuse(LABELS, hot_words=hot))[0] for hot in ({}, {"REGEN": 1.0})]
    assert [hypothesis.ids for hypothesis in best] == [(1,), (2,)]
    with pytest.raises(ValueError, match="hot words that are no glosses of the vocabulary: SCHNEE"):
        fuse(LABELS, hot_words={"SCHNEE": 1.0})
    with pytest.raises(ValueError, match="must be finite"):
        fuse(LABELS, hot_words={"REGEN": math.inf})
    with pytest.raises(ValueError, match="and there is none: give its ARPA file"):
        fuse(LABELS, alpha=1.0)
    with pytest.raises(ValueError, match="were made for 4 classes, the logits have 3"):
        prefix_beam_search(torch.zeros(1, 2, 3), [2], search=PrefixSearch(fusion=fuse(LABELS, beta=1.0)))


def test_glosses_that_the_model_lacks_are_told_and_score_as_unknown(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text("\\data\\\n\\1-grams:\n-1\t<s>\n-2\t<unk>\n-0.5\tHEUTE\n\\end\\\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"lacks 2 of 3 glosses \(REGEN, NORD\): each scores as the model's <unk>"):
        model = read_language_model(path, LABELS)
    assert (model.unknown, model.words, model.order) == (("REGEN", "NORD"), ("HEUTE",), 1)
    assert emission_bonus(fuse(LABELS, model=model, alpha=0.5), 0, 3)[0] == pytest.approx(-math.log(10))
    with pytest.warns(UserWarning, match="each scores as a log-probability of -7"):
        model = read_language_model(path, LABELS, unknown_log_prob=-7.0)
    assert emission_bonus(fuse(LABELS, model=model, alpha=0.5), 0, 3)[0] == pytest.approx(-3.5)
    path.write_text("\\data\\\n\\1-grams:\n-0.5\tHEUTE\n\\end\\\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="each scores as a log-probability of -1000"):
        read_language_model(path, LABELS)
    with pytest.raises(ValueError, match="was read for 4 labels, not for 3"):
        fuse(LABELS[:3], model=model, alpha=1.0)


def test_a_compressed_file_is_the_same_model(tmp_path: Path) -> None:
    text = random_ngrams(5, LABELS[1:]).arpa()
    (tmp_path / "model.arpa").write_text(text, encoding="utf-8")
    (tmp_path / "model.arpa.gz").write_bytes(gzip.compress(text.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, packed = (read_language_model(tmp_path / name, LABELS) for name in ("model.arpa", "model.arpa.gz"))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(plain.arrays, packed.arrays, strict=True))


HEAD = b"\\data\\\n\\1-grams:\n-1 HEUTE\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no section"),
        (b"nothing\n\\end\\\n", "none of its words is a gloss"),
        (HEAD, r"it ends without \\end"),
        (HEAD + b"\\3-grams:\n\\end\\\n", r"line 4: \\3-grams: where \\2-grams: was expected"),
        (HEAD + b"-1\n\\end\\\n", "line 4: 1 fields where a 1-gram has 2 or 3"),
        (HEAD + b"often REGEN\n\\end\\\n", "line 4: 'often' is no logarithm"),
        (HEAD + b"-1 HEUTE\n\\end\\\n", "line 4: the n-gram 'HEUTE' is listed twice"),
        (HEAD + b"\\2-grams:\n-1 REGEN HEUTE\n\\end\\\n", "line 5: the n-gram 'REGEN HEUTE' has a history"),
        (b"\\data\\\n\\1-grams:\n-1 heute\n\\end\\\n", r"none of its words is a gloss of the vocabulary: check the spelling \(case counts\)"),
        (b"\\1-grams:\n\xff\xfe HEUTE\n\\end\\\n", "is not UTF-8 text"),
        (gzip.compress(HEAD, mtime=0)[:-9], "can't be read"),
        (None, "can't be read: No such file"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LanguageModelError, match=message) as raised:
        read_language_model(path, LABELS)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_kenlm_binary_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(LanguageModelError, match=r"which needs the extra 'kenlm': pip install 'signray\[kenlm\]', or give the ARPA file"):
        read_language_model(path, LABELS)


class Answer(NamedTuple):
    log_prob: float
    ngram_length: int
    oov: bool


class State:
    history: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.history == other.history

    def __hash__(self) -> int:
        return hash(self.history)


class Model:
    """Answers as `kenlm.Model` does."""

    def __init__(self, ngrams: Ngrams) -> None:
        self.ngrams, self.order = ngrams, ngrams.order

    def NullContextWrite(self, state: State) -> None:  # noqa: N802
        state.history = ()

    def BaseFullScore(self, state: State, word: str, out: State) -> Answer:  # noqa: N802
        whole = (*state.history, word if (word,) in self.ngrams.log_probs else "<unk>")
        matched = next(length for length in range(len(whole), 0, -1) if whole[-length:] in self.ngrams.log_probs)
        kept = whole[-min(matched, self.order - 1) :] if self.order > 1 else ()
        while kept and not self._matters(kept):
            kept = kept[1:]
        out.history = kept
        return Answer(self.ngrams.log10(state.history, whole[-1]), matched, whole[-1] == "<unk>")

    def _matters(self, history: tuple[str, ...]) -> bool:
        return bool(self.ngrams.backoffs.get(history)) or any(gram[:-1] == history for gram in self.ngrams.log_probs)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, order=st.integers(1, 4), density=st.sampled_from([0.1, 0.6]))
def test_asking_finds_the_ngrams(seed: int, order: int, density: float) -> None:
    ngrams, words = random_ngrams(seed, LABELS[1:], order, density=density), {label: token for token, label in enumerate([*LABELS, "<s>", "<unk>", "LOST"])}
    found = ask_model(Model(ngrams), State, words)
    named = {tuple(words[word] for word in gram): gram for gram in ngrams.log_probs if "</s>" not in gram}
    assert found.nodes.keys() == {(), *named}
    for gram, texts in named.items():
        node = found.nodes[gram]
        assert found.log_probs[node] == pytest.approx(ngrams.log_probs[texts] * LN_10)
        if any((*gram, word) not in found.nodes for word in words.values()) and len(gram) < ngrams.order:
            assert found.backoffs[node] == pytest.approx(ngrams.backoffs.get(texts, 0.0) * LN_10, abs=1e-6)


def test_kenlm_itself_answers_as_asked(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the package kenlm is not installed: its own answers are not tested")
    ngrams = random_ngrams(3, LABELS[1:], 3)
    path = tmp_path / "model.arpa"
    path.write_text(ngrams.arpa().replace("made up\n", ""), encoding="utf-8")
    words = {label: token for token, label in enumerate(LABELS) if token} | {"<s>": 4, "<unk>": 5}
    asked, read = ask_model(kenlm.Model(str(path)), kenlm.State, words), read_arpa(path, words)
    assert asked.nodes.keys() == read.nodes.keys()
    for gram, node in read.nodes.items():
        if gram != (4,):  # nothing asks for the probability of a start
            assert asked.log_probs[asked.nodes[gram]] == pytest.approx(read.log_probs[node], abs=1e-5)
        if len(gram) < 3 and any((*gram, word) not in read.nodes for word in words.values()):
            assert asked.backoffs[asked.nodes[gram]] == pytest.approx(read.backoffs[node], abs=1e-5)

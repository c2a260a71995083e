"""The class that stands in for ctcdecode's: shapes, types, edge cases, and what must not pass in silence."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.decoding.ctcdecode import CTCBeamDecoder
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search
from models.errors import LanguageModelError

LABELS = ["_", "a", "b", "c", "d"]


def random_probs(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(3 * np.random.default_rng(seed).standard_normal(shape)).float().softmax(-1)


def test_results_have_the_package_s_shapes_and_types() -> None:
    tokens, scores, timesteps, lengths = CTCBeamDecoder(LABELS, beam_width=7, num_processes=2).decode(random_probs(3, 6, 5), torch.tensor([6, 0, 9]))
    assert [values.dtype for values in (tokens, scores, timesteps, lengths)] == [torch.int32, torch.float32, torch.int32, torch.int32]
    assert [tuple(values.shape) for values in (tokens, scores, timesteps, lengths)] == [(3, 7, 6), (3, 7), (3, 7, 6), (3, 7)]
    assert (lengths[1].tolist(), float(scores[1, 0])) == ([0] * 7, 0.0)
    assert all(float(score) > 1e38 for score in scores[1, 1:])
    assert tokens[0, 0, int(lengths[0, 0]) :].tolist() == [0] * (6 - int(lengths[0, 0]))


def test_it_agrees_with_the_search_of_logits() -> None:
    logits = 3 * torch.randn(4, 12, 5, generator=torch.Generator().manual_seed(1))
    wanted = prefix_beam_search(logits, [12] * 4, search=PrefixSearch(beam_width=10))
    for is_log in (False, True):
        probs = logits.log_softmax(-1) if is_log else logits.softmax(-1)
        tokens, scores, timesteps, lengths = CTCBeamDecoder(LABELS, beam_width=10, log_probs_input=is_log).decode(probs)
        for index, ranking in enumerate(wanted):
            for row, entry in enumerate(ranking):
                assert tuple(tokens[index, row, : lengths[index, row]].tolist()) == entry.ids
                assert tuple(timesteps[index, row, : lengths[index, row]].tolist()) == entry.timesteps
                assert float(scores[index, row]) == pytest.approx(-entry.score, abs=1e-4)


def test_positional_arguments_are_those_of_the_package() -> None:
    decoder = CTCBeamDecoder(LABELS, None, 0, 0, 3, 1.0, 4, 2, 1, True)
    probs = random_probs(2, 5, 5).log()
    other = CTCBeamDecoder(LABELS, cutoff_top_n=3, beam_width=4, blank_id=1, log_probs_input=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(decoder.decode(probs), other.decode(probs), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_and_lengths_of_any_kind_are_taken(dtype: torch.dtype) -> None:
    probs = random_probs(2, 4, 5).to(dtype)
    decoder = CTCBeamDecoder(LABELS)
    wanted = decoder.decode(probs.float(), torch.tensor([4, 3]))
    found = decoder.decode(probs, torch.tensor([4, 3], dtype=torch.int32))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("probs", "seq_lens", "message"),
    [
        (torch.zeros(2, 5), None, "probs must be floating-point"),
        (torch.zeros(1, 2, 5, dtype=torch.int64), None, "probs must be floating-point"),
        (torch.full((1, 2, 4), 0.25), None, "have 4 classes, labels has 5"),
        (torch.full((2, 2, 5), 0.2), torch.tensor([2]), "seq_lens"),
        (torch.full((1, 2, 5), 0.2), torch.tensor([-1]), "seq_lens"),
        (torch.full((1, 2, 5), float("nan")), None, "probs hold NaN or negative values: give softmax"),
        (torch.tensor([[[1.4, -0.4, 0.0, 0.0, 0.0]]]), None, "probs hold NaN or negative values"),
    ],
)
def test_what_does_not_fit_is_refused(probs: Tensor, seq_lens: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CTCBeamDecoder(LABELS).decode(probs, seq_lens)


@pytest.mark.parametrize("is_log", [False, True])
def test_values_that_are_not_normalised_are_told_once(is_log: bool) -> None:
    decoder, probs = CTCBeamDecoder(LABELS, log_probs_input=is_log), 2 * random_probs(1, 3, 5)
    with pytest.warns(UserWarning, match=r"they sum to 2 \.\. 2 over the classes, so the scores are wrong"):
        decoder.decode(probs.log() if is_log else probs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.decode(probs.log() if is_log else probs)
        padded = torch.cat([random_probs(1, 3, 5), torch.zeros(1, 2, 5)], dim=1)  # padding need not be normalised
        CTCBeamDecoder(LABELS).decode(padded, torch.tensor([3]))


def test_weights_without_a_model_are_told() -> None:
    with pytest.warns(UserWarning, match="alpha and beta are ignored without a language model"):
        decoder = CTCBeamDecoder(LABELS, alpha=0.5)
    decoder.reset_params(1.0, 1.0)
    assert (decoder.character_based(), decoder.max_order(), decoder.dict_size()) == (None, None, None)
    with pytest.raises(ValueError, match="blank 5 is not one of 5 classes"):
        CTCBeamDecoder(LABELS, blank_id=5)


def test_a_language_model_reorders_and_scores_stay_those_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text("\\data\\\nngram 1=5\n\n\\1-grams:\n-1 <s>\n-3 a\n-0.1 b\n-3 c\n-3 d\n\n\\end\\\n", encoding="utf-8")
    probs = torch.tensor([[[0.1, 0.5, 0.4, 0.0, 0.0]]])
    plain, fused = CTCBeamDecoder(LABELS), CTCBeamDecoder(LABELS, str(path), alpha=1.0, beta=0.5)
    assert [int(decoder.decode(probs)[0][0, 0, 0]) for decoder in (plain, fused)] == [1, 2]
    _, scores, _, _ = fused.decode(probs)
    assert float(scores[0, 0]) == pytest.approx(-np.log(0.4), abs=1e-5)
    assert (fused.character_based(), fused.max_order(), fused.dict_size()) == (True, 1, 4)
    fused.reset_params(0.0, 0.0)
    assert int(fused.decode(probs)[0][0, 0, 0]) == 1
    with pytest.raises(LanguageModelError, match="can't be read"):
        CTCBeamDecoder(LABELS, str(tmp_path / "missing.arpa"))


def test_the_real_package_is_used_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctcdecode", None)
    with pytest.raises(ImportError, match="backend 'ctcdecode' needs the package ctcdecode"):
        CTCBeamDecoder(LABELS, backend="ctcdecode")
    with pytest.raises(ValueError, match="backend 'other' is neither 'own' nor 'ctcdecode'"):
        CTCBeamDecoder(LABELS, backend="other")  # type: ignore[arg-type]

    class Package:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.made = arguments, options

    monkeypatch.setitem(sys.modules, "ctcdecode", types.SimpleNamespace(CTCBeamDecoder=Package))
    decoder: Any = CTCBeamDecoder(LABELS, beam_width=3, backend="ctcdecode")
    assert isinstance(decoder, Package)
    assert decoder.made == ((LABELS,), {"beam_width": 3})

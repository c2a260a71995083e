"""Given sentences score as the search scored them: each token's probability by each member, mixed by any weights."""

from __future__ import annotations

import pytest

from models.translation.config import EOS, GenerationOptions
from models.translation.generation import Generated, generate
from models.translation.rescoring import stacked_member, token_log_probs
from models.translation.translator import Translator
from tests.unit.models.translation.tiny import member, translator

LENGTHS, START = [5, 3, 7], (6,)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.3, 0.7)])
@pytest.mark.parametrize(("longest", "penalty"), [(9, 1.0), (5, 0.6)])
def test_sentences_score_as_in_the_search(weights: tuple[float, float], longest: int, penalty: float) -> None:
    networks = [translator(seed, end_bias=0.0) for seed in (1, 2)]
    members = [member(network, LENGTHS, seed=seed, weight=weight) for seed, (network, weight) in enumerate(zip(networks, weights, strict=True))]
    options = GenerationOptions(beam_width=4, n_best=4, max_length=longest, length_penalty=penalty)
    found = generate(members, options, start=START)
    assert found.scores.flatten().tolist() == pytest.approx(rescored(found, networks, members, weights, longest, penalty), abs=1e-5)
    assert (found.ids[:, :, longest - 1] == EOS).any(), "some sentence was cut at the longest length"


def rescored(found: Generated, networks: list[Translator], members: list, weights: tuple[float, float], longest: int, penalty: float) -> list[float]:
    ids = found.ids.flatten(0, 1)
    said = []
    for network, each in zip(networks, members, strict=True):
        states = [each.states[clip, : LENGTHS[clip] + 2] for clip in range(len(LENGTHS)) for _ in range(found.ids.shape[1])]
        given = stacked_member(network, states)
        said.append(token_log_probs(network, given.states, given.mask, ids, start=len(START), forced_at=longest - 1).exp())
    mixed = sum(weight * probs for weight, probs in zip(weights, said, strict=True)).log()  # type: ignore[union-attr]
    ends = (ids == EOS).int().argmax(1)
    scores: list[float] = (mixed.sum(1) / ends.float() ** penalty).tolist()
    return scores

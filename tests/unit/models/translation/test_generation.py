"""The search against transformers' own, alone and together; its scores, its independence of batch mates, its errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.modeling_outputs import BaseModelOutput

from models.translation.config import EOS, PAD, GenerationOptions, TranslatorOptions
from models.translation.decoder import StepDecoder
from models.translation.generation import Member, generate, mean_log_probs
from tests.unit.models.translation.tiny import TINY, member, translator

START = (6,)


def rows(ids_BL: torch.Tensor) -> list[list[int]]:
    return [[token for token in row if token != PAD] for row in ids_BL.tolist()]


def of_transformers(one: Member, options: GenerationOptions) -> tuple[list[list[int]], list[float]]:
    """Sentences and scores of transformers' own search."""
    found = one.mbart.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=one.states),
        attention_mask=one.mask,
        num_beams=options.beam_width,
        max_length=options.max_length,
        length_penalty=options.length_penalty,
        decoder_start_token_id=START[0],
        num_return_sequences=options.n_best,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return rows(found.sequences), found.sequences_scores.tolist()


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    beams=st.integers(2, 5),
    longest=st.integers(4, 40),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_one_member_equals_transformers(seed: int, lengths: list[int], beams: int, longest: int, penalty: float) -> None:
    one = member(translator(seed, end_bias=1.0), lengths, seed)
    options = GenerationOptions(beam_width=beams, max_length=longest, length_penalty=penalty)
    found = generate([one], options, start=START)
    sentences, scores = of_transformers(one, options)
    for ours, our_score, theirs, score in zip(rows(found.ids[:, 0]), found.scores[:, 0].tolist(), sentences, scores, strict=True):
        # transformers 5 looks at the open beams alone to end a search, 4.11 and we at all candidates: then ours goes on, and finds a better one.
        assert our_score == pytest.approx(score, rel=1e-4, abs=1e-5) if ours == theirs else our_score > score


def test_the_n_best_are_transformers_and_sorted() -> None:
    one = member(translator(3), [7, 4], 3)
    options = GenerationOptions(beam_width=5, max_length=20, n_best=5)
    found = generate([one], options, start=START)
    sentences, scores = of_transformers(one, options)
    assert [row for clip in found.ids for row in rows(clip)] == sentences
    assert found.scores.flatten().tolist() == pytest.approx(scores, rel=1e-4)
    assert (found.scores.diff(dim=1) <= 0).all()
    assert len({tuple(row) for row in rows(found.ids[0])}) == 5


def test_greedy_equals_transformers() -> None:
    one = member(translator(5), [7, 4, 5], 5)
    found = generate([one], GenerationOptions(beam_width=1, max_length=20), start=START)
    wanted = one.mbart.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=one.states), attention_mask=one.mask, num_beams=1, max_length=20, decoder_start_token_id=6
    )
    assert rows(found.ids[:, 0]) == rows(wanted)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_clips_sentence_does_not_depend_on_its_batch_mates(beams: int) -> None:
    network, options = translator(2), GenerationOptions(beam_width=beams, max_length=40)
    together = member(network, [9, 3, 6], 2)
    whole = generate([together], options, start=START)
    for row, length in enumerate((9, 3, 6)):
        alone = Member(mbart=network.mbart, states=together.states[row : row + 1, : length + 2], mask=together.mask[row : row + 1, : length + 2])
        found = generate([alone], options, start=START)
        assert rows(found.ids[:, 0]) == rows(whole.ids[row : row + 1, 0])
        assert found.scores[0, 0].item() == pytest.approx(whole.scores[row, 0].item(), rel=1e-4)


def test_members_of_other_widths_and_lengths_search_together() -> None:
    """As an ensemble written plainly: every hypothesis scored from scratch by all members at every step."""
    wide = TranslatorOptions(mbart=TINY.model_copy(update={"d_model": 24, "decoder_layers": 1}), num_glosses=20)
    members = [member(translator(1), [5], 1, weight=0.7), member(translator(2, options=wide), [8], 2, weight=0.2)]
    found = generate(members, GenerationOptions(beam_width=3, max_length=12), start=START)
    best, score = plain_search(members, beams=3, longest=12)
    assert rows(found.ids[:, 0]) == [best]
    assert found.scores[0, 0].item() == pytest.approx(score, rel=1e-4)


def plain_search(members: list[Member], *, beams: int, longest: int) -> tuple[list[int], float]:
    open_ones, finished = [([*START], 0.0)], list[tuple[float, list[int]]]()
    while len(open_ones[0][0]) < longest:
        candidates = []
        for ids, score in open_ones:
            probabilities = torch.zeros(TINY.vocab_size)
            for one in members:
                logits = one.mbart(
                    encoder_outputs=BaseModelOutput(last_hidden_state=one.states), attention_mask=one.mask, decoder_input_ids=torch.tensor([ids])
                ).logits
                probabilities += one.weight / sum(each.weight for each in members) * logits[0, -1].detach().softmax(-1)
            if len(ids) == longest - 1:
                probabilities = torch.nn.functional.one_hot(torch.tensor(EOS), TINY.vocab_size).float()
            candidates += [([*ids, token], score + value) for token, value in enumerate(probabilities.log().tolist())]
        candidates = sorted(candidates, key=lambda entry: -entry[1])[: 2 * beams]
        length = len(candidates[0][0]) - 1
        finished += [(score / length, ids) for ids, score in candidates[:beams] if ids[-1] == EOS]
        finished = sorted(finished, key=lambda entry: -entry[0])[:beams]
        if len(finished) == beams and finished[-1][0] >= candidates[0][1] / length:
            break
        open_ones = [entry for entry in candidates if entry[0][-1] != EOS][:beams]
    return finished[0][1], finished[0][0]


def test_weights_decide_who_speaks() -> None:
    first, second = member(translator(1), [5, 6], 1), member(translator(2), [8, 3], 2)
    options = GenerationOptions(beam_width=3, max_length=16)
    alone = generate([second], options, start=START)
    silenced = Member(mbart=first.mbart, states=first.states, mask=first.mask, weight=0.0)
    assert rows(generate([silenced, second], options, start=START).ids[:, 0]) == rows(alone.ids[:, 0])
    twice = generate([second, second], options, start=START)
    assert rows(twice.ids[:, 0]) == rows(alone.ids[:, 0])
    assert torch.allclose(twice.scores, alone.scores, atol=1e-5)


def test_the_decoders_steps_are_its_whole_pass() -> None:
    one = member(translator(4), [7, 2], 4)
    ids = torch.randint(4, 40, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = one.mbart(encoder_outputs=BaseModelOutput(last_hidden_state=one.states), attention_mask=one.mask, decoder_input_ids=ids).logits
        decoder = StepDecoder(one.mbart, one.states, one.mask, num_beams=1)
        steps = torch.stack([decoder.step(ids[:, place]) for place in range(40)], dim=1)
    assert torch.allclose(steps, whole, atol=1e-4)


def test_the_search_goes_on_as_long_as_another_rank_has_sentences() -> None:
    one = member(translator(1, end_bias=3.0), [5], 1)
    seen = list[bool]()

    def together(finished: bool) -> bool:
        seen.append(finished)
        return False

    options = GenerationOptions(beam_width=3, max_length=16)
    found = generate([one], options, start=START, together=together)
    assert len(seen) == 15
    assert seen[-1]
    assert torch.equal(found.ids, generate([one], options, start=START).ids)


def test_a_mean_without_weights_is_the_published_one() -> None:
    first, second = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1)), torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2))
    wanted = ((first.softmax(-1) + second.softmax(-1)).log()).log_softmax(-1)
    assert torch.allclose(mean_log_probs([first, second], [1, 1]), wanted, atol=1e-6)


def test_members_that_do_not_fit_are_refused() -> None:
    one = member(translator(1), [5], 1)
    smaller = member(translator(1, options=TranslatorOptions(mbart=TINY.model_copy(update={"vocab_size": 30}), num_glosses=20)), [5], 1)
    options = GenerationOptions(beam_width=2, max_length=8)
    for members, start, message in (
        ([], START, "at least one member"),
        ([one], (), "one token to start with"),
        ([one, smaller], START, "30 and 40 text tokens"),
        ([one, member(translator(1), [5, 4], 1)], START, "1 and 2 clips"),
        ([Member(mbart=one.mbart, states=one.states, mask=one.mask, weight=0.0)], START, "their sum must be above it"),
        ([one], (0, 6, 7, 8, 9, 9, 9, 9), "max_length 8: more than the 8 ids at the start, and 64 at most"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(members, options, start=start)

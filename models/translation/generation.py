"""Text generation: one beam search for one or several translators, all on the device (twostream.md, sections 14 and 15).

The members of an ensemble share the sentence that is being made. At every step their probabilities are averaged by weight, and the search
goes on with the logarithm of that mean. The rules are those of transformers 4.11, with which the published figures were made. transformers 5
differs in one: whether a sentence can still be bettered is asked of its open beams alone, so that it ends earlier now and then (6 of 490 random
sentences of tiny models, each time with a worse one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.translation.config import EOS, PAD, GenerationOptions
from models.translation.decoder import StepDecoder

NEVER = -1e9  # score of the beams that don't count in the first step


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One translator of a search: its mBART, what its encoder made of the clips (B, E, D) with the mask (B, E), and its weight in the mean."""

    mbart: Any
    states: Tensor
    mask: Tensor
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated:
    """What a search found, the likeliest first. ids: (B, n, L), the start included, then `</s>` where it fits, then pad; scores: (B, n),
    log-probability of the tokens behind the start, divided by their number to the power of the length penalty."""

    ids: Tensor
    scores: Tensor


@torch.no_grad()
def generate(
    members: Sequence[Member], options: GenerationOptions, *, start: Sequence[int], forced_end: bool = True, together: Callable[[bool], bool] = bool
) -> Generated:
    """Sentences of all clips. start: ids that each begins with. Raises ValueError for members that don't fit together, or a length beyond their tables.

    forced_end: a sentence that reaches the longest length ends with `</s>`. together: from whether this rank's sentences are all finished to
    whether all ranks' are; needed where the ranks share the weights (ZeRO's stage 3), since each forward pass takes all of them.
    """
    _check(members, options, start)
    if options.beam_width == 1:
        return _greedy(members, options, start, forced_end, together)
    return _BeamSearch(members, options, start, forced_end).run(together)


def mean_log_probs(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Logarithm of the members' weighted mean probability: logits (..., V) of each → (..., V)."""
    if len(logits) == 1:
        return torch.log_softmax(logits[0].float(), dim=-1)
    shares = torch.tensor(weights, dtype=torch.float64).div(sum(weights)).log().float().tolist()
    return torch.logsumexp(torch.stack([torch.log_softmax(member.float(), dim=-1) + share for member, share in zip(logits, shares, strict=True)]), dim=0)


class _Beams:
    """The members' decoders in step, and what they say together."""

    def __init__(self, members: Sequence[Member], start: Sequence[int], num_beams: int) -> None:
        self._decoders = [StepDecoder(member.mbart, member.states, member.mask, num_beams=num_beams) for member in members]
        self._weights = [member.weight for member in members]
        rows = members[0].states.shape[0] * num_beams
        for token in start[:-1]:
            self.step(torch.full((rows,), token, device=members[0].states.device))

    def step(self, ids_N: Tensor) -> Tensor:
        """Log-probabilities (N, V) of the next token."""
        return mean_log_probs([decoder.step(ids_N) for decoder in self._decoders], self._weights)

    def reorder(self, rows_N: Tensor) -> None:
        for decoder in self._decoders:
            decoder.reorder(rows_N)


class _BeamSearch:
    """B sentences of K beams. Open sentences: ids (B, K, L), scores (B, K); finished ones: the K best so far, sorted."""

    def __init__(self, members: Sequence[Member], options: GenerationOptions, start: Sequence[int], forced_end: bool) -> None:
        states = members[0].states
        self._options, self._start, self._forced_end = options, start, forced_end
        self._shape = B, K, L = states.shape[0], options.beam_width, options.max_length
        self._beams = _Beams(members, start, K)
        self._ids = states.new_full((B, K, L), PAD, dtype=torch.long)
        self._ids[:, :, : len(start)] = torch.tensor(list(start), device=states.device)
        self._scores = torch.full((B, K), NEVER, device=states.device)
        self._scores[:, 0] = 0.0
        self._finished, self._finished_scores = self._ids.clone(), torch.full((B, K), -torch.inf, device=states.device)
        self._done = torch.zeros(B, dtype=torch.bool, device=states.device)

    def run(self, together: Callable[[bool], bool]) -> Generated:
        _, K, L = self._shape
        rows = torch.arange(self._ids.shape[0], device=self._ids.device)[:, None] * K
        for length in range(len(self._start), L):
            log_probs = self._beams.step(self._ids[:, :, length - 1].reshape(-1))
            beams_BK = self._extend(log_probs.view(*self._shape[:2], -1), length)
            if together(bool(self._done.all())):
                break
            self._beams.reorder((rows + beams_BK).view(-1))
        else:
            self._keep(self._scores / self._divisor(L), self._ids)
        n = self._options.n_best
        return Generated(ids=self._finished[:, :n], scores=self._finished_scores[:, :n])

    def _extend(self, log_probs_BKV: Tensor, length: int) -> Tensor:
        """One token more for every beam; returns the beam (B, K) that each goes on from."""
        B, K, V = log_probs_BKV.shape
        if self._forced_end and length == self._shape[2] - 1:
            log_probs_BKV = torch.full_like(log_probs_BKV, -torch.inf)
            log_probs_BKV[:, :, EOS] = 0.0
        totals, places = (self._scores[:, :, None] + log_probs_BKV).view(B, K * V).topk(min(2 * K, K * V), dim=1)
        beams, tokens = places // V, places % V
        ends = tokens == EOS
        self._finish(totals[:, :K], beams[:, :K], ends[:, :K], length)
        self._done |= self._finished_scores[:, -1] >= totals[:, 0] / self._divisor(length)
        going_on = ends.int().argsort(dim=1, stable=True)[:, :K]
        self._scores, beams = totals.gather(1, going_on), beams.gather(1, going_on)
        self._ids = self._of_beams(beams)
        self._ids[:, :, length] = tokens.gather(1, going_on)
        return beams

    def _finish(self, totals_BK: Tensor, beams_BK: Tensor, ends_BK: Tensor, length: int) -> None:
        """Keep those of the best candidates that end here."""
        ids = self._of_beams(beams_BK)
        ids[:, :, length] = EOS
        self._keep(torch.where(ends_BK, totals_BK / self._divisor(length), -torch.inf), ids)

    def _keep(self, scores_BK: Tensor, ids_BKL: Tensor) -> None:
        """Put sentences among the finished ones, of which the best stay; those of sentences that are done are as they are."""
        scores = torch.where(self._done[:, None], -torch.inf, scores_BK)
        self._finished_scores, order = torch.cat([self._finished_scores, scores], dim=1).topk(self._shape[1], dim=1)
        ids = torch.cat([self._finished, ids_BKL], dim=1)
        self._finished = ids.gather(1, order[:, :, None].expand(-1, -1, ids.shape[2]))

    def _of_beams(self, beams_BK: Tensor) -> Tensor:
        return self._ids.gather(1, beams_BK[:, :, None].expand(-1, -1, self._ids.shape[2]))

    def _divisor(self, length: int) -> float:
        """What a score of `length` ids without `</s>` is divided by: the language counts in its place."""
        return float((length + 1 - len(self._start)) ** self._options.length_penalty)


def _greedy(members: Sequence[Member], options: GenerationOptions, start: Sequence[int], forced_end: bool, together: Callable[[bool], bool]) -> Generated:
    """The likeliest token at each step, as the published programs do at width 1; a beam search of width 1 could go on behind `</s>`."""
    states = members[0].states
    B, L = states.shape[0], options.max_length
    ids = states.new_full((B, L), PAD, dtype=torch.long)
    ids[:, : len(start)] = torch.tensor(list(start), device=states.device)
    scores, count = torch.zeros(B, device=states.device), torch.zeros(B, device=states.device)
    open_B = torch.ones(B, dtype=torch.bool, device=states.device)
    beams = _Beams(members, start, 1)
    for length in range(len(start), L):
        best, tokens = beams.step(ids[:, length - 1]).max(dim=1)
        if forced_end and length == L - 1:
            best, tokens = torch.zeros_like(best), torch.full_like(tokens, EOS)
        ids[:, length] = torch.where(open_B, tokens, PAD)
        scores, count = scores + torch.where(open_B, best, 0.0), count + open_B
        open_B &= tokens != EOS
        if together(not bool(open_B.any())):
            break
    return Generated(ids=ids[:, None], scores=(scores / count**options.length_penalty)[:, None])


def _check(members: Sequence[Member], options: GenerationOptions, start: Sequence[int]) -> None:
    if not members or not start:
        raise ValueError("a search needs at least one member and one token to start with")
    sizes = {member.mbart.config.vocab_size for member in members}
    if len(sizes) > 1:
        raise ValueError(f"members with {' and '.join(map(str, sorted(sizes)))} text tokens can't make a sentence together: they must share the tokenizer")
    clips = {member.states.shape[0] for member in members}
    if len(clips) > 1:
        raise ValueError(f"members were given {' and '.join(map(str, sorted(clips)))} clips: each must have the same")
    weights = [member.weight for member in members]
    if min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"member weights {weights}: none may be below 0, and their sum must be above it")
    longest = min(member.mbart.config.max_position_embeddings for member in members)
    if not len(start) < options.max_length <= longest:
        raise ValueError(f"max_length {options.max_length}: more than the {len(start)} ids at the start, and {longest} at most: the position tables end there")

"""What is searched of translators: the score of a split's texts under a weighting of the members' probabilities of each next token.

A search over tokens for each weighting would take minutes. Here each clip's candidates are what the members find, each alone and all alike; every
member has said how likely each of their tokens is, so that thousands of weightings rank them in seconds. What is chosen is generated afterwards
as the ensemble bundle does, and compared with equal weights and with each member so generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Bundle
from models.errors import CorpusError
from models.metrics.bleu import bleu_of_statistics, bleu_statistics
from models.metrics.rouge import rouge_l
from models.metrics.significance import Statistics, mean_rate, mean_statistics
from models.metrics.translation import TextPreset, bleu_level, prepare, preset_of
from models.translation.config import EOS, GenerationOptions
from models.translation.generation import Member, generate
from models.translation.options import TranslationDecodingOptions
from models.translation.rescoring import stacked_member, token_log_probs
from models.translation.tokens import TranslationTokens
from models.translation.translator import Translator
from tune.posteriors import Table, check_names
from tune.problems import Answer, Problem, TextMetric
from tune.search import Weights
from workloads.shards import ShardSet

BATCH = 16  # clips that are generated, or sentences that are rescored, at a time
BLOCK_ENTRIES = 1 << 22  # weighting × token entries that are mixed at a time (32 MiB)


@dataclass(frozen=True, kw_only=True, eq=False)
class Speakers:
    """The members' translators, on one device, and how they search."""

    translators: Mapping[str, Translator]
    tokens: TranslationTokens
    options: GenerationOptions

    @property
    def start(self) -> tuple[int, ...]:
        return next(iter(self.translators.values())).options.start

    @property
    def forced_end(self) -> bool:
        return all(translator.options.mbart.forced_end for translator in self.translators.values())

    def spoken(self, states: Mapping[str, Sequence[Tensor]], weights: Mapping[str, float], *, num_best: int) -> list[list[Answer]]:
        """Ids of each clip's likeliest sentences under the members' weights, the best first. states: of each member, (E, D) of each clip."""
        found: list[list[Answer]] = [[] for _ in next(iter(states.values()))]
        options = self.options.model_copy(update={"n_best": num_best, "beam_width": max(self.options.beam_width, num_best)})
        for clips in _batches([len(state) for state in next(iter(states.values()))]):
            members = self._members(states, weights, clips)
            ids_BNL = generate(members, options, start=self.start, forced_end=self.forced_end).ids
            for clip, sentences in zip(clips, ids_BNL.tolist(), strict=True):
                found[clip] = [_trimmed(ids, len(self.start)) for ids in sentences]
        return found

    def _members(self, states: Mapping[str, Sequence[Tensor]], weights: Mapping[str, float], clips: Sequence[int]) -> list[Member]:
        return [
            stacked_member(translator, [states[name][clip] for clip in clips], weight=weights[name])
            for name, translator in self.translators.items()
            if weights.get(name, 0.0) > 0
        ]

    def log_probs(self, name: str, states: Sequence[Tensor], sentences: Sequence[Answer]) -> list[NDArray[np.float32]]:
        """By one member, of each sentence's tokens behind the start; sentence i is of states i."""
        found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sentences)
        forced_at = self.options.max_length - 1 if self.forced_end else None
        for rows in _batches([len(sentence) for sentence in sentences]):
            member = stacked_member(self.translators[name], [states[row] for row in rows])
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(sentences[row]) for row in rows], batch_first=True, padding_value=1)
            on_device = (member.states, member.mask, ids.to(member.states.device))
            log_probs = token_log_probs(self.translators[name], *on_device, start=len(self.start), forced_at=forced_at).cpu().numpy()
            for row, values in zip(rows, log_probs, strict=True):
                found[row] = values[: len(sentences[row]) - len(self.start)]
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Candidates of N clips, C in all, one clip's after the other. places (N, X): of each clip, −1 where it has no more.

    probs (M, T): of the candidates' tokens by each member; starts (C,): first token of each; divisors (C,): length penalties; statistics (C, K): scores.
    """

    places: NDArray[np.int64]
    probs: NDArray[np.float64]
    starts: NDArray[np.int64]
    divisors: NDArray[np.float64]
    statistics: Statistics

    def best(self, weights_RM: Weights) -> NDArray[np.int64]:
        """The likeliest candidate (R, N) of each clip under each weighting."""
        rows = max(1, BLOCK_ENTRIES // max(1, self.probs.shape[1]))
        return np.concatenate([self._best(weights_RM[start : start + rows]) for start in range(0, len(weights_RM), rows)])

    def _best(self, weights_RM: Weights) -> NDArray[np.int64]:
        with np.errstate(divide="ignore"):
            logs_RT = np.log(weights_RM @ self.probs)
        scores_RC = np.add.reduceat(logs_RT, self.starts, axis=1) / self.divisors
        scores_RNX = np.where(self.places >= 0, scores_RC[:, self.places], -np.inf)
        first_RN = scores_RNX.argmax(-1)
        return np.asarray(self.places[np.arange(len(self.places)), first_RN])


@dataclass(frozen=True, kw_only=True, eq=False)
class TextProblem(Problem):
    """Texts of clips that have a reference. states: of each member, (E, D) of each clip."""

    speakers: Speakers
    states: Mapping[str, Sequence[Tensor]]
    references: Sequence[str]
    preset: TextPreset
    text_metric: TextMetric

    @property
    def metric(self) -> str:
        return self.text_metric

    @cached_property
    def pool(self) -> Pool:
        """Made when weightings are asked for: a split that is only reported needs none."""
        return _pool(self.speakers, self.states, self.references, self.preset, self.text_metric)

    def sums(self, weights_RM: Weights, clips: NDArray[np.int64]) -> Statistics:
        return np.stack([self.pool.statistics[best_N[clips]].sum(0) for best_N in self.pool.best(weights_RM)])

    def answers(self, weights_M: Weights) -> list[Answer]:
        weights = dict(zip(self.members, weights_M.tolist(), strict=True))
        return [sentences[0] for sentences in self.speakers.spoken(self.states, weights, num_best=1)]

    def statistics(self, answers: Sequence[Answer]) -> Statistics:
        return text_statistics([self.speakers.tokens.text.decode(ids) for ids in answers], self.references, self.preset, self.text_metric)

    def rate(self, sums: Statistics) -> NDArray[np.float64]:
        return bleu_of_statistics(sums, smoothing=self.preset.smoothing) if self.text_metric == "bleu4" else mean_rate(sums)


def text_statistics(texts: Sequence[str], references: Sequence[str], preset: TextPreset, metric: TextMetric) -> Statistics:
    """What the metric is made of, by clip (N, K)."""
    prepared = prepare(texts, preset)
    if metric == "rouge_l":
        return mean_statistics([rouge_l(reference, text, level=preset.level) for reference, text in zip(references, prepared, strict=True)])
    return bleu_statistics(references, prepared, level=bleu_level(preset), tokenizer=preset.tokenizer).astype(np.float64)


def build_text_problem(members: Mapping[str, Bundle], tables: Mapping[str, Table], shards: ShardSet, split: str, metric: TextMetric) -> TextProblem:
    """The problem of a split. Raises CorpusError where no clip can be scored, ShardError where the encodings are of other clips."""
    rows, first = shards.index(split), next(iter(members.values()))
    check_names(tables, [row.name for row in rows], f"{shards.path}, split {split!r}")
    unscored = {row.name: "no text: there is nothing to compare with" for row in rows if not row.text}
    unscored |= {name: reason for table in tables.values() for name, reason in table.reasons.items()}
    places = [place for place, row in enumerate(rows) if row.name not in unscored]
    if not places:
        raise CorpusError(f"split {split!r} of {shards.path}: none of {len(rows)} clips can be scored; the first, {rows[0].name}: {unscored[rows[0].name]}")
    speakers = _speakers(members)
    states = {name: [torch.from_numpy(np.ascontiguousarray(table.clips[place])) for place in places] for name, table in tables.items()}
    references, preset = [rows[place].text or "" for place in places], preset_of(first.corpus.name)
    facts: dict[str, Any] = {"members": tuple(members), "split": split, "names": tuple(rows[place].name for place in places), "unscored": unscored}
    return TextProblem(**facts, rule="probs", speakers=speakers, states=states, references=references, preset=preset, text_metric=metric)


def _speakers(members: Mapping[str, Bundle]) -> Speakers:
    first = next(iter(members.values()))
    assert isinstance(first.decoding, TranslationDecodingOptions)
    assert first.tokens is not None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    translators: dict[str, Any] = {name: bundle.network(device).translator for name, bundle in members.items()}
    return Speakers(translators=translators, tokens=first.tokens, options=first.decoding.text)


def _pool(speakers: Speakers, states: Mapping[str, Sequence[Tensor]], references: Sequence[str], preset: TextPreset, metric: TextMetric) -> Pool:
    alone = [{name: 1.0} for name in speakers.translators]
    searches = [speakers.spoken(states, weights, num_best=speakers.options.beam_width) for weights in (*alone, dict.fromkeys(speakers.translators, 1.0))]
    found = [list(dict.fromkeys(sentence for spoken in searches for sentence in spoken[clip])) for clip in range(len(references))]
    owners = [clip for clip, sentences in enumerate(found) for _ in sentences]
    sentences = [sentence for clip in found for sentence in clip]
    said = {name: speakers.log_probs(name, [states[name][clip] for clip in owners], sentences) for name in speakers.translators}
    lengths = np.array([len(sentence) - len(speakers.start) for sentence in sentences])
    texts = [speakers.tokens.text.decode(ids) for ids in sentences]
    return Pool(
        places=_places([len(sentences) for sentences in found]),
        probs=np.exp(np.stack([np.concatenate(values) for values in said.values()]).astype(np.float64)),
        starts=np.cumsum([0, *lengths[:-1]]),
        divisors=lengths.astype(np.float64) ** speakers.options.length_penalty,
        statistics=text_statistics(texts, [references[clip] for clip in owners], preset, metric),
    )


def _places(counts: Sequence[int]) -> NDArray[np.int64]:
    """Places (N, X) of each clip's candidates in the row of all."""
    table, first = np.full((len(counts), max(counts)), -1, np.int64), 0
    for row, count in zip(table, counts, strict=True):
        row[:count] = np.arange(first, first + count)
        first += count
    return table


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places in batches of like length."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    yield from (order[start : start + BATCH] for start in range(0, len(order), BATCH))


def _trimmed(ids: Sequence[int], start: int) -> Answer:
    """A sentence up to its end."""
    ends = [place for place, token in enumerate(ids) if token == EOS and place >= start]
    return tuple(ids[: ends[0] + 1] if ends else ids)

"""What is searched: the errors that a split's clips cost under a weighting of the members' posteriors, of isolated signs or of sentences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.class_map import ClassMap
from models.decoding.decode import decode
from models.decoding.options import DecodingOptions
from models.decoding.repeats import merge_repeats
from models.errors import CorpusError
from models.fusion import FusionRule, fuse
from models.metrics.cleanup import clean
from models.metrics.significance import Statistics
from models.metrics.wer import errors_by_sentence
from models.vocabulary import Vocabulary
from tune.candidates import Candidates, candidates, likeliest
from tune.posteriors import Table, check_names
from tune.search import Weights
from workloads.shards import ShardSet

Counts = NDArray[np.int64]
Answer = tuple[int, ...]
TextMetric = Literal["bleu4", "rouge_l"]
WINDOW_CLIPS = 32  # sentences whose posteriors are brought to common steps at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem(ABC):
    """Clips (N) that every member could answer and that are annotated; unscored: the others, with the reason.

    A score is a function of sums over clips of K statistics each, so that it can be resampled (`models.metrics.significance`).
    """

    members: tuple[str, ...]
    split: str
    names: tuple[str, ...]
    unscored: Mapping[str, str]
    rule: FusionRule

    @property
    @abstractmethod
    def metric(self) -> str:
        """wer, top1, bleu4 or rouge_l."""

    @abstractmethod
    def sums(self, weights_RM: Weights, clips: NDArray[np.int64]) -> Statistics:
        """Sums (R, K) over these clips, under each weighting, in the search's own decoding."""

    @abstractmethod
    def answers(self, weights_M: Weights) -> list[Answer]:
        """What each clip is answered with by the ensemble bundle, which decodes sentences by its own search: ids of glosses, of tokens, or of the sign."""

    @abstractmethod
    def statistics(self, answers: Sequence[Answer]) -> Statistics:
        """Statistics (N, K) of answers to all clips."""

    @abstractmethod
    def rate(self, sums: Statistics) -> NDArray[np.float64]:
        """The figure of `metric` in percent (...) of sums (..., K)."""

    def figure(self, statistics_NK: Statistics) -> float:
        """The figure over all clips."""
        return float(self.rate(statistics_NK.sum(0)))

    def loss(self, weights_RM: Weights, clips: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """What is to be lowered, in percent (R,), over the clips (None: all)."""
        sums = self.sums(weights_RM, np.arange(len(self.names)) if clips is None else clips)
        return np.asarray([self.score(figure) for figure in self.rate(sums).tolist()])

    def score(self, loss: float) -> float:
        """The figure of `metric` for a loss, and the loss for a figure."""
        return loss if self.metric == "wer" else 100.0 - loss


@dataclass(frozen=True, kw_only=True, eq=False)
class CountProblem(Problem):
    """Where errors are counted. totals_N: what those of a clip are counted against."""

    totals_N: Counts

    @abstractmethod
    def counts(self, weights_RM: Weights) -> Counts:
        """Errors (R, N) of each clip under each weighting."""

    @abstractmethod
    def errors(self, clips: Sequence[int], answers: Sequence[Answer]) -> Counts:
        """Errors of answers to these clips."""

    def final_counts(self, weights_M: Weights) -> Counts:
        """Errors (N,) as the ensemble bundle makes them."""
        return self.errors(range(len(self.names)), self.answers(weights_M))

    def sums(self, weights_RM: Weights, clips: NDArray[np.int64]) -> Statistics:
        counts_R = self.counts(weights_RM)[:, clips].sum(1)
        return np.stack([counts_R, np.full_like(counts_R, self.totals_N[clips].sum())], axis=-1).astype(np.float64)

    def statistics(self, answers: Sequence[Answer]) -> Statistics:
        return self.statistics_of(self.errors(range(len(self.names)), answers))

    def statistics_of(self, counts_N: Counts) -> Statistics:
        """Errors and what they are counted against."""
        return np.stack([counts_N, self.totals_N], axis=-1).astype(np.float64)

    def rate(self, sums: Statistics) -> NDArray[np.float64]:
        errors = 100.0 * sums[..., 0] / np.maximum(1, sums[..., 1])
        return np.asarray(errors if self.metric == "wer" else 100.0 - errors)


@dataclass(frozen=True, kw_only=True, eq=False)
class SignProblem(CountProblem):
    """Isolated signs: an error is a clip whose label is not the likeliest class."""

    blocks: Sequence[Candidates]
    labels_N: Counts

    @property
    def metric(self) -> str:
        return "top1"

    def counts(self, weights_RM: Weights) -> Counts:
        return np.asarray(likeliest(self.blocks, weights_RM) != self.labels_N, np.int64)

    def answers(self, weights_M: Weights) -> list[Answer]:
        return [(int(label),) for label in likeliest(self.blocks, weights_M[None])[0]]

    def errors(self, clips: Sequence[int], answers: Sequence[Answer]) -> Counts:
        return np.array([answer != (self.labels_N[clip],) for clip, answer in zip(clips, answers, strict=True)], np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceProblem(CountProblem):
    """Sentences, decoded greedily from posteriors on common steps; an error is one of the alignment with the reference, after the clean-up.

    starts_N: first of each clip's steps. clips: logits of each clip by member, over its own steps.
    """

    blocks: Sequence[Candidates]
    starts_N: Counts
    references: Sequence[tuple[str, ...]]
    clips: Sequence[Mapping[str, NDArray[np.float32]]]
    vocabulary: Vocabulary
    cleanup: str
    decoding: DecodingOptions
    _known: dict[tuple[int, bytes], int] = field(default_factory=dict)  # (clip, its path) → errors: paths repeat between weightings

    @property
    def metric(self) -> str:
        return "wer"

    def counts(self, weights_RM: Weights) -> Counts:
        paths_RP = likeliest(self.blocks, weights_RM).astype(np.int32)
        first_N = self._path_errors([(clip, path) for clip, path in enumerate(np.split(paths_RP[0], self.starts_N[1:]))])
        counts_RN = np.tile(first_N, (len(paths_RP), 1))
        differ_RN = np.logical_or.reduceat(paths_RP != paths_RP[0], self.starts_N, axis=1)
        ends_N = np.append(self.starts_N[1:], paths_RP.shape[1])
        places = np.argwhere(differ_RN)
        counts_RN[differ_RN] = self._path_errors([(int(clip), paths_RP[row, self.starts_N[clip] : ends_N[clip]]) for row, clip in places])
        return counts_RN

    def answers(self, weights_M: Weights) -> list[Answer]:
        options, sentences = self.decoding, list[Answer]()
        weights = {name: float(weight) for name, weight in zip(self.members, weights_M, strict=True) if weight > 0}
        for clip in self.clips:
            steps = max(len(clip[name]) for name in weights)
            logits = fuse({name: torch.from_numpy(on_steps(clip[name], steps)) for name in weights}, weights, self.rule)
            found = decode(
                logits[None],
                [steps],
                beam_width=options.beam_width,
                method=options.method,
                merge_repeats=options.merge_repeats,
                cutoff_top_n=options.cutoff_top_n,
                cutoff_prob=options.cutoff_prob,
            )
            sentences.append(tuple(found[0].ids))
        return sentences

    def _path_errors(self, paths: Sequence[tuple[int, NDArray[np.int32]]]) -> Counts:
        keys = [(clip, path.tobytes()) for clip, path in paths]
        new = list({key: path for key, (_, path) in zip(keys, paths, strict=True) if key not in self._known}.items())
        scored = self.errors([clip for (clip, _), _ in new], [self._collapsed(path) for _, path in new])
        self._known.update(zip((key for key, _ in new), scored.tolist(), strict=True))
        return np.array([self._known[key] for key in keys], np.int64)

    def _collapsed(self, path_S: NDArray[np.int32]) -> tuple[int, ...]:
        """Greedy CTC: runs once, without blanks; then adjacent equal glosses once more where the bundle's decoding does."""
        starts = np.append(True, path_S[1:] != path_S[:-1]) & (path_S != self.vocabulary.blank_id)
        ids = tuple(path_S[starts].tolist())
        return merge_repeats(ids) if self.decoding.merge_repeats else ids

    def errors(self, clips: Sequence[int], answers: Sequence[Answer]) -> Counts:
        words = [cleaned(self.vocabulary.decode(ids), self.cleanup, self.vocabulary) for ids in answers]
        return np.array([errors.errors for errors in errors_by_sentence([self.references[clip] for clip in clips], words)], np.int64)


def build_problem(members: Mapping[str, Bundle], tables: Mapping[str, Table], shards: ShardSet, split: str, rule: FusionRule) -> CountProblem:
    """The problem of a split. Raises CorpusError where no clip can be scored, ShardError where the posteriors are of other clips."""
    rows, first = shards.index(split), next(iter(members.values()))
    check_names(tables, [row.name for row in rows], f"{shards.path}, split {split!r}")
    unscored: dict[str, str] = {}
    for row in rows:
        refused = next((table.reasons[row.name] for table in tables.values() if row.name in table.reasons), None)
        reason = refused or _not_annotated(row.label, row.glosses, first.classes)
        if reason:
            unscored[row.name] = reason
    places = [place for place, row in enumerate(rows) if row.name not in unscored]
    if not places:
        why = next((f"; the first, {name}: {reason}" for name, reason in unscored.items()), "")
        raise CorpusError(f"split {split!r} of {shards.path}: none of {len(rows)} clips can be scored{why}")
    clips = [{name: table.clips[place] for name, table in tables.items()} for place in places]
    facts: dict[str, Any] = {
        "members": tuple(members),
        "split": split,
        "names": tuple(rows[place].name for place in places),
        "unscored": unscored,
        "rule": rule,
    }
    if isinstance(first.classes, ClassMap):
        logits = np.stack([np.stack([clip[name][0] for clip in clips]) for name in members])
        labels = np.array([first.classes.encode(rows[place].label or "") for place in places], np.int64)
        return SignProblem(**facts, totals_N=np.ones_like(labels), blocks=list(candidates(logits, rule)), labels_N=labels)
    assert isinstance(first.decoding, DecodingOptions)
    references = [cleaned(rows[place].glosses or (), first.corpus.cleanup, first.classes) for place in places]
    if not any(references):
        raise CorpusError(f"split {split!r} of {shards.path}: the references of its {len(places)} clips hold no gloss, so there is no word error rate")
    steps = [max(len(values) for values in clip.values()) for clip in clips]
    return SentenceProblem(
        **facts,
        totals_N=np.array([len(reference) for reference in references], np.int64),
        blocks=_sentence_blocks(clips, steps, rule),
        starts_N=np.cumsum([0, *steps[:-1]]),
        references=references,
        clips=clips,
        vocabulary=first.classes,
        cleanup=first.corpus.cleanup,
        decoding=first.decoding,
    )


def _sentence_blocks(clips: Sequence[Mapping[str, NDArray[np.float32]]], steps: Sequence[int], rule: FusionRule) -> list[Candidates]:
    blocks: list[Candidates] = []
    for start in range(0, len(clips), WINDOW_CLIPS):
        window = list(zip(clips, steps, strict=True))[start : start + WINDOW_CLIPS]
        logits = np.stack([np.concatenate([on_steps(clip[name], count) for clip, count in window]) for name in clips[0]])
        blocks += candidates(logits, rule, sum(steps[:start]))
    return blocks


def on_steps(logits_SV: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """One clip's logits on `steps` steps, as `models.fusion.resample` does with batches."""
    if len(logits_SV) == steps:
        return logits_SV
    return logits_SV[(2 * np.arange(steps) + 1) * len(logits_SV) // (2 * steps)]


def cleaned(words: Sequence[str], cleanup: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Glosses as they are scored."""
    return tuple(clean(" ".join(words), cleanup, lower_cased=vocabulary.lower_case).split())


def _not_annotated(label: str | None, glosses: tuple[str, ...] | None, classes: Vocabulary | ClassMap) -> str | None:
    """Why a clip has no score, or None."""
    if isinstance(classes, Vocabulary):
        return "no gloss annotation: there is nothing to compare with" if glosses is None else None
    if label is None:
        return "no label: there is nothing to compare with"
    return None if label in classes.ids else f"label {label!r} is none of the {len(classes)} classes that the networks know"

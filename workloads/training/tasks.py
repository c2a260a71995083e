"""What a training is about: sentences of glosses, or isolated signs. The loop asks its task for targets, answers and scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads
from models.class_map import ClassMap
from models.decoding.decode import decode
from models.inputs.clip import Clip
from models.inputs.targets import with_classes, with_sentences
from models.metrics.accuracy import label_ranks
from models.metrics.cleanup import clean, rules_of
from models.metrics.wer import WordErrors, errors_by_sentence
from models.vocabulary import Vocabulary
from workloads.training.faults import some

Metric = Literal["wer", "top1", "bleu4"]
Answers = dict[str, dict[str, Any]]  # clip → head → what was recognised, as JSON holds it

TITLES: Mapping[Metric, str] = {"wer": "WER", "top1": "top-1", "bleu4": "BLEU-4"}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What came out on dev. scores: of each head in percent, by the task's metric; silent: clips for which every head was silent.

    missed: head → clips in which nothing speaks for it: no fewer errors than glosses, or the wrong sign.
    beside: other figures that are shown and tracked, and choose nothing.
    """

    metric: Metric
    scores: Mapping[str, float]
    num_clips: int
    silent: tuple[str, ...] = ()
    missed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)

    def error(self, head: str) -> float:
        """What chooses the best checkpoint, in percent: lower is better."""
        return self.scores[head] if self.metric == "wer" else 100.0 - self.scores[head]


class Task(Protocol):
    """The task of a run. classes: what the network's outputs are; class_counts: training clips of each, or nothing where they don't matter."""

    @property
    def metric(self) -> Metric: ...

    @property
    def classes(self) -> Vocabulary | ClassMap: ...

    @property
    def class_counts(self) -> Sequence[int]: ...

    def with_targets(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        """The batch with what its clips are to be answered by."""

    def with_sources(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        """The batch with what its clips are answered from beside what the inputs read, in evaluation too."""

    def answers(self, names: Sequence[str], logits: Mapping[str, Tensor], lengths_B: Tensor) -> Answers:
        """What each head recognised in each clip."""

    def translations(self, names: Sequence[str], network: nn.Module, heads: Heads, *, together: Callable[[bool], bool] = bool) -> Answers:
        """Texts of the clips, nothing where none are asked for; `together` as of `models.translation.generation.generate`."""

    def score(self, answers: Answers) -> Validation:
        """Scores over the clips that have a reference."""

    def complaints(self, validation: Validation, head: str) -> list[str]:
        """What is wrong with a validation after the warm-up, with the recordings' names."""


class Untranslated:
    """What tasks without texts have in common."""

    def with_sources(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        return batch

    def translations(self, names: Sequence[str], network: nn.Module, heads: Heads, *, together: Callable[[bool], bool] = bool) -> Answers:
        return {}


@dataclass(frozen=True, kw_only=True)
class SentenceTask(Untranslated):
    """Continuous recognition: word error rate with the corpus's clean-up. references: glosses of every dev clip."""

    corpus: str
    vocabulary: Vocabulary
    references: Mapping[str, tuple[str, ...]]
    beam_width: int = 1
    metric: Metric = "wer"
    class_counts: tuple[int, ...] = ()

    @property
    def classes(self) -> Vocabulary:
        return self.vocabulary

    def with_targets(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        return with_sentences(batch, clips, self.vocabulary)

    def answers(self, names: Sequence[str], logits: Mapping[str, Tensor], lengths_B: Tensor) -> Answers:
        """Glosses of every head."""
        found: Answers = {name: {} for name in names}
        for head, logits_BSV in logits.items():
            for name, hypothesis in zip(names, decode(logits_BSV, lengths_B, beam_width=self.beam_width), strict=True):
                found[name][head] = self.vocabulary.decode(hypothesis.ids)
        return found

    def score(self, answers: Answers) -> Validation:
        """Word error rate of each head, both sides cleaned by the corpus's rules."""
        names = [name for name in self.references if name in answers]
        wanted = [self._sentence(self.references[name]) for name in names]
        heads = list(next(iter(answers.values())))
        counts = {head: errors_by_sentence(wanted, [self._sentence(answers[name][head]) for name in names]) for head in heads}
        return Validation(
            metric=self.metric,
            scores={head: sum(errors, WordErrors()).rate for head, errors in counts.items()},
            num_clips=len(names),
            silent=tuple(name for name in names if not any(answers[name].values())),
            missed={head: _missed(names, errors) for head, errors in counts.items()},
        )

    def _sentence(self, glosses: Sequence[str]) -> list[str]:
        return clean(" ".join(glosses), rules_of(self.corpus), lower_cased=self.vocabulary.lower_case).split()

    def complaints(self, validation: Validation, head: str) -> list[str]:
        if len(validation.silent) == validation.num_clips:
            return [
                f"no head recognised a gloss in any of {validation.num_clips} dev clips ({some(validation.silent)}): "
                "the network still answers blank everywhere; train longer, or check optim.lr and that the glosses are those of the clips"
            ]
        if validation.scores[head] >= 100:
            missed = validation.missed[head]
            return [
                f"the WER of {head} is {validation.scores[head]:.0f} % after the warm-up, with no fewer errors than glosses in {len(missed)} of "
                f"{validation.num_clips} dev clips ({some(missed)}): check the glosses, the clean-up rules and optim.lr"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class SignTask(Untranslated):
    """Isolated recognition: top-1 accuracy per instance. references: label of every dev clip; class_counts: training clips of each class."""

    classes: ClassMap
    references: Mapping[str, str]
    class_counts: tuple[int, ...]
    metric: Metric = "top1"

    def with_targets(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        return with_classes(batch, clips, self.classes)

    def answers(self, names: Sequence[str], logits: Mapping[str, Tensor], lengths_B: Tensor) -> Answers:
        """The recognised label of every head, and the rank of the true one from 0 where it is known."""
        found: Answers = {name: {} for name in names}
        for head, logits_BC in logits.items():
            for name, logits_C in zip(names, logits_BC.float().cpu(), strict=True):
                found[name][head] = {"label": self.classes.decode(int(logits_C.argmax())), "rank": self._rank(name, logits_C)}
        return found

    def _rank(self, name: str, logits_C: Tensor) -> int | None:
        label = self.classes.ids.get(self.references.get(name, ""))
        return None if label is None else int(label_ranks(logits_C[None], torch.tensor([label]))[0])

    def score(self, answers: Answers) -> Validation:
        """Top-1 of each head over the labelled clips; a label that the class map lacks can't be recognised and counts as wrong."""
        names = [name for name in self.references if name in answers]
        heads = list(next(iter(answers.values())))
        scores = {head: 100.0 * sum(answers[name][head]["rank"] == 0 for name in names) / len(names) for head in heads}
        missed = {head: tuple(name for name in names if answers[name][head]["rank"] != 0) for head in heads}
        return Validation(metric=self.metric, scores=scores, num_clips=len(names), missed=missed)

    def complaints(self, validation: Validation, head: str) -> list[str]:
        chance, missed = 100.0 / len(self.classes), validation.missed[head]
        if validation.scores[head] > 1.5 * chance or validation.num_clips < len(self.classes) or not missed:
            return []
        return [
            f"the top-1 of {head} is {validation.scores[head]:.1f} % after the warm-up, chance is {chance:.1f} %, wrong in {len(missed)} of "
            f"{validation.num_clips} dev clips ({some(missed)}): check the labels and optim.lr"
        ]


def _missed(names: Sequence[str], errors: Sequence[WordErrors]) -> tuple[str, ...]:
    """Clips with as many errors as glosses, or more; a rate of 100 % has some."""
    return tuple(name for name, counts in zip(names, errors, strict=True) if counts.errors and counts.errors >= counts.reference_tokens)


def prediction_lines(answers: Answers) -> str:
    """Answers as lines of JSON, one a clip, by name."""
    return "".join(json.dumps({"name": name, **answers[name]}, ensure_ascii=False) + "\n" for name in sorted(answers))

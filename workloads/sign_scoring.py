"""Scoring isolated signs: what was recognised against the labels, by head, signer and pair of signs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models.answering import Unanswered
from models.bundle_record import CorpusCard
from models.class_map import ClassMap
from models.classification import Classification
from models.errors import CorpusError
from models.metrics.accuracy import TopKAccuracy, label_ranks, top_k_of_ranks
from models.metrics.significance import Interval, bootstrap, mean_rate, mean_statistics
from models.options import AnswerOptions
from workloads.scoring import NO_SIGNER, Answer

TOP = (1, 5)


@dataclass(frozen=True, kw_only=True)
class SignScore:
    """A scored clip. ranks: how many classes rank above the label, by head; the one that answers first."""

    name: str
    signer: str
    label: str
    recognised: Mapping[str, str]
    ranks: Mapping[str, int]
    confidence: float
    low_confidence: bool


@dataclass(frozen=True, kw_only=True)
class SignEvaluation:
    """A split as it was recognised. corpus: what the network has learned from; scored_corpus: the name of the one that is scored.

    unscored: clips without a score; unknown: labels → how often, of those that the class map lacks."""

    corpus: CorpusCard
    split: str
    scored_corpus: str
    shards_checksum: str
    weights_checksum: str
    decoding: AnswerOptions
    classes: ClassMap
    head: str
    clips: tuple[SignScore, ...]
    unscored: tuple[Unanswered, ...]
    unknown: Mapping[str, int]

    @property
    def accuracy(self) -> dict[str, dict[int, TopKAccuracy]]:
        """Accuracy of each head for each k of `TOP`, the one that answers first."""
        return {head: {k: self._accuracy(self.clips, head, k) for k in TOP} for head in self.clips[0].ranks}

    @property
    def top1(self) -> dict[str, float]:
        """Top-1 per instance of each head in percent, the one that answers first."""
        return {head: accuracy[1].per_instance for head, accuracy in self.accuracy.items()}

    @cached_property
    def top1_interval(self) -> Interval:
        """Bootstrap interval of the answering head's top-1 over the clips."""
        return bootstrap(mean_statistics([100.0 * (clip.ranks[self.head] == 0) for clip in self.clips]), mean_rate)

    @property
    def by_signer(self) -> dict[str, dict[int, TopKAccuracy]]:
        """Accuracy of the answering head for each signer, by name."""
        signers = sorted({clip.signer or NO_SIGNER for clip in self.clips})
        of_signer = {signer: [clip for clip in self.clips if (clip.signer or NO_SIGNER) == signer] for signer in signers}
        return {signer: {k: self._accuracy(clips, self.head, k) for k in TOP} for signer, clips in of_signer.items()}

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Label, recognised sign, how often, of the answering head; the most frequent first, ties by name."""
        pairs = Counter((clip.label, clip.recognised[self.head]) for clip in self.clips if clip.ranks[self.head])
        return sorted(((label, sign, count) for (label, sign), count in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))

    def _accuracy(self, clips: Sequence[SignScore], head: str, k: int) -> TopKAccuracy:
        labels = np.array([self.classes.encode(clip.label) for clip in clips])
        return top_k_of_ranks(np.array([clip.ranks[head] for clip in clips]), labels, num_classes=len(self.classes), k=k)

    def record(self) -> dict[str, Any]:
        """Everything but the single clips, as plain values."""
        return {
            "corpus": self.scored_corpus,
            "trained_on": self.corpus.name,
            "split": self.split,
            "shards": self.shards_checksum,
            "weights": self.weights_checksum,
            "decoding": self.decoding.model_dump(mode="json"),
            "head": self.head,
            "num_clips": len(self.clips),
            "num_low_confidence": sum(clip.low_confidence for clip in self.clips),
            "top1": self.top1,
            "top1_interval": asdict(self.top1_interval),
            "accuracy": {head: rates(accuracy) for head, accuracy in self.accuracy.items()},
            "signers": {signer: {"clips": accuracy[1].num_clips, **rates(accuracy)} for signer, accuracy in self.by_signer.items()},
            "classes": len(self.classes),
            "classes_without_clips": len(self.accuracy[self.head][1].classes_without_clips),
            "confused_pairs": [{"label": label, "recognised": sign, "count": count} for label, sign, count in self.confused],
            "unknown_labels": dict(self.unknown),
            "unscored": [{"name": clip.name, "reason": clip.reason} for clip in self.unscored],
        }


def rates(accuracy: Mapping[int, TopKAccuracy]) -> dict[str, float]:
    """Per instance and per class for each k, in percent."""
    kinds = ("per_instance", "per_class")
    return {f"top{k}_{kind}": getattr(value, kind) for kind in kinds for k, value in accuracy.items()}


def score_signs(
    answers: Sequence[Answer],
    *,
    classes: ClassMap,
    corpus: CorpusCard,
    decoding: AnswerOptions,
    split: str,
    scored_corpus: str = "",
    shards_checksum: str = "",
    weights_checksum: str = "",
) -> SignEvaluation:
    """Compare answers with labels. A clip whose label the class map lacks can't be scored, and is counted.

    Raises CorpusError where no clip can be scored.
    """
    scored: list[SignScore] = []
    unscored: list[Unanswered] = []
    for answer in answers:
        reason = _reason(answer, classes)
        if reason is not None:
            unscored.append(Unanswered(name=answer.name, reason=reason))
            continue
        assert isinstance(answer.outcome, Classification)
        scored.append(_sign_score(answer, answer.outcome, classes))
    if not scored:
        why = f"; the first, {unscored[0].name}: {unscored[0].reason}" if unscored else ""
        raise CorpusError(f"split {split!r}: none of {len(answers)} clips can be scored{why}")
    unknown = Counter(answer.label for answer in answers if answer.label is not None and answer.label not in classes.ids)
    return SignEvaluation(
        corpus=corpus,
        split=split,
        scored_corpus=scored_corpus or corpus.name,
        shards_checksum=shards_checksum,
        weights_checksum=weights_checksum,
        decoding=decoding,
        classes=classes,
        head=next(iter(scored[0].ranks)),
        clips=tuple(scored),
        unscored=tuple(unscored),
        unknown=dict(sorted(unknown.items(), key=lambda item: (-item[1], item[0]))),
    )


def _sign_score(answer: Answer, outcome: Classification, classes: ClassMap) -> SignScore:
    assert answer.label is not None
    label = np.array([classes.encode(answer.label)])
    return SignScore(
        name=answer.name,
        signer=answer.signer,
        label=answer.label,
        recognised={head: sign.label for head, sign in outcome.heads.items()},
        ranks={head: int(label_ranks(sign.logits[None], label)[0]) for head, sign in outcome.heads.items()},
        confidence=outcome.confidence,
        low_confidence=outcome.low_confidence,
    )


def _reason(answer: Answer, classes: ClassMap) -> str | None:
    """Why a clip has no score, or None."""
    if isinstance(answer.outcome, Unanswered):
        return answer.outcome.reason
    if answer.label is None:
        return "no label: there is nothing to compare with"
    return None if answer.label in classes.ids else f"label {answer.label!r} is none of the {len(classes)} classes that the network knows"

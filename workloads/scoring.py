"""Scoring: what was recognised against what was annotated, with the corpus's clean-up, by head, signer and pair of glosses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.answering import Unanswered
from models.bundle_record import CorpusCard
from models.classification import Classification
from models.decoding.options import DecodingOptions
from models.decoding.shallow_fusion import FusionCard
from models.errors import CorpusError
from models.metrics.cleanup import clean
from models.metrics.significance import Interval, bootstrap, wer_rate, wer_statistics
from models.metrics.wer import WordErrors, confused_pairs, errors_by_group, errors_by_length, errors_by_sentence
from models.posteriors import Posteriors
from models.recognition import Recognition
from models.vocabulary import Vocabulary
from workloads.file_scoring.figures import counts
from workloads.text_scoring import TextEvaluation, score_texts

PROTOCOL_NOTE = (
    "smallest WER among the heads and ensembles listed here on this very split, as the published programs take it; never select a model or a head by it"
)
NO_SIGNER = "(not stated)"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One clip of a split: its annotation, glosses or a label, and what was said (None: it has none), and what became of it."""

    signer: str
    glosses: tuple[str, ...] | None
    outcome: Recognition | Classification | Posteriors | Unanswered
    label: str | None = None
    text: str | None = None

    @property
    def name(self) -> str:
        return self.outcome.name


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """A scored clip: both sides as they were compared, after clean-up, and the errors; by head, the one that answers first."""

    name: str
    signer: str
    reference: tuple[str, ...]
    hypotheses: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, WordErrors]
    confidence: float
    low_confidence: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A split as it was recognised. corpus: what the network has learned from, whose clean-up rules apply; scored_corpus: the name of the one
    that is scored; head: the one that answers; unscored: clips without a score; unknown: reference glosses → how often,
    of those that the vocabulary lacks; fusion: the language model and hot words that the search heeded (None: none); texts: where
    the network translates."""

    corpus: CorpusCard
    split: str
    scored_corpus: str
    shards_checksum: str
    weights_checksum: str
    decoding: DecodingOptions
    head: str
    clips: tuple[ClipScore, ...]
    unscored: tuple[Unanswered, ...]
    unknown: Mapping[str, int]
    fusion: FusionCard | None = None
    texts: TextEvaluation | None = None

    @property
    def errors(self) -> dict[str, WordErrors]:
        """Word errors of each head over the split, the one that answers first."""
        return {head: sum((clip.errors[head] for clip in self.clips), WordErrors()) for head in self.clips[0].errors}

    @property
    def wer(self) -> dict[str, float]:
        """Word error rate of each head in percent, the one that answers first."""
        return {head: errors.rate for head, errors in self.errors.items()}

    @property
    def published_protocol_wer(self) -> float:
        """The smallest of the heads' rates: what the published programs report (mska.md, section 8). No metric to select by."""
        return min(self.wer.values())

    @property
    def interval(self) -> Interval:
        """Word error rate of the answering head with its bootstrap interval over clips."""
        return bootstrap(wer_statistics([clip.errors[self.head] for clip in self.clips]), wer_rate)

    @property
    def by_length(self) -> dict[tuple[int, int | None], WordErrors]:
        """Word errors of the answering head by the number of reference glosses, (from, to)."""
        return errors_by_length(*self._sides())

    @property
    def by_signer(self) -> dict[str, WordErrors]:
        """Word errors of the answering head for each signer, by name."""
        table = errors_by_group([clip.signer or NO_SIGNER for clip in self.clips], *self._sides())
        return dict(sorted(table.items()))

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Reference gloss, recognised gloss, how often, of the answering head; the most frequent first, ties by name."""
        pairs = confused_pairs(*self._sides())
        return sorted(((reference, hypothesis, count) for (reference, hypothesis), count in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))

    def _sides(self) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        return [clip.reference for clip in self.clips], [clip.hypotheses[self.head] for clip in self.clips]

    def record(self) -> dict[str, Any]:
        """Everything but the single clips, as plain values."""
        return {
            "corpus": self.scored_corpus,
            "trained_on": self.corpus.name,
            "split": self.split,
            "shards": self.shards_checksum,
            "weights": self.weights_checksum,
            "cleanup": self.corpus.cleanup,
            "decoding": self.decoding.model_dump(mode="json"),
            "fusion": asdict(self.fusion) if self.fusion else None,
            "head": self.head,
            "num_clips": len(self.clips),
            "num_low_confidence": sum(clip.low_confidence for clip in self.clips),
            "wer": self.wer,
            "wer_interval": asdict(self.interval),
            "errors": {head: counts(errors) for head, errors in self.errors.items()},
            "published_protocol_wer": self.published_protocol_wer,
            "published_protocol_note": PROTOCOL_NOTE,
            "signers": {signer: counts(errors) for signer, errors in self.by_signer.items()},
            "lengths": [{"from": low, "to": high, **counts(errors)} for (low, high), errors in self.by_length.items()],
            "confused_pairs": [{"reference": reference, "recognised": hypothesis, "count": count} for reference, hypothesis, count in self.confused],
            "unknown_glosses": dict(self.unknown),
            "unscored": [{"name": clip.name, "reason": clip.reason} for clip in self.unscored],
            **({"translation": self.texts.record()} if self.texts else {}),
        }


def score(
    answers: Sequence[Answer],
    *,
    vocabulary: Vocabulary,
    corpus: CorpusCard,
    decoding: DecodingOptions,
    fusion: FusionCard | None = None,
    split: str,
    scored_corpus: str = "",
    shards_checksum: str = "",
    weights_checksum: str = "",
) -> Evaluation:
    """Compare answers with annotations. corpus: the network's; scored_corpus: the answers', where it is another.

    References are scored as written: a gloss that the vocabulary lacks can't be recognised, and is counted.

    Raises CorpusError where no clip can be scored, or the references are empty.
    """
    scored = [(answer, answer.outcome) for answer in answers if isinstance(answer.outcome, Recognition) and answer.glosses is not None]
    unscored = [_reason(answer) for answer in answers if not (isinstance(answer.outcome, Recognition) and answer.glosses is not None)]
    if not scored:
        why = f"; the first, {unscored[0].name}: {unscored[0].reason}" if unscored else ""
        raise CorpusError(f"split {split!r}: none of {len(answers)} clips can be scored{why}")
    heads = tuple(scored[0][1].heads)

    def tokens(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(clean(" ".join(words), corpus.cleanup, lower_cased=vocabulary.lower_case).split())

    references = [tokens(answer.glosses or ()) for answer, _ in scored]
    hypotheses = {head: [tokens(recognition.heads[head].words) for _, recognition in scored] for head in heads}
    errors = {head: errors_by_sentence(references, sentences) for head, sentences in hypotheses.items()}
    if not any(references):
        raise CorpusError(f"split {split!r}: the references of its {len(scored)} clips hold no gloss, so there is no word error rate")
    clips = [
        ClipScore(
            name=answer.name,
            signer=answer.signer,
            reference=references[row],
            hypotheses={head: hypotheses[head][row] for head in heads},
            errors={head: errors[head][row] for head in heads},
            confidence=recognition.confidence,
            low_confidence=recognition.low_confidence,
        )
        for row, (answer, recognition) in enumerate(scored)
    ]
    return Evaluation(
        corpus=corpus,
        split=split,
        scored_corpus=scored_corpus or corpus.name,
        shards_checksum=shards_checksum,
        weights_checksum=weights_checksum,
        decoding=decoding,
        head=heads[0],
        clips=tuple(clips),
        unscored=tuple(unscored),
        unknown=_unknown(scored, vocabulary),
        fusion=fusion,
        texts=score_texts([(recognition, answer.text) for answer, recognition in scored], corpus.name),
    )


def _unknown(scored: Sequence[tuple[Answer, Recognition]], vocabulary: Vocabulary) -> dict[str, int]:
    """Reference glosses that the vocabulary lacks → how often, the most frequent first."""
    found = Counter(gloss for answer, _ in scored for gloss in vocabulary.unknown(answer.glosses or ()))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _reason(answer: Answer) -> Unanswered:
    if isinstance(answer.outcome, Unanswered):
        return answer.outcome
    return Unanswered(name=answer.name, reason="no gloss annotation: there is nothing to compare with")

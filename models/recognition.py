"""Recognition: clips in, glosses with times and confidences out. A trained bundle and a network in training answer by the same code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.answering import Answerer, Unanswered, evaluation_logits
from models.batch import valid_steps
from models.decoding.decode import decode, decode_n_best
from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.hypothesis import Hypothesis
from models.decoding.options import DecodingOptions
from models.decoding.prefix_beam import PrefixSearch
from models.decoding.times import source_span
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality
from models.options import AnswerOptions
from models.systems import System
from models.text import TextAnswer
from models.vocabulary import Vocabulary

NOT_FINITE = "not finite: the network's logits overflow on these keypoints; check their range"


@dataclass(frozen=True, kw_only=True)
class RecognisedGloss:
    """A gloss and where it was signed: the half-open interval of source frames, and of seconds where the clip's fps is known.

    CTC emits in peaks, so the interval marks the sign rather than covers it. confidence: the network's own, in [0, 1].
    """

    gloss: str
    confidence: float
    start_frame: int
    end_frame: int
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True, kw_only=True)
class HeadAnswer:
    """What one head recognised. ids: in the vocabulary, one a gloss; score: natural log-probability of the sequence in the search."""

    ids: tuple[int, ...]
    glosses: tuple[RecognisedGloss, ...]
    score: float

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(entry.gloss for entry in self.glosses)

    @property
    def confidence(self) -> float:
        """Mean confidence of the glosses; 0 where nothing was recognised."""
        return sum(entry.confidence for entry in self.glosses) / len(self.glosses) if self.glosses else 0.0


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What was recognised in one clip. heads: by name, the one that answers first; low_confidence: it is below the threshold of the decoding options.

    n_best: hypotheses of the head that answers, the best first, where they were asked for. texts: translations, the likeliest first, where the
    network translates.
    """

    name: str
    num_frames: int
    fps: float | None
    heads: Mapping[str, HeadAnswer]
    low_confidence: bool
    n_best: tuple[HeadAnswer, ...] = ()
    texts: tuple[TextAnswer, ...] = ()

    @property
    def head(self) -> str:
        """Name of the head that answers."""
        return next(iter(self.heads))

    @property
    def answer(self) -> HeadAnswer:
        return self.heads[self.head]

    @property
    def confidence(self) -> float:
        return self.answer.confidence


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadLogits:
    """Logits (B, S, V) over steps, lengths (B,), of the frames that `inputs` select."""

    logits: Tensor
    lengths: Tensor
    inputs: Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceAnswerer(Answerer[Recognition]):
    """From gloss logits over time to recognitions, whatever the logits come from.

    fusion: language model and hot words (`models.decoding.language_model.fuse`), which the decoding method prefix_beam alone heeds.
    num_hypotheses: of the head that answers, beside its answer. They come from the prefix search, which alone ranks sentences; by another method the
    answer need not be the first of them. Raises ValueError where it doesn't fit the method or the vocabulary.
    """

    vocabulary: Vocabulary
    decoding: DecodingOptions
    fusion: Fusion = NO_FUSION
    num_hypotheses: int = 0

    def __post_init__(self) -> None:
        if self.fusion.active and self.decoding.method != "prefix_beam":
            raise ValueError(f"method {self.decoding.method!r} knows no language model or hot words: choose 'prefix_beam'")
        if self.fusion.active and len(self.fusion.bias) != len(self.vocabulary):
            raise ValueError(f"language model and hot words were made for {len(self.fusion.bias)} glosses, the vocabulary has {len(self.vocabulary)}")

    @property
    def options(self) -> AnswerOptions:
        return self.decoding

    @abstractmethod
    def _logits(self, clips: Sequence[Clip], names: Sequence[str]) -> Mapping[str, HeadLogits]:
        """Logits by name of what can answer, of `names` at least."""

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Recognition | Unanswered]:
        return self._answers(clips, names, self._logits(clips, names))

    def _answers(self, clips: Sequence[Clip], names: Sequence[str], found: Mapping[str, HeadLogits]) -> list[Recognition | Unanswered]:
        """What the heads `names` recognised by their logits."""
        sound_B = torch.stack([finite_clips(found[name].logits, found[name].lengths) for name in names]).all(0)
        rows = sound_B.nonzero().flatten()
        decoded = {name: iter(self._decode(found[name].logits[rows], found[name].lengths[rows])) for name in names}
        ranked = iter(self._ranked(found[names[0]].logits[rows], found[names[0]].lengths[rows]))
        outcomes: list[Recognition | Unanswered] = []
        for row, (clip, sound) in enumerate(zip(clips, sound_B.tolist(), strict=True)):
            if sound:
                times = {name: _times(clip, found[name].inputs, int(found[name].lengths[row])) for name in names}
                heads = {name: self._answer(next(decoded[name]), times[name]) for name in names}
                n_best = tuple(self._answer(hypothesis, times[names[0]]) for hypothesis in next(ranked))
                outcomes.append(self._recognition(clip, heads, n_best))
            else:
                outcomes.append(Unanswered(name=clip.name, reason=NOT_FINITE))
        return outcomes

    def _decode(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        options = self.decoding
        return decode(
            logits_BSV,
            lengths_B,
            beam_width=options.beam_width,
            method=options.method,
            merge_repeats=options.merge_repeats,
            cutoff_top_n=options.cutoff_top_n,
            cutoff_prob=options.cutoff_prob,
            fusion=self.fusion,
        )

    def _ranked(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[Hypothesis]]:
        """The best hypotheses of each clip, no sentence twice: merged repeats can make two of them equal."""
        if not self.num_hypotheses:
            return [[] for _ in lengths_B]
        options = self.decoding
        search = PrefixSearch(
            beam_width=max(options.beam_width, self.num_hypotheses),
            cutoff_top_n=options.cutoff_top_n,
            cutoff_prob=options.cutoff_prob,
            fusion=self.fusion,
        )
        rankings = decode_n_best(logits_BSV, lengths_B, num_hypotheses=self.num_hypotheses, search=search, merge_repeats=options.merge_repeats)
        return [_distinct(ranking) for ranking in rankings]

    def _recognition(self, clip: Clip, heads: Mapping[str, HeadAnswer], n_best: tuple[HeadAnswer, ...]) -> Recognition:
        confidence = next(iter(heads.values())).confidence
        low = confidence < self.decoding.low_confidence or confidence == 0
        return Recognition(name=clip.name, num_frames=clip.num_frames, fps=clip.fps, heads=heads, low_confidence=low, n_best=n_best)

    def _answer(self, hypothesis: Hypothesis, times: _Times) -> HeadAnswer:
        words = self.vocabulary.decode(hypothesis.ids)
        glosses = [times.gloss(*entry) for entry in zip(words, hypothesis.confidences, hypothesis.spans, strict=True)]
        return HeadAnswer(ids=hypothesis.ids, glosses=tuple(glosses), score=hypothesis.score)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recogniser(SentenceAnswerer):
    """A network with all that its answers need. It answers in its evaluation form: whatever the batch mates, a clip's answer is the same."""

    system: System
    network: nn.Module
    inputs: Inputs

    @property
    def answering(self) -> tuple[str, ...]:
        return self.system.answering

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.inputs.modalities

    def problem(self, clip: Clip) -> str | None:
        return self.inputs.problem(clip)

    def to(self, device: str) -> Recogniser:
        return replace(self, network=self.network.to(device))

    def _logits(self, clips: Sequence[Clip], names: Sequence[str]) -> Mapping[str, HeadLogits]:
        logits, lengths_B = evaluation_logits(self.network, self.system, self.inputs, clips)
        return {name: HeadLogits(logits=logits_BSV, lengths=lengths_B, inputs=self.inputs) for name, logits_BSV in logits.items()}


@dataclass(frozen=True, kw_only=True)
class _Times:
    """From steps of the network to frames and seconds of the source: clips beyond the longest lose frames at both ends."""

    first_frame: int
    frames_per_step: float
    fps: float | None

    def gloss(self, word: str, confidence: float, span: tuple[int, int]) -> RecognisedGloss:
        times = source_span(span, frames_per_step=self.frames_per_step, fps=self.fps, first_frame=self.first_frame)
        return RecognisedGloss(gloss=word, confidence=confidence, **vars(times))


def _times(clip: Clip, inputs: Inputs, num_steps: int) -> _Times:
    selected = inputs.evaluation_frames(clip.num_frames)
    return _Times(first_frame=int(selected[0]), frames_per_step=len(selected) / num_steps, fps=clip.fps)


def _distinct(ranking: Sequence[Hypothesis]) -> list[Hypothesis]:
    found: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in ranking:
        found.setdefault(hypothesis.ids, hypothesis)
    return list(found.values())


def finite_clips(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    """Which clips (B,) have finite logits on all their steps."""
    inside = valid_steps(lengths_B, logits_BSV.shape[1])
    return (torch.isfinite(logits_BSV).all(-1) | ~inside).all(1)

"""Recognition: clips in, glosses with times and confidences out. A trained bundle and a network in training answer by the same code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from models.batch import valid_steps
from models.decoding.decode import decode
from models.decoding.hypothesis import Hypothesis
from models.decoding.options import DecodingOptions
from models.errors import RecordingError
from models.inputs.checks import keypoint_problem
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs, evaluation_batch, evaluation_frames
from models.mska.network import ENSEMBLE
from models.systems import System
from models.vocabulary import Vocabulary

WINDOW_BATCHES = 8  # batches of clips that are held at a time, to be sorted by length: some 40 MB


def all_heads(system: System) -> tuple[str, ...]:
    """Names of what can answer: the ensemble, then the system's heads."""
    return (ENSEMBLE, *system.heads)


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
    """What was recognised in one clip. heads: by name, the one that answers first; low_confidence: it is below the threshold of the decoding options."""

    name: str
    num_frames: int
    fps: float | None
    heads: Mapping[str, HeadAnswer]
    low_confidence: bool

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


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A clip that couldn't be recognised, and why (one line)."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Recogniser:
    """A network with all that its answers need. It answers in its evaluation form: whatever the batch mates, a clip's answer is the same."""

    system: System
    network: nn.Module
    inputs: KeypointInputs
    vocabulary: Vocabulary
    decoding: DecodingOptions

    def head_names(self) -> tuple[str, ...]:
        """All heads, the one that answers first. Raises ValueError where the system has no such head."""
        names = all_heads(self.system)
        if self.decoding.head not in names:
            raise ValueError(f"no head {self.decoding.head!r}: there are {', '.join(names)}")
        return (self.decoding.head, *(name for name in names if name != self.decoding.head))

    def recognise(self, clips: Iterable[Clip], *, batch_size: int = 8, heads: Sequence[str] | None = None) -> Iterator[Recognition]:
        """As `attempt`, but a clip that can't be recognised raises RecordingError that names it."""
        for outcome in self.attempt(clips, batch_size=batch_size, heads=heads):
            if isinstance(outcome, Unanswered):
                raise RecordingError(f"{outcome.name}: {outcome.reason}")
            yield outcome

    def attempt(self, clips: Iterable[Clip | Unanswered], *, batch_size: int = 8, heads: Sequence[str] | None = None) -> Iterator[Recognition | Unanswered]:
        """Answers in the order of `clips`, which are read as they are needed and batched by length; one for each clip.

        A clip that couldn't even be read stands among them as `Unanswered` and is passed on.
        heads: those to decode, the one that answers first (None: all, the chosen one first). Raises ValueError for an unknown head.
        """
        names = self.head_names() if heads is None else tuple(heads)
        unknown = [name for name in names if name not in self.head_names()]
        if unknown or not names or batch_size < 1:
            raise ValueError(f"heads {list(names)} of {', '.join(self.head_names())}, batch size {batch_size}: at least one of each, and known heads")
        remaining = iter(clips)
        while window := list(islice(remaining, batch_size * WINDOW_BATCHES)):
            yield from self._window(window, batch_size, names)

    def problem(self, clip: Clip) -> str | None:
        """Why the clip can't be recognised, in one line; None where it can."""
        if not all(math.isfinite(size) and size > 0 for size in clip.frame_size):
            return f"frame size unknown: {clip.frame_size} is no width and height in pixels"
        return keypoint_problem(clip.keypoints, self.inputs.num_keypoints)

    def _window(self, clips: Sequence[Clip | Unanswered], batch_size: int, names: Sequence[str]) -> list[Recognition | Unanswered]:
        outcomes: dict[int, Recognition | Unanswered] = {}
        good: list[tuple[int, Clip]] = []
        for position, clip in enumerate(clips):
            if isinstance(clip, Unanswered):
                outcomes[position] = clip
            elif reason := self.problem(clip):
                outcomes[position] = Unanswered(name=clip.name, reason=reason)
            else:
                good.append((position, clip))
        good.sort(key=lambda entry: entry[1].num_frames)
        for start in range(0, len(good), batch_size):
            positions, batch = zip(*good[start : start + batch_size], strict=True)
            outcomes.update(zip(positions, self._batch(batch, names), strict=True))
        return [outcomes[position] for position in range(len(clips))]

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Recognition | Unanswered]:
        logits, lengths_B = self._logits(clips)
        sound_B = torch.stack([_finite(logits[name], lengths_B) for name in names]).all(0)
        rows = sound_B.nonzero().flatten()
        decoded = {name: iter(self._decode(logits[name][rows], lengths_B[rows])) for name in names}
        outcomes: list[Recognition | Unanswered] = []
        for clip, sound, steps in zip(clips, sound_B.tolist(), lengths_B.tolist(), strict=True):
            if sound:
                outcomes.append(self._recognition(clip, {name: next(decoded[name]) for name in names}, steps))
            else:
                outcomes.append(Unanswered(name=clip.name, reason="not finite: the network's logits overflow on these keypoints; check their range"))
        return outcomes

    def _logits(self, clips: Sequence[Clip]) -> tuple[Mapping[str, Tensor], Tensor]:
        """Logits (B, S, V) of all heads and steps (B,), on the CPU; the network's mode is put back."""
        device = next(self.network.parameters()).device
        batch = evaluation_batch(clips, self.inputs).to(device)
        was_training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():  # not inference mode, whose tensors a network in training could not use afterwards
                heads = self.network(batch)
        finally:
            self.network.train(was_training)
        return {name: logits.float().cpu() for name, logits in self.system.all_logits(heads).items()}, heads.lengths.cpu()

    def _decode(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        options = self.decoding
        return decode(logits_BSV, lengths_B, beam_width=options.beam_width, method=options.method, merge_repeats=options.merge_repeats)

    def _recognition(self, clip: Clip, hypotheses: Mapping[str, Hypothesis], num_steps: int) -> Recognition:
        selected = evaluation_frames(clip.num_frames, self.inputs.max_frames)
        times = _Times(first_frame=int(selected[0]), frames_per_step=len(selected) / num_steps, fps=clip.fps)
        heads = {name: self._answer(hypothesis, times) for name, hypothesis in hypotheses.items()}
        confidence = next(iter(heads.values())).confidence
        return Recognition(
            name=clip.name, num_frames=clip.num_frames, fps=clip.fps, heads=heads, low_confidence=confidence < self.decoding.low_confidence or confidence == 0
        )

    def _answer(self, hypothesis: Hypothesis, times: _Times) -> HeadAnswer:
        words = self.vocabulary.decode(hypothesis.ids)
        glosses = [times.gloss(*entry) for entry in zip(words, hypothesis.confidences, hypothesis.spans, strict=True)]
        return HeadAnswer(ids=hypothesis.ids, glosses=tuple(glosses), score=hypothesis.score)


@dataclass(frozen=True, kw_only=True)
class _Times:
    """From steps of the network to frames and seconds of the source: clips beyond the longest lose frames at both ends."""

    first_frame: int
    frames_per_step: float
    fps: float | None

    def gloss(self, word: str, confidence: float, span: tuple[int, int]) -> RecognisedGloss:
        start = self.first_frame + math.floor(span[0] * self.frames_per_step)
        end = self.first_frame + math.ceil(span[1] * self.frames_per_step)
        fps = self.fps if self.fps is not None and 0 < self.fps < math.inf else None
        return RecognisedGloss(
            gloss=word,
            confidence=confidence,
            start_frame=start,
            end_frame=end,
            start_s=start / fps if fps else None,
            end_s=end / fps if fps else None,
        )


def _finite(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    """Which clips (B,) have finite logits on all their steps."""
    inside = valid_steps(lengths_B, logits_BSV.shape[1])
    return (torch.isfinite(logits_BSV).all(-1) | ~inside).all(1)

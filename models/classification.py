"""Isolated recognition: clips of one sign in, the likeliest signs with their probabilities out, by one network or by several that vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from models.answering import Answerer, Run, Unanswered, evaluation_logits, modalities_of, one_by_one
from models.batch import ENSEMBLE
from models.class_map import ClassMap
from models.fusion import FusionRule, fuse
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality
from models.options import AnswerOptions
from models.systems import System

CANDIDATES = 5  # signs that an answer names, unless more or fewer are asked for


@dataclass(frozen=True, kw_only=True)
class RecognisedSign:
    """A sign and the network's own probability of it, in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SignAnswer:
    """What one head recognised. candidates: the likeliest first. logits: (C,) float32, of all classes."""

    candidates: tuple[RecognisedSign, ...]
    logits: np.ndarray

    @property
    def label(self) -> str:
        return self.candidates[0].label

    @property
    def confidence(self) -> float:
        return self.candidates[0].probability


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """What was recognised in one clip. heads: by name, the one that answers first; low_confidence: it is below the threshold of the options."""

    name: str
    num_frames: int
    fps: float | None
    heads: Mapping[str, SignAnswer]
    low_confidence: bool

    @property
    def head(self) -> str:
        """Name of the head that answers."""
        return next(iter(self.heads))

    @property
    def answer(self) -> SignAnswer:
        return self.heads[self.head]

    @property
    def confidence(self) -> float:
        return self.answer.confidence


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A network that answers in a `Classifier`, with its input transform. head: of its own, the one that counts."""

    system: System
    network: nn.Module
    inputs: Inputs
    head: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier(Answerer[Classification]):
    """A network by its own heads; or several, which answer each by its name, and all together as `ensemble` where there are `weights`."""

    members: Mapping[str, Member]
    classes: ClassMap
    decoding: AnswerOptions
    weights: Mapping[str, float] | None = None
    rule: FusionRule = "logits"
    num_candidates: int = CANDIDATES
    run: Run = one_by_one

    @property
    def answering(self) -> tuple[str, ...]:
        if self.weights is not None:
            return (ENSEMBLE, *self.members)
        (member,) = self.members.values()
        return member.system.answering

    @property
    def options(self) -> AnswerOptions:
        return self.decoding

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return modalities_of(member.inputs for member in self.members.values())

    def problem(self, clip: Clip) -> str | None:
        return next((problem for member in self.members.values() if (problem := member.inputs.problem(clip))), None)

    def to(self, device: str) -> Classifier:
        return replace(self, members={name: replace(member, network=member.network.to(device)) for name, member in self.members.items()})

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Classification | Unanswered]:
        logits = self._logits(clips, names)
        sound_B = torch.stack([torch.isfinite(logits[name]).all(-1) for name in names]).all(0)
        return [
            self._classification(clip, {name: logits[name][row] for name in names})
            if sound
            else Unanswered(name=clip.name, reason="not finite: the network's logits overflow on these keypoints; check their range")
            for row, (clip, sound) in enumerate(zip(clips, sound_B.tolist(), strict=True))
        ]

    def _logits(self, clips: Sequence[Clip], names: Sequence[str]) -> Mapping[str, Tensor]:
        """Logits (B, C) by name of what can answer; members that nobody asked for don't compute."""
        if self.weights is None:
            (member,) = self.members.values()
            return evaluation_logits(member.network, member.system, member.inputs, clips)[0]
        wanted = [self.members[name] for name in (self.members if ENSEMBLE in names else names)]
        computed = self.run([partial(evaluation_logits, member.network, member.system, member.inputs, clips) for member in wanted])
        found = zip(self.members if ENSEMBLE in names else names, wanted, computed, strict=True)
        logits = {name: logits[member.head] for name, member, (logits, _) in found}
        return {ENSEMBLE: fuse(logits, self.weights, self.rule), **logits} if ENSEMBLE in names else logits

    def _classification(self, clip: Clip, logits: Mapping[str, Tensor]) -> Classification:
        heads = {name: self._answer(logits_C) for name, logits_C in logits.items()}
        confidence = next(iter(heads.values())).confidence
        return Classification(name=clip.name, num_frames=clip.num_frames, fps=clip.fps, heads=heads, low_confidence=confidence < self.decoding.low_confidence)

    def _answer(self, logits_C: Tensor) -> SignAnswer:
        probabilities_C = logits_C.softmax(-1)
        # A stable sort, so that equal logits rank as in `metrics.accuracy`.
        best = torch.sort(logits_C, descending=True, stable=True).indices[: self.num_candidates].tolist()
        candidates = tuple(RecognisedSign(label=self.classes.decode(index), probability=float(probabilities_C[index])) for index in best)
        return SignAnswer(candidates=candidates, logits=logits_C.numpy())

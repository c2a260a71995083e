"""Joint recognition: sentences by several networks, or several heads of one, that answer each and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from models.answering import Run, evaluation_logits, modalities_of, one_by_one
from models.batch import ENSEMBLE
from models.classification import Member
from models.fusion import FusionRule, fuse, resample
from models.inputs.clip import Clip
from models.inputs.inputs import Modality
from models.recognition import HeadLogits, SentenceAnswerer


@dataclass(frozen=True, kw_only=True, eq=False)
class JointRecogniser(SentenceAnswerer):
    """Members by name, which share a vocabulary; fused as `ensemble` on the steps of the member that has most of them in the clip.

    Members that hold the same network run it once.
    """

    members: Mapping[str, Member]
    weights: Mapping[str, float]
    rule: FusionRule = "logits"
    run: Run = one_by_one

    @property
    def answering(self) -> tuple[str, ...]:
        return (ENSEMBLE, *self.members)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return modalities_of(member.inputs for member in self.members.values())

    def problem(self, clip: Clip) -> str | None:
        return next((problem for member in self.members.values() if (problem := member.inputs.problem(clip))), None)

    def to(self, device: str) -> JointRecogniser:
        return replace(self, members={name: replace(member, network=member.network.to(device)) for name, member in self.members.items()})

    def _logits(self, clips: Sequence[Clip], names: Sequence[str]) -> Mapping[str, HeadLogits]:
        wanted = list(self.members) if ENSEMBLE in names else list(names)
        distinct = {id(member.network): member for member in (self.members[name] for name in wanted)}
        calls = [partial(evaluation_logits, member.network, member.system, member.inputs, clips) for member in distinct.values()]
        computed = dict(zip(distinct, self.run(calls), strict=True))
        found: dict[str, HeadLogits] = {}
        for name in wanted:
            member = self.members[name]
            logits, lengths_B = computed[id(member.network)]
            found[name] = HeadLogits(logits=logits[member.head], lengths=lengths_B, inputs=member.inputs)
        return {ENSEMBLE: self._fused(found), **found} if ENSEMBLE in names else found

    def _fused(self, found: Mapping[str, HeadLogits]) -> HeadLogits:
        steps_B = torch.stack([member.lengths for member in found.values()]).amax(0)
        logits = {name: resample(member.logits, member.lengths, steps_B) for name, member in found.items()}
        first = next(iter(found.values()))
        return HeadLogits(logits=fuse(logits, self.weights, self.rule), lengths=steps_B, inputs=first.inputs)

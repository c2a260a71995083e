"""Posteriors: clips in, the logits of chosen heads out, for those who fuse or search them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from models.answering import Answerer, Unanswered, evaluation_logits
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality
from models.options import AnswerOptions
from models.recognition import NOT_FINITE, finite_clips
from models.systems import System


@dataclass(frozen=True, kw_only=True, eq=False)
class Posteriors:
    """One clip's logits by head, (S, V) float32 over its own steps; of an isolated sign (1, C)."""

    name: str
    logits: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorReader(Answerer[Posteriors]):
    """A network in its evaluation form, whose heads `heads` are read."""

    system: System
    network: nn.Module
    inputs: Inputs
    heads: tuple[str, ...]

    @property
    def answering(self) -> tuple[str, ...]:
        return self.heads

    @property
    def options(self) -> AnswerOptions:
        return AnswerOptions(head=self.heads[0])

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.inputs.modalities

    def problem(self, clip: Clip) -> str | None:
        return self.inputs.problem(clip)

    def to(self, device: str) -> PosteriorReader:
        return replace(self, network=self.network.to(device))

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Posteriors | Unanswered]:
        found, lengths_B = evaluation_logits(self.network, self.system, self.inputs, clips)
        logits = {name: _over_steps(found[name]) for name in names}
        sound_B = torch.stack([finite_clips(values, lengths_B) for values in logits.values()]).all(0)
        outcomes: list[Posteriors | Unanswered] = []
        for row, (clip, sound, steps) in enumerate(zip(clips, sound_B.tolist(), lengths_B.tolist(), strict=True)):
            if sound:
                outcomes.append(Posteriors(name=clip.name, logits={name: values[row, :steps].numpy() for name, values in logits.items()}))
            else:
                outcomes.append(Unanswered(name=clip.name, reason=NOT_FINITE))
        return outcomes


def _over_steps(logits: Tensor) -> Tensor:
    """(B, S, V) of any head: isolated signs have one step."""
    return logits if logits.ndim == 3 else logits[:, None]

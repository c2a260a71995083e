"""What a translator's encoder makes of clips, for those who fuse or search what is spoken from it: the part that reads clips runs once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.answering import Unanswered, evaluation_heads
from models.inputs.clip import Clip
from models.posteriors import PosteriorReader, Posteriors
from models.recognition import NOT_FINITE
from models.system import TEXT
from models.translation.tokens import TranslationTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodingReader(PosteriorReader):
    """Encoder states (E, D) float32 of each clip, under the name `text`."""

    heads: tuple[str, ...] = (TEXT,)
    tokens: TranslationTokens

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Posteriors | Unanswered]:
        heads = evaluation_heads(self.network, self.inputs, clips, prepare=lambda batch: self.tokens.with_glosses(batch, clips))
        assert heads.text is not None
        states_BED, lengths_B = heads.text.states.float().cpu(), heads.text.mask.sum(1).tolist()
        outcomes: list[Posteriors | Unanswered] = []
        for clip, states_ED, length in zip(clips, states_BED, lengths_B, strict=True):
            own = states_ED[:length]
            sound = bool(torch.isfinite(own).all())
            outcomes.append(Posteriors(name=clip.name, logits={TEXT: own.numpy()}) if sound else Unanswered(name=clip.name, reason=NOT_FINITE))
        return outcomes

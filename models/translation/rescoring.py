"""Given sentences under a translator: the probability of each token, so that sentences are ranked by any weights of members without a new search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.translation.config import EOS, PAD
from models.translation.generation import Member
from models.translation.translator import Translator


@torch.no_grad()
def token_log_probs(translator: Translator, states_BED: Tensor, mask_BE: Tensor, ids_BL: Tensor, *, start: int, forced_at: int | None) -> Tensor:
    """Log-probabilities (B, L − start) of the tokens behind the first `start` of each sentence, 0 at pads; row b speaks of row b of the states.

    forced_at: place in which `</s>` has probability 1, for a sentence that reached the longest length of its search; None where none has.
    """
    logits = translator.logits(states_BED, mask_BE, ids_BL[:, :-1])[:, start - 1 :]
    said_BL = ids_BL[:, start:]
    found_BL = torch.log_softmax(logits.float(), dim=-1).gather(-1, said_BL[..., None]).squeeze(-1)
    if forced_at is not None and start <= forced_at < ids_BL.shape[1]:
        found_BL[:, forced_at - start] = torch.where(said_BL[:, forced_at - start] == EOS, 0.0, found_BL[:, forced_at - start])
    ended = (said_BL == EOS).cumsum(1) - (said_BL == EOS).int()  # tokens behind the end
    return found_BL.masked_fill((said_BL == PAD) & (ended > 0), 0.0)


def stacked_member(translator: Translator, states: Sequence[Tensor], *, weight: float = 1.0) -> Member:
    """A member of a search over clips whose encoder states (E, D) are given."""
    device = translator.gloss_embedding.weight.device
    lengths = torch.tensor([len(state) for state in states], device=device)
    padded = torch.nn.utils.rnn.pad_sequence([state.to(device) for state in states], batch_first=True)
    return Member(mbart=translator.mbart, states=padded, mask=torch.arange(padded.shape[1], device=device)[None] < lengths[:, None], weight=weight)

"""Where a translator looked for each word of its sentence: cross-attention over the steps of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.answering import evaluation_heads
from models.batch import Heads
from models.bundle import Bundle
from models.inputs.clip import Clip
from models.text import TextAnswer
from models.translation.config import EOS
from models.translation.generation import generate
from models.translation.options import TranslationDecodingOptions
from models.translation.recogniser import search_member, text_answers
from models.translation.tokens import TextTokens

WORD_START = "\u2581"  # SentencePiece's mark
SHOWN_TEXTS = 3
END = "(end)"


@dataclass(frozen=True, kw_only=True, eq=False)
class TextAttention:
    """A clip's sentence and what each of its words looked at, its end last.

    answers: the likeliest texts, the one that is explained first. weights_WS: share of each word's attention on each of the clip's S steps, mean over
    layers, heads and the word's tokens; aside_W: the rest, on `</s>` and the language behind the steps.
    """

    clip: Clip
    answers: tuple[TextAnswer, ...]
    words: tuple[str, ...]
    weights_WS: NDArray[np.float32]
    aside_W: NDArray[np.float32]

    @property
    def text(self) -> str:
        return self.answers[0].text


def attend(bundle: Bundle, network: nn.Module, clip: Clip) -> TextAttention:
    """The likeliest texts of a clip and the attention of the first. network: the bundle's, which reads clips and translates."""
    tokens, options = bundle.tokens, bundle.decoding
    assert tokens is not None
    assert isinstance(options, TranslationDecodingOptions)
    search = options.text.model_copy(update={"n_best": min(options.text.beam_width, max(SHOWN_TEXTS, options.text.n_best))})
    heads = evaluation_heads(network, bundle.inputs, [clip])
    translator: Any = network.translator
    start = translator.options.start
    found = generate([search_member(network, heads)], search, start=start, forced_end=translator.options.mbart.forced_end)
    ids = _trimmed(found.ids[0, 0].tolist(), len(start))
    rows_LE = cross_attention(network, heads, ids[:-1])[len(start) - 1 :].numpy()  # row i is what token i + 1 was chosen by
    groups = word_groups(ids[len(start) :], tokens.text)
    words_WE = np.stack([rows_LE[first:end].mean(0) for _, first, end in groups])
    steps = int(heads.lengths[0])
    return TextAttention(
        clip=clip,
        answers=text_answers(found, tokens)[0],
        words=tuple(word for word, _, _ in groups),
        weights_WS=words_WE[:, :steps],
        aside_W=words_WE[:, steps:].sum(1),
    )


def word_groups(ids: Sequence[int], tokens: TextTokens) -> list[tuple[str, int, int]]:
    """Words of a sentence's tokens, each with the first of its tokens and the one behind its last; `</s>` is a word of its own."""
    groups: list[tuple[str, int, int]] = []
    for place, token in enumerate(ids):
        piece = END if token == EOS else tokens.piece(token)
        if groups and token != EOS and not piece.startswith(WORD_START) and groups[-1][0] != END:
            word, first, _ = groups[-1]
            groups[-1] = (word + piece, first, place + 1)
        else:
            groups.append((piece.removeprefix(WORD_START), place, place + 1))
    return groups


def _trimmed(ids: Sequence[int], start: int) -> list[int]:
    """A sentence up to its end."""
    ends = [place for place, token in enumerate(ids) if token == EOS and place >= start]
    return list(ids[: ends[0] + 1] if ends else ids)


@torch.no_grad()
def cross_attention(network: nn.Module, heads: Heads, ids_L: Sequence[int]) -> torch.Tensor:
    """Where each token of one clip's sentence looked: (L, E), the mean over layers and heads; `heads` of that clip alone."""
    assert heads.text is not None
    translator: Any = network.translator
    mbart = translator.mbart
    before = mbart.config._attn_implementation
    mbart.set_attn_implementation("eager")  # the fused attention keeps no weights
    try:
        decoded = mbart.model.decoder(
            input_ids=torch.tensor([list(ids_L)], device=heads.text.states.device),
            encoder_hidden_states=heads.text.states,
            encoder_attention_mask=heads.text.mask,
            output_attentions=True,
            use_cache=False,
        )
    finally:
        mbart.set_attn_implementation(before)
    return torch.stack([layer[0].mean(0) for layer in decoded.cross_attentions]).mean(0).float().cpu()

"""An mBART's decoder, one token at a time, for the beams of a search.

transformers' own forward copies the encoder's keys and values to every beam and reorders them with the beams at each step. They are the same
for all beams of a sentence: here a sentence's beams are the queries of one attention over them, and only what was decoded is reordered.
The layers' parts are called as modules, so that ZeRO's stage 3 gathers their weights.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

BLOCK = 32  # tokens by which the memory of what was decoded grows


class StepDecoder:
    """The state of one member of a search: B sentences of K beams, row b·K + k is beam k of sentence b.

    mbart: MBartForConditionalGeneration in evaluation mode. states (B, E, D), mask (B, E): of its encoder.
    """

    def __init__(self, mbart: Any, states_BED: Tensor, mask_BE: Tensor, *, num_beams: int) -> None:
        self._mbart, self._decoder = mbart, mbart.model.decoder
        self._beams, self._sentences = num_beams, states_BED.shape[0]
        self._heads = self._decoder.config.decoder_attention_heads
        self._mask = mask_BE[:, None, None, :]
        self._cross = [(self._split(layer.encoder_attn.k_proj(states_BED)), self._split(layer.encoder_attn.v_proj(states_BED))) for layer in self._layers]
        width = states_BED.shape[2] // self._heads
        shape = (2 * len(self._layers), self._sentences * num_beams, self._heads, BLOCK, width)
        self._memory = self._cross[0][0].new_empty(shape)  # keys and values of each layer
        self._length = 0

    @property
    def _layers(self) -> Any:
        return self._decoder.layers

    def step(self, ids_N: Tensor) -> Tensor:
        """Logits (N, V) of the next token behind `ids_N`, the newest token of each beam."""
        decoder, position = self._decoder, self._length
        if position == self._memory.shape[3]:
            self._memory = F.pad(self._memory, (0, 0, 0, BLOCK))
        tokens = ids_N[:, None]
        x = decoder.layernorm_embedding(decoder.embed_tokens(tokens) + decoder.embed_positions(tokens, position)).squeeze(1)
        self._length = position + 1
        for number, layer in enumerate(self._layers):
            x = x + self._self_attention(layer, number, layer.self_attn_layer_norm(x), position)
            x = x + self._cross_attention(layer.encoder_attn, self._cross[number], layer.encoder_attn_layer_norm(x))
            x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
        logits: Tensor = self._mbart.lm_head(decoder.layer_norm(x)) + self._mbart.final_logits_bias
        return logits

    def reorder(self, rows_N: Tensor) -> None:
        """Beam n goes on from what beam `rows_N[n]` decoded."""
        self._memory[:, :, :, : self._length] = self._memory[:, rows_N, :, : self._length]

    def _self_attention(self, layer: Any, number: int, x_ND: Tensor, position: int) -> Tensor:
        attention = layer.self_attn
        keys, values = self._memory[2 * number], self._memory[2 * number + 1]
        shape = (x_ND.shape[0], self._heads, -1)
        keys[:, :, position] = attention.k_proj(x_ND).view(shape)
        values[:, :, position] = attention.v_proj(x_ND).view(shape)
        query = attention.q_proj(x_ND).view(*shape[:2], 1, -1)
        found = F.scaled_dot_product_attention(query, keys[:, :, : position + 1], values[:, :, : position + 1])
        out: Tensor = attention.out_proj(found.reshape(x_ND.shape))
        return out

    def _cross_attention(self, attention: Any, memory: tuple[Tensor, Tensor], x_ND: Tensor) -> Tensor:
        query = self._split(attention.q_proj(x_ND).view(self._sentences, self._beams, -1))
        found = F.scaled_dot_product_attention(query, *memory, attn_mask=self._mask)
        out: Tensor = attention.out_proj(found.transpose(1, 2).reshape(x_ND.shape))
        return out

    def _split(self, x_BED: Tensor) -> Tensor:
        """(B, E, D) → (B, heads, E, D / heads)."""
        B, E, _ = x_BED.shape
        return x_BED.view(B, E, self._heads, -1).transpose(1, 2)

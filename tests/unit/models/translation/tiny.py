"""Tiny translators with weights that don't fade: their answers depend on what they read."""

from __future__ import annotations

import torch

from models.translation.config import MbartOptions, TranslatorOptions
from models.translation.generation import Member
from models.translation.translator import Translator

TINY = MbartOptions(
    vocab_size=40,
    d_model=16,
    encoder_layers=1,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=4,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    max_position_embeddings=64,
)
TINY_TRANSLATOR = TranslatorOptions(mbart=TINY, num_glosses=20, gloss_language=8, language=6)


def translator(seed: int, *, end_bias: float = 0.5, options: TranslatorOptions = TINY_TRANSLATOR) -> Translator:
    """A translator in evaluation mode; end_bias moves the ends of its sentences."""
    generator = torch.Generator().manual_seed(seed)
    network = Translator(options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(1.5 * torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
        network.mbart.final_logits_bias[0, 2] += end_bias
    return network


def member(network: Translator, lengths: list[int], seed: int, weight: float = 1.0) -> Member:
    """A member of a search with random inputs of `lengths` steps."""
    steps = torch.tensor(lengths)
    generator = torch.Generator().manual_seed(seed)
    mapped = torch.randn(len(lengths), max(lengths), network.options.mbart.d_model, generator=generator)
    with torch.no_grad():
        inputs, mask = network.of_steps(mapped, steps)
        states = network.encode(inputs, mask)
    return Member(mbart=network.mbart, states=states, mask=mask, weight=weight)

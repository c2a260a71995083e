"""Generation of texts: the beam search of the project, for one and for three translators, against transformers' own for one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from models.translation.config import GenerationOptions, MbartOptions
from models.translation.generation import Member, generate
from models.translation.translator import build_mbart
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench

LANGUAGE = 6
BEAMS = 5


def measure(bench: Bench) -> list[Figure]:
    """CPU time of a search over the time of transformers' `generate` for one member. Every sentence takes all steps: random weights end none early.

    Published widths but half the layers and a quarter of the parameters in each: the 350 M of the whole model don't fit beside the other benchmarks.
    """
    options, rounds = (_tiny(), 2) if bench.quick else (_half(), 5)
    clips, steps, length = (2, 8, 6) if bench.quick else (8, 50, 32)
    torch.manual_seed(0)
    members = [_member(options, clips, steps, seed) for seed in range(3)]
    search = GenerationOptions(beam_width=BEAMS, max_length=length)
    theirs, one, three = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        theirs.append(_cpu_seconds(lambda: _of_transformers(members[0], length)))
        one.append(_cpu_seconds(lambda: generate(members[:1], search, start=(LANGUAGE,))))
        three.append(_cpu_seconds(lambda: generate(members, search, start=(LANGUAGE,))))
    note = f"{clips / min(one):.2f} clips/s of one member, {clips / min(theirs):.2f} of transformers, beam {BEAMS}, {length} tokens, {steps} steps"
    return [
        Figure(name="one translator / transformers' generate, CPU time", rounds=_ratios(one, theirs), note=note, at_most=1.1),
        Figure(name="three translators together / transformers' generate for one, CPU time", rounds=_ratios(three, theirs), note=note, at_most=3.2),
    ]


def _half() -> MbartOptions:
    sides = {"encoder_layers": 1, "decoder_layers": 6, "encoder_attention_heads": 8, "decoder_attention_heads": 8}
    return MbartOptions.model_validate({"vocab_size": 2498, "d_model": 512, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, **sides})


def _tiny() -> MbartOptions:
    sides = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return MbartOptions.model_validate({"vocab_size": 40, "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, **sides})


def _member(options: MbartOptions, clips: int, steps: int, seed: int) -> Member:
    mbart = build_mbart(options).eval()
    mbart.final_logits_bias[0, 2] = -100.0  # no sentence ends before its last step, on either side
    states = torch.randn(clips, steps, options.d_model, generator=torch.Generator().manual_seed(seed))
    return Member(mbart=mbart, states=states, mask=torch.ones(clips, steps, dtype=torch.bool))


@torch.no_grad()
def _of_transformers(member: Member, length: int) -> Any:
    return member.mbart.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=member.states),
        attention_mask=member.mask,
        num_beams=BEAMS,
        max_length=length,
        decoder_start_token_id=LANGUAGE,
    )


def _cpu_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _ratios(ours: list[float], theirs: list[float]) -> tuple[float, ...]:
    return tuple(mine / other for mine, other in zip(ours, theirs, strict=True))

"""What the kinds of translation have in common: the language model of a case, its texts, losses and generated sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads
from models.errors import ParityError
from models.translation.config import EOS, GenerationOptions, MbartOptions
from models.translation.generation import Generated, Member, generate
from tests.parity.case import NUMBER, Case, Record

OVERRIDE = rf"after filling, add (?P<value>{NUMBER}) to \S*final_logits_bias\[(?P<row>\d+), (?P<column>\d+)\] .*"
SEARCH = rf"num_beams=(?P<beams>\d+), length_penalty=(?P<penalty>{NUMBER}), max_length=(?P<length>\d+)"


def mbart_options(config: Record) -> MbartOptions:
    return MbartOptions.of_config(config)


def overridden(case: Case, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the case's `override` of the end token's bias, in every language model that it holds."""
    text = case.config.get("override")
    if text is None:
        return state
    match = re.fullmatch(OVERRIDE, text, re.DOTALL)
    if match is None:
        raise ParityError(f"config.override: {text!r} doesn't read {OVERRIDE!r}: this adapter knows no other wording")
    changed = dict(state)
    for name in state:
        if name.endswith("final_logits_bias"):
            changed[name] = state[name].clone()
            changed[name][int(match["row"]), int(match["column"])] += float(match["value"])
    return changed


def text_batch(labels: Sequence[Sequence[int]], inputs: Sequence[Sequence[int]]) -> Batch:
    """A batch that holds nothing but texts."""
    nothing = torch.zeros(len(labels), 0)
    names = tuple(map(str, range(len(labels))))
    return Batch(
        names=names,
        keypoints=nothing,
        frame_sizes=nothing,
        lengths=nothing,
        rotations=nothing,
        text_inputs=torch.tensor(inputs),
        text_targets=torch.tensor(labels),
    )


def translated(heads: Heads, mbart: nn.Module, weight: float = 1.0) -> Member:
    assert heads.text is not None
    return Member(mbart=mbart, states=heads.text.states, mask=heads.text.mask, weight=weight)


def search(name: str) -> GenerationOptions:
    """The search that a key such as `num_beams=5, length_penalty=1, max_length=14` names, alone or at its end."""
    match = re.search(SEARCH, name)
    if match is None:
        raise ParityError(f"{name!r} names no search: it doesn't read {SEARCH!r}")
    return GenerationOptions(beam_width=int(match["beams"]), length_penalty=float(match["penalty"]), max_length=int(match["length"]))


def rows(generated: Generated) -> list[list[int]]:
    """The best sentence of each clip, padded to the longest as the published programs do."""
    best: list[list[int]] = generated.ids[:, 0].tolist()
    longest = max(row.index(EOS) + 1 if EOS in row else len(row) for row in best)
    return [row[:longest] for row in best]


def generated_all(members: Sequence[Member], wanted: Mapping[str, Any], start: Sequence[int], *, forced_end: bool) -> dict[str, list[list[int]]]:
    """For every search that the case lists, the sentences found."""
    return {name: rows(generate(members, search(name), start=start, forced_end=forced_end)) for name in wanted if name != "note"}

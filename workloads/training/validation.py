"""Validation on dev while training: every head and the ensemble decoded for real, WER with the corpus's clean-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from models.decoding.decode import decode
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs, evaluation_batch
from models.metrics.cleanup import clean
from models.metrics.wer import WordErrors, word_errors
from models.systems import System
from models.vocabulary import Vocabulary
from workloads.training.batches import batched

Answers = dict[str, dict[str, list[str]]]  # clip → head → glosses


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Word errors by head, and the clips for which every head was silent."""

    errors: Mapping[str, WordErrors]
    num_clips: int
    silent: tuple[str, ...]

    @property
    def scores(self) -> dict[str, float]:
        """WER of each head in percent."""
        return {head: errors.rate for head, errors in self.errors.items()}


@torch.no_grad()
def recognise(
    network: nn.Module, clips: Sequence[Clip], system: System, inputs: KeypointInputs, vocabulary: Vocabulary, *, batch_size: int, beam_width: int, device: str
) -> Answers:
    """Glosses of every head for each clip.

    Every rank makes the same number of forward passes, because ZeRO's stage 3 gathers in each; a rank without clips left repeats its last.
    """
    network.eval()
    answers: Answers = {}
    by_length = sorted(clips, key=lambda clip: -clip.num_frames)
    batches = list(batched(by_length, batch_size))
    for number in range(_largest(len(batches))):
        batch = evaluation_batch(batches[min(number, len(batches) - 1)], inputs)
        heads = network(batch.to(device))
        for head, logits in system.all_logits(heads).items():
            for name, hypothesis in zip(batch.names, decode(logits, heads.lengths, beam_width=beam_width), strict=True):
                answers.setdefault(name, {})[head] = vocabulary.decode(hypothesis.ids)
    return answers


def gather(answers: Answers) -> Answers:
    """The answers of all ranks."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return answers
    parts: list[Answers] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, answers)
    return {name: heads for part in parts for name, heads in part.items()}


def score(answers: Answers, references: Mapping[str, Sequence[str]], *, rules: str, lower_cased: bool) -> Validation:
    """Word errors of each head over the clips that have a reference, both sides cleaned by the corpus's rules."""
    names = [name for name in references if name in answers]
    heads = list(next(iter(answers.values())))

    def sentence(glosses: Sequence[str]) -> list[str]:
        return clean(" ".join(glosses), rules, lower_cased=lower_cased).split()

    wanted = [sentence(references[name]) for name in names]
    errors = {head: word_errors(wanted, [sentence(answers[name][head]) for name in names]) for head in heads}
    silent = tuple(name for name in names if not any(answers[name].values()))
    return Validation(errors=errors, num_clips=len(names), silent=silent)


def _largest(count: int) -> int:
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return count
    counts: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(counts, count)
    return max(counts)

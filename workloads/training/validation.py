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
from workloads.training.faults import gather, some

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
    for number in range(max(gather(len(batches)))):
        batch = evaluation_batch(batches[min(number, len(batches) - 1)], inputs)
        heads = network(batch.to(device))
        for head, logits in system.all_logits(heads).items():
            for name, hypothesis in zip(batch.names, decode(logits, heads.lengths, beam_width=beam_width), strict=True):
                answers.setdefault(name, {})[head] = vocabulary.decode(hypothesis.ids)
    return answers


def merge(parts: Sequence[Answers]) -> Answers:
    """The answers of all ranks."""
    return {name: heads for part in parts for name, heads in part.items()}


def same_statistics(network: nn.Module) -> None:
    """Give every rank the batch norm statistics of rank 0, whose network becomes the checkpoint; every rank must call it.

    Each rank counts its own batches, so they drift apart. Rank 0's, not their mean: its own course then doesn't depend on when they are shared.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return
    buffers = [buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    if not buffers:
        return
    shared = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(shared, src=0)
    for buffer, values in zip(buffers, shared.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


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


def complaints(validation: Validation, head: str) -> list[str]:
    """What is wrong with a validation after the warm-up, with the recordings' names."""
    texts = []
    if len(validation.silent) == validation.num_clips:
        texts.append(
            f"no head recognised a gloss in any of {validation.num_clips} dev clips ({some(validation.silent)}): "
            "the network still answers blank everywhere; train longer, or check optim.lr and that the glosses are those of the clips"
        )
    elif validation.scores[head] >= 100:
        texts.append(f"the WER of {head} is {validation.scores[head]:.0f} % after the warm-up: check the glosses, the clean-up rules and optim.lr")
    return texts

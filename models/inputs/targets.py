"""What a batch is to be answered by: gloss sentences, or classes of isolated signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from models.batch import Batch
from models.class_map import ClassMap
from models.inputs.clip import Clip
from models.vocabulary import Vocabulary


def with_sentences(batch: Batch, clips: Sequence[Clip], vocabulary: Vocabulary) -> Batch:
    """`batch` with the gloss ids of its clips (B, L), padded with the vocabulary's pad id, and their counts (B,); an unknown gloss is `<unk>`."""
    rows = [vocabulary.encode(clip.glosses or ()) for clip in clips]
    targets = torch.full((len(rows), max(1, *(len(row) for row in rows))), vocabulary.pad_id)
    for target, row in zip(targets, rows, strict=True):
        target[: len(row)] = torch.tensor(row, dtype=torch.long)
    return replace(batch, targets=targets, target_lengths=torch.tensor([len(row) for row in rows]))


def with_classes(batch: Batch, clips: Sequence[Clip], classes: ClassMap) -> Batch:
    """`batch` with the class of each clip's sign, (B,). Raises VocabularyError for a label that `classes` lacks."""
    return replace(batch, labels=torch.tensor([classes.encode(clip.label or "") for clip in clips]))

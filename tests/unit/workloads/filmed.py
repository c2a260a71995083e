"""Clips of pictures in memory, and the training loop on them: no shards, no files, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.vocabulary import SPECIALS, Vocabulary
from workloads.corpora.synthetic.corpus import generate
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.planning import plan
from workloads.corpora.synthetic.rendering import render
from workloads.recipe import Recipe
from workloads.training.batches import ClipSource
from workloads.training.loop import Outcome, Setting, run_training
from workloads.training.session import ClipsOf
from workloads.training.tasks import SentenceTask


def filmed(options: SyntheticOptions, split: str, *, side: int) -> list[Clip]:
    """The rendered clips of a split, pictures of `side` × `side` and keypoints of the options' frame."""
    clips = []
    for sentence in plan(options):
        if sentence.split == split:
            recording = generate(options, sentence)
            assert recording.keypoints is not None
            clips.append(
                Clip(
                    name=recording.name,
                    keypoints=recording.keypoints,
                    frames=Pictures(array=render(options, sentence, height=side, width=side)),
                    frame_size=(options.width, options.height),
                    glosses=recording.glosses,
                    signer=recording.signer,
                    fps=recording.fps,
                )
            )
    return clips


def vocabulary_of(clips: Sequence[Clip]) -> Vocabulary:
    return Vocabulary(entries=(*SPECIALS, *sorted({gloss for clip in clips for gloss in clip.glosses or ()})))


@dataclass
class MemorySession:
    """The clips of a run in memory."""

    train: Sequence[Clip]
    dev: Sequence[Clip]
    rank: int = 0
    world_size: int = 1
    device: str = "cpu"

    def training_clips(self) -> ClipSource:
        return ClipsOf(lambda: iter(self.train), len(self.train))

    def validation_clips(self) -> list[Clip]:
        return list(self.dev)

    def report(self, metrics: dict[str, float | str]) -> None:
        pass


def run_filmed(recipe: Recipe, folder: Path, train: Sequence[Clip], dev: Sequence[Clip]) -> Outcome:
    """The training loop on these clips."""
    from cluster.deepspeed_engine import single_process_group

    folder.mkdir(parents=True, exist_ok=True)
    task = SentenceTask(corpus="synthetic", vocabulary=vocabulary_of(train), references={clip.name: clip.glosses or () for clip in dev})
    with single_process_group():
        return run_training(recipe, Setting(folder=folder, task=task), MemorySession(train, dev))


def blank_keypoints(num_frames: int) -> np.ndarray:
    """Of a clip that has pictures only."""
    return np.zeros((num_frames, 0, 3), dtype=np.float32)

"""Clips of pictures in memory, and the training loop on them: no shards, no files, no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.translation.options import TranslationDecodingOptions
from models.translation.pruning import prune, read_full
from models.translation.small import save_small_mbart
from models.vocabulary import SPECIALS, Vocabulary
from tests.unit.workloads.tiny_runs import TINY_MBART
from workloads.corpora.synthetic.corpus import generate
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.planning import plan
from workloads.corpora.synthetic.rendering import render
from workloads.part_runners import RunParts
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training.batches import ClipSource
from workloads.training.loop import Outcome, Setting, run_training
from workloads.training.session import ClipsOf
from workloads.training.tasks import SentenceTask, Task
from workloads.training.translation_task import TranslationTask
from workloads.training.translator_start import tokens_of

CORPUS = {  # generated, of 32 × 40 pictures
    "glosses": 6,
    "num_train": 6,
    "num_dev": 3,
    "num_test": 2,
    "num_signer_independent": 0,
    "num_signers": 2,
    "min_glosses": 1,
    "max_glosses": 3,
    "fps": 10,
    "width": 32,
    "height": 40,
}
_VAC = (
    "inputs={size: 32, crop: 32, least_frames: 8, most_frames: 12}",
    "network={frame_size: 32, hidden_size: 16, width: 16}",
)
TOY: dict[str, tuple[str, ...]] = {  # overrides that make a recipe of a system small
    "corrnet": _VAC,
    "mstfnet": (*_VAC, "network.depth=18", "network.level_size=16"),
    "slowfastsign": (*_VAC, "network.depth=50"),
}
_STREAMS = "inputs={side: 32, video_size: [32, 32], map_size: [32, 32], sigma: 3, parts: [pose], max_frames: 12}"
_TRUNK, _MAPS, _HEAD = "{width: 0.0625, frozen_blocks: 0}", "{width: 0.0625, frozen_blocks: 0, in_channels: 11}", "{hidden_size: 16, ff_size: 16}"


def toy(recipe: Recipe) -> tuple[str, ...]:
    """Overrides that make a recipe small enough for a test."""
    if recipe.system == "twostream_slr":
        return (_STREAMS, f"network={{rgb: {_TRUNK}, keypoint: {_MAPS}, head: {_HEAD}}}", *SHORT)
    if recipe.system == "singlestream_slr":
        stream = recipe.network.model_dump()["stream"]
        trunk = _TRUNK if stream == "rgb" else _MAPS
        return (_STREAMS, f"inputs.stream={stream}", f"network={{stream: {stream}, trunk: {trunk}, head: {_HEAD}}}", *SHORT)
    if recipe.system in TRANSLATING:
        streams = f"rgb: {_TRUNK}, keypoint: {_MAPS}" if recipe.system == "twostream_slt" else f"trunk: {_TRUNK}"
        texts = ("decoding.text.max_length=12", "validation.text_beam_width=2")
        return (_STREAMS, "inputs.centre_crop=null", "inputs.augment=false", f"network.recogniser={{{streams}, head: {_HEAD}}}", *texts, *SHORT)
    return (*TOY[recipe.system], *SHORT)


TRANSLATING = ("singlestream_slt", "twostream_slt")  # systems that read pictures and answer texts
SHORT = ("init={}", "data.synthetic=null", "train.epochs=1", "train.batch_size=2", "train.num_workers=0", "train.gpus_per_worker=0", "train.precision=fp32")


def write_filmed_shards(folder: Path, run_parts: RunParts, **options: int) -> ShardSet:
    """Shards of `CORPUS`; `rgb=1` for its pictures."""
    settings = {key: str(value) for key, value in {**CORPUS, **options}.items()}
    return preprocess(PreprocessOptions(corpus="synthetic", out=folder, settings=settings), run_parts).shards


def coloured_clips(sentences: Sequence[tuple[str, ...]], *, side: int, num_frames: int = 12) -> list[Clip]:
    """A colour for each gloss, which is a capital letter; 133 points anywhere."""
    colours = np.random.default_rng(1).integers(0, 256, (26, 3), dtype=np.uint8)
    made = []
    for number, sentence in enumerate(sentences):
        shown = [colours[ord(sentence[frame * len(sentence) // num_frames]) - ord("A")] for frame in range(num_frames)]
        pictures = np.broadcast_to(np.stack(shown)[:, None, None], (num_frames, side, side, 3)).copy()
        points = np.random.default_rng(number).uniform(0, side, (num_frames, 133, 3)).astype(np.float32)
        made.append(Clip(name=f"clip{number}", keypoints=points, frames=Pictures(array=pictures), frame_size=(side, side), glosses=sentence))
    return made


def with_texts(clips: Sequence[Clip], texts: Sequence[str]) -> list[Clip]:
    """The clips, each with a spoken sentence."""
    return [replace(clip, text=text) for clip, text in zip(clips, texts, strict=True)]


def write_language(folder: Path, clips: Sequence[Clip]) -> Path:
    """A small mBART that is pruned to the clips' texts and glosses."""
    texts = [clip.text or "" for clip in clips]
    save_small_mbart(folder / "full", texts, TINY_MBART, num_pieces=60, seed=1)
    glosses = [gloss for clip in clips for gloss in clip.glosses or ()]
    prune(read_full(folder / "full"), texts=texts, glosses=glosses, language="de_DE", out=folder / "language")
    return folder / "language"


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

    def training_clips(self, share: int, shares: int) -> ClipSource:
        return ClipsOf(lambda: iter(self.train), len(self.train))

    def validation_clips(self) -> list[Clip]:
        return list(self.dev)

    def report(self, metrics: dict[str, float | str]) -> None:
        pass

    def notice(self) -> float | None:
        return None


class Signed(Protocol):
    """A clip, or its row in an index."""

    @property
    def glosses(self) -> Sequence[str] | None: ...


def majority_error(train: Sequence[Signed], dev: Sequence[Signed]) -> float:
    """WER in % of the likeliest gloss as the answer to every clip."""
    [(gloss, _)] = Counter(gloss for clip in train for gloss in clip.glosses or ()).most_common(1)
    return 100 * sum(len(clip.glosses or ()) - (gloss in (clip.glosses or ())) for clip in dev) / sum(len(clip.glosses or ()) for clip in dev)


def task_of(recipe: Recipe, train: Sequence[Clip], dev: Sequence[Clip]) -> Task:
    """What the run is about: glosses, and texts where the system translates."""
    glosses = SentenceTask(corpus="synthetic", vocabulary=vocabulary_of(train), references={clip.name: clip.glosses or () for clip in dev})
    if recipe.system not in TRANSLATING:
        return glosses
    assert isinstance(recipe.decoding, TranslationDecodingOptions)
    return TranslationTask(
        corpus="synthetic",
        vocabulary=glosses.vocabulary,
        sentences=glosses,
        tokens=tokens_of(recipe),
        texts={clip.name: clip.text or "" for clip in dev},
        generation=recipe.decoding.text.model_copy(update={"n_best": 1}),
    )


def run_filmed(recipe: Recipe, folder: Path, train: Sequence[Clip], dev: Sequence[Clip]) -> Outcome:
    """The training loop on these clips."""
    from cluster.deepspeed_engine import single_process_group

    folder.mkdir(parents=True, exist_ok=True)
    with single_process_group():
        return run_training(recipe, Setting(folder=folder, task=task_of(recipe, train, dev)), MemorySession(train, dev))

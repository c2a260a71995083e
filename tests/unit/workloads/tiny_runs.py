"""A tiny corpus as shards, and recipes of runs on it that take seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from models.translation.config import MbartOptions
from models.translation.small import save_small_mbart
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.prune_mbart import prune_mbart
from workloads.recipe import Recipe, load_recipe
from workloads.shards import CORPUS_FILE, ShardSet
from workloads.training.checkpoints import CHECKPOINTS, WEIGHTS, checkpoints
from workloads.training.events import EVENTS, read_events
from workloads.training.loop import Outcome, Setting
from workloads.training.preflight import task_of
from workloads.training.run import new_run
from workloads.training.translator_start import completed
from workloads.training.workers import train_in_process

CORPUS = {
    "glosses": 6,
    "num_train": 26,
    "num_dev": 5,
    "num_test": 2,
    "num_signer_independent": 0,
    "num_signers": 2,
    "min_glosses": 1,
    "max_glosses": 4,
    "fps": 10,
}
NETWORK = "network={blocks: [[4, 4, 2, 3, 2], [4, 8, 2, 3, 2]], num_subsets: 2, head: {hidden_size: 16, ff_size: 16}}"


def write_tiny_shards(folder: Path) -> Path:
    """26 training and 5 dev clips of about 30 frames and 2 to 3 of 6 glosses."""
    preprocess(PreprocessOptions(corpus="synthetic", out=folder, settings={key: str(value) for key, value in CORPUS.items()}), in_this_process)
    return folder


def tiny_recipe(shards: Path, *overrides: str, recipe: str = "mska_slr_small") -> Recipe:
    """Two epochs of six steps of four clips, in this process."""
    short = ("train.epochs=2", "train.batch_size=4", "train.num_workers=0", "validation.warmup_epochs=5", "tracking.register_as=null")
    return load_recipe(recipe, [NETWORK, f"data.shards={shards}", *short, *overrides])


def started(shards: Path, root: Path, *overrides: str) -> tuple[Recipe, Path]:
    """A run that is to be trained, with its folder."""
    return new_run(tiny_recipe(shards, f"run.root={root}", *overrides))


def setting_of(recipe: Recipe, folder: Path) -> Setting:
    shards = ShardSet.open(Path(recipe.data.shards))
    return Setting(folder=folder, task=task_of(recipe, shards))


def run_loop(recipe: Recipe, folder: Path) -> Outcome:
    """The training loop alone: no tracking, no bundle, nothing shown."""
    folder.mkdir(parents=True, exist_ok=True)
    return train_in_process(recipe, setting_of(recipe, folder), ShardSet.open(Path(recipe.data.shards)))


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a run's newest checkpoint."""
    weights: dict[str, torch.Tensor] = load_file(checkpoints(folder / CHECKPOINTS)[0] / WEIGHTS)
    return weights


def assert_same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def messages(folder: Path) -> list[str]:
    return [event["text"] for event in read_events(folder / EVENTS) if event["kind"] == "message"]


def altered_shards(shards: Path, out: Path, alter: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of shards with the training rows changed, as another program could have written them."""
    corpus = json.loads((shards / CORPUS_FILE).read_text(encoding="utf-8"))
    for name, entry in corpus["files"].items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(shards / name)
        rows = [alter(row) for row in table.to_pylist()] if name.startswith("train/") else table.to_pylist()
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), out / name, row_group_size=8)
        entry["bytes"] = (out / name).stat().st_size
    (out / CORPUS_FILE).write_text(json.dumps(corpus), encoding="utf-8")
    return out


TINY_MBART = MbartOptions(
    d_model=16,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    max_position_embeddings=64,
)


def write_tiny_language(shards: Path, folder: Path) -> Path:
    """A small mBART of the shards' texts, pruned to them."""
    found = ShardSet.open(shards)
    save_small_mbart(folder / "full", [row.text for row in found.index("train") if row.text], TINY_MBART, num_pieces=80, seed=1)
    prune_mbart(folder / "full", [found], language="de_DE", out=folder / "language")
    return folder / "language"


def tiny_translating_recipe(shards: Path, language: Path, *overrides: str, recipe: str) -> Recipe:
    """One epoch of six steps of four clips that starts from a small language model, in this process."""
    network = NETWORK.replace("network=", "network.recogniser=")
    short = (
        "train.batch_size=4",
        "train.num_workers=0",
        "validation.text_beam_width=2",
        "tracking.register_as=null",
        "samples=0",
        "decoding.text.max_length=12",
    )
    system = load_recipe(recipe).system
    start = (f"data.shards={shards}", "data.synthetic=null", f"init.translator={language}", "optim.accumulation=1")
    return completed(load_recipe(recipe, [*([] if system == "g2t" else [network]), *start, *short, *overrides]))


SIGN_CORPUS = {
    "isolated": 1,
    "glosses": 5,
    "tokens_train": 4,
    "tokens_dev": 2,
    "tokens_test": 1,
    "tokens_signer_independent": 0,
    "num_signers": 2,
    "fps": 10,
}


def write_tiny_sign_shards(folder: Path) -> Path:
    """20 training and 10 dev clips of 5 isolated signs."""
    preprocess(PreprocessOptions(corpus="synthetic", out=folder, settings={key: str(value) for key, value in SIGN_CORPUS.items()}), in_this_process)
    return folder


def tiny_sign_recipe(shards: Path, *overrides: str, recipe: str = "demo_isolated") -> Recipe:
    """Two streams, two epochs of five steps of four clips, in this process."""
    small = ("network={width: 4, depth: 2, num_subsets: 2, drop_blocks: 1, drop_frames: 3}", "inputs={window: 8, source_frames: null}", "data.synthetic=null")
    members = "ensemble={members: {joint: {inputs.stream: joint}, bone: {inputs.stream: bone}}, weights: {joint: 1.5}}"
    short = ("train.epochs=2", "train.batch_size=4", "train.num_workers=0", "validation.every_epochs=1", "tracking.register_as=null", "samples=0")
    return load_recipe(recipe, [*small, members, f"data.shards={shards}", *short, *overrides])

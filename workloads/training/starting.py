"""The network that a training begins with: built, filled from what the recipe names, its norms shared by the workers, its activations kept or not."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cluster.storage import is_uri
from models.bundle import Bundle, load_bundle
from models.class_map import ClassMap
from models.errors import CheckpointError, RecipeError, SignrayError
from models.recomputation import recompute
from models.sync_norm import synchronise
from models.system import BundleStart, FileStart, TranslatorStart
from models.systems import SYSTEMS
from models.vocabulary import Vocabulary
from workloads.recipe import Recipe, starts_of
from workloads.training.faults import gather
from workloads.training.start_paths import start_path
from workloads.training.translator_start import fill_translator


def started_network(recipe: Recipe, classes: Vocabulary | ClassMap, *, world_size: int, resumed: bool) -> tuple[nn.Module, list[str]]:
    """The network, and what is to be told of how it begins. resumed: a checkpoint will fill it anyway.

    Every rank must call it. Raises CheckpointError, on every rank, for what can't be begun from.
    """
    system = SYSTEMS[recipe.system]
    network = system.build(recipe.network, len(classes))
    told = [] if resumed else _filled(network, recipe, classes)
    if recipe.train.sync_batch_norm and world_size > 1:
        told.append(f"{synchronise(network)} batch norms count the clips of all {world_size} workers")
    if recipe.train.recompute:
        told.append(f"the activations of {recompute(network, system.recomputed)} blocks are computed again in the backward pass")
    return network, told


def _filled(network: nn.Module, recipe: Recipe, classes: Vocabulary | ClassMap) -> list[str]:
    told, problem = [], None
    try:
        for name, path in recipe.init.items():
            start = starts_of(recipe.system)[name]
            match start:
                case FileStart():
                    remark = start.fill(network, start_path(path))
                case BundleStart():
                    remark = _from_bundle(network, start, start_path(path), classes)
                case TranslatorStart():
                    remark = fill_translator(network, start_path(path), classes)
            told.append(f"init.{name}: {path}{f': {remark}' if remark else ''}")
    except SignrayError as error:
        problem = f"init.{name}: {error}"
    # A file that one host lacks would leave the other ranks waiting for it for ever.
    found = next((each for each in gather(problem) if each), None)
    if found:
        raise CheckpointError(found)
    return told


def _from_bundle(network: nn.Module, start: BundleStart, path: Path, classes: Vocabulary | ClassMap) -> str:
    bundle = start_bundle(start, path)
    if bundle.classes != classes:
        raise CheckpointError(f"{path}: its {len(bundle.classes)} classes aren't the {len(classes)} of these shards: train both on the same corpus")
    try:
        start.fill(network, bundle.network())
    except (RuntimeError, ValueError) as error:  # torch names every entry that doesn't fit
        raise CheckpointError(f"{path}: doesn't fit this network ({' '.join(str(error).split())[:200]})") from None
    return f"weights {bundle.checksum[:12]}"


def start_bundle(start: BundleStart, path: Path) -> Bundle:
    """The bundle to begin from. Raises BundleError where it can't be read, CheckpointError where it is of another system."""
    bundle = load_bundle(path)
    if bundle.system != start.system:
        raise CheckpointError(f"{path}: a bundle of {bundle.system}, and one of {start.system} is needed")
    return bundle


def check_starts(recipe: Recipe) -> None:
    """Raises RecipeError, of a store CheckpointError, where something to begin from isn't there; what is in it is seen when the network is filled."""
    starts = starts_of(recipe.system)
    for name, path in recipe.init.items():
        if is_uri(path):
            start_path(path)
            continue
        if isinstance(starts[name], FileStart) and not Path(path).is_file():
            raise RecipeError(f"init.{name}: {path}: no such file; it is not downloaded, see the head of the recipe")
        if isinstance(starts[name], BundleStart) and not Path(path).is_dir():
            raise RecipeError(f"init.{name}: {path}: no such folder: a bundle that a training wrote is needed")
        if isinstance(starts[name], TranslatorStart) and not Path(path).is_dir():
            raise RecipeError(f"init.{name}: {path}: no such folder: prune an mBART into it (workloads/prune_mbart.py), or name a bundle that translates")

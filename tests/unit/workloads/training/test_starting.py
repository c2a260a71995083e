"""What a training begins with: files, bundles, shared norms, recomputed activations; and what is refused before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.errors import CheckpointError, RecipeError
from tests.unit.tiny import OPTIONS, VOCABULARY, save_tiny_bundle, tiny_network
from tests.unit.workloads.filmed import SHORT, TOY
from workloads.recipe import Recipe, load_recipe
from workloads.training.starting import check_starts, started_network


def corrnet(*overrides: str) -> Recipe:
    return load_recipe("corrnet_phoenix2014", [*TOY["corrnet"], *SHORT, *overrides])


def mska(bundle: Path) -> Recipe:
    blocks = [list(block) for block in OPTIONS.blocks]
    network = f"network={{blocks: {blocks}, num_subsets: 2, head: {{hidden_size: 8, ff_size: 16}}}}"
    return load_recipe("mska_slr_small", [network, f"init.bundle={bundle}"])


@pytest.mark.parametrize(
    ("recipe", "overrides", "text"),
    [
        ("corrnet_phoenix2014", ["init.bakbone=x"], "init.bakbone is nothing that corrnet begins with (did you mean 'backbone'?); there are: backbone, bundle"),
        ("corrnet_phoenix2014", ["network.frame_size=192"], "inputs.crop is 224, but network.frame_size is 192: the network sees exactly what is cropped"),
        ("mska_slr_small", ["train.recompute=true"], "train.recompute: mska_slr has no blocks whose activations are worth computing again"),
        ("mska_slr_small", ["train.sync_batch_norm=true"], "train.sync_batch_norm: the norms of mska_slr count each worker's own clips; leave it off"),
        ("corrnet_phoenix2014", ["losses.weights.ctc_level1=1"], "losses.weights.ctc_level1 is no loss term"),
    ],
)
def test_what_can_t_be_is_refused_in_one_line(recipe: str, overrides: list[str], text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_isn_t_there_is_refused_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"init\.backbone: .*none\.pth: no such file; it is not downloaded, see the head of the recipe"):
        check_starts(corrnet(f"init.backbone={tmp_path / 'none.pth'}"))
    with pytest.raises(RecipeError, match=r"init\.bundle: .*none: no such folder: a bundle that a training wrote is needed"):
        check_starts(corrnet(f"init.bundle={tmp_path / 'none'}"))


def test_a_training_begins_with_a_bundle(tmp_path: Path) -> None:
    save_tiny_bundle(tmp_path / "bundle", tiny_network(seed=5))
    recipe = mska(tmp_path / "bundle")
    check_starts(recipe)
    network, told = started_network(recipe, VOCABULARY, world_size=1, resumed=False)
    for name, value in tiny_network(seed=5).state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert told[0].startswith(f"init.bundle: {tmp_path / 'bundle'}: weights ")
    assert started_network(recipe, VOCABULARY, world_size=1, resumed=True)[1] == []  # the checkpoint has them already


def test_a_bundle_of_another_system_or_vocabulary_is_refused(tmp_path: Path) -> None:
    save_tiny_bundle(tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="a bundle of mska_slr, and one of corrnet is needed"):
        started_network(corrnet(f"init.bundle={tmp_path / 'bundle'}"), VOCABULARY, world_size=1, resumed=False)
    other = type(VOCABULARY)(entries=(*VOCABULARY.entries, "WIND"))
    with pytest.raises(CheckpointError, match="its 8 classes aren't the 9 of these shards: train both on the same corpus"):
        started_network(mska(tmp_path / "bundle"), other, world_size=1, resumed=False)
    wider = mska(tmp_path / "bundle").model_copy(update={"network": OPTIONS.model_copy(update={"head": OPTIONS.head.model_copy(update={"hidden_size": 12})})})
    with pytest.raises(CheckpointError, match=r"doesn't fit this network .*size mismatch"):
        started_network(wider, VOCABULARY, world_size=1, resumed=False)


def test_norms_and_activations_are_told_of() -> None:
    recipe = corrnet("train.recompute=true", "train.sync_batch_norm=true")
    _, told = started_network(recipe, VOCABULARY, world_size=2, resumed=False)
    assert told == [
        "22 batch norms count the clips of all 2 workers",
        "the activations of 11 blocks are computed again in the backward pass",
    ]
    assert started_network(corrnet("train.sync_batch_norm=true"), VOCABULARY, world_size=1, resumed=False)[1] == []

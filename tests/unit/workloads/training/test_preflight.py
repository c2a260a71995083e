"""What is refused or told before a run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import RecipeError, ShardError, TrainingError
from tests.unit.workloads.tiny_runs import altered_shards, tiny_recipe
from workloads.recipe import load_recipe
from workloads.shards import ShardSet
from workloads.training.preflight import generate_shards, preflight


def changed_clip(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**row, **changes} if row["name"].endswith("00007") else row


def test_clips_without_glosses_are_refused(tiny_shards: Path, tmp_path: Path) -> None:
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: changed_clip(row, gloss=None))
    with pytest.raises(TrainingError, match=r"^1 training clips have no glosses: synthetic_train_00007: mska_slr learns from gloss sentences; leave them out"):
        preflight(tiny_recipe(shards), ShardSet.open(shards))


def test_glosses_that_a_clip_has_no_steps_for_are_told(tiny_shards: Path, tmp_path: Path) -> None:
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: changed_clip(row, gloss=["NORD"] * 20))
    [text] = preflight(tiny_recipe(shards), ShardSet.open(shards))
    assert text == "1 training clips have more glosses than time steps; CTC counts nothing for them: synthetic_train_00007"
    assert preflight(tiny_recipe(tiny_shards), ShardSet.open(tiny_shards)) == []


def test_another_number_of_keypoints_is_refused(tiny_shards: Path) -> None:
    recipe = tiny_recipe(tiny_shards, "network={num_keypoints: 75, left: [1], right: [2], face: [3], body: [1, 2, 3]}", "inputs.num_keypoints=75")
    with pytest.raises(RecipeError, match=r"clips of 133 keypoints, mska_slr is set to 75: preprocess with --keypoints 75"):
        preflight(recipe, ShardSet.open(tiny_shards))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_unknown_split_is_refused(tiny_shards: Path, split: str) -> None:
    with pytest.raises(ShardError, match="has no split 'tset': its splits are train, dev, test"):
        preflight(tiny_recipe(tiny_shards, f"data.{split}_split=tset"), ShardSet.open(tiny_shards))


def test_generated_shards_of_other_options_ask_for_another_folder(tmp_path: Path) -> None:
    small = "data.synthetic={num_train: 1, num_dev: 1, num_test: 0, num_signer_independent: 0, num_signers: 1, fps: 5}"
    recipe = load_recipe("demo", [f"data.shards={tmp_path / 'shards'}", small])
    generate_shards(recipe)
    with pytest.raises(ShardError, match=r"made with other values of source, settings: remove the folder, or choose another data.shards$"):
        generate_shards(load_recipe("demo", [f"data.shards={tmp_path / 'shards'}", small, "data.synthetic.seed=9"]))

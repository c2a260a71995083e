"""Pictures beside keypoints on a real Ray cluster: written as shards by tasks of Ray Data, streamed by it into a Ray Train worker.

Takes a minute: some tasks, and one start of Ray Train.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorpusError
from tests.integration.head_node import HeadNode
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from tests.unit.workloads.filmed import toy
from tests.unit.workloads.tiny_runs import assert_same_weights, last_weights, run_loop
from workloads.part_runners import in_this_process, with_ray
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.recipe import load_recipe
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, read_events
from workloads.training.run import new_run, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CORPUS = "rgb=1 glosses=6 num_train=6 num_dev=3 num_test=2 num_signer_independent=0 num_signers=2 min_glosses=1 max_glosses=3 fps=10 width=32 height=40"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def shards(head_node: HeadNode, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Of generated pictures and keypoints, written on the cluster."""
    folder = tmp_path_factory.mktemp("filmed")
    options = PreprocessOptions(corpus="synthetic", out=folder / "there", settings=dict(entry.split("=") for entry in CORPUS.split()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", head_node.address)
        return preprocess(options, with_ray).shards


def test_ray_data_writes_the_bytes_that_this_process_writes(shards: ShardSet, tmp_path: Path) -> None:
    assert isinstance(shards.path, Path)
    settings = dict(entry.split("=") for entry in CORPUS.split())
    here = preprocess(PreprocessOptions(corpus="synthetic", out=tmp_path / "here", settings=settings), in_this_process).shards
    assert isinstance(here.path, Path)
    assert len(files_of(here.path)) == 3
    assert files_of(shards.path) == files_of(here.path)
    assert shards.corpus.files == here.corpus.files


def test_what_a_task_refuses_is_said_in_our_words(ray_cluster: HeadNode, tmp_path: Path) -> None:
    write_npz(tmp_path / "still.npz", keypoints(16, 0) * float("nan"))
    write_manifest(tmp_path / "clips.csv", [{"name": "still", "path": "still.npz", "split": "train", "gloss": "HAUS"}])
    with pytest.raises(CorpusError, match="none of 1 recordings can be used, the first because of"):
        preprocess(PreprocessOptions(corpus="manifest", source=tmp_path / "clips.csv", out=tmp_path / "shards"), with_ray)


def test_two_streams_learn_on_ray_as_in_this_process(ray_cluster: HeadNode, shards: ShardSet, tmp_path: Path) -> None:
    placed = (f"data.shards={shards.path}", f"run.root={tmp_path}", "run.name=there", "tracking.register_as=null", "validation.every_epochs=1")
    recipe = load_recipe("demo_twostream", [*toy(load_recipe("demo_twostream")), *placed, "samples=1"])
    result = train(*new_run(load_recipe("demo_twostream", [*toy(recipe), *placed, "samples=1", "train.num_workers=1"])))
    assert result.bundle is not None
    assert run_loop(recipe, tmp_path / "here").finished
    assert_same_weights(last_weights(tmp_path / "there"), last_weights(tmp_path / "here"))
    steps = [event for event in read_events(tmp_path / "there" / EVENTS) if event["kind"] == "step"]
    assert {"ctc_rgb", "ctc_keypoint", "ctc_fuse"} <= steps[0]["terms"].keys()

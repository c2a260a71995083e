"""Pictures beside keypoints on a real Ray cluster: written as shards by tasks of Ray Data, streamed by it into a Ray Train worker.

Takes a minute: some tasks, and one start of Ray Train.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorpusError
from tests.integration.head_node import HeadNode
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from tests.unit.workloads.filmed import toy, write_filmed_shards
from tests.unit.workloads.tiny_runs import assert_same_weights, last_weights, run_loop
from workloads.part_runners import in_this_process, with_ray
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.recipe import load_recipe
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, read_events
from workloads.training.run import new_run, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def shards(head_node: HeadNode, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Of generated pictures and keypoints, written on the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", head_node.address)
        return write_filmed_shards(tmp_path_factory.mktemp("filmed") / "there", with_ray, rgb=1)


def test_ray_data_writes_the_bytes_that_this_process_writes(shards: ShardSet, tmp_path: Path) -> None:
    assert isinstance(shards.path, Path)
    here = write_filmed_shards(tmp_path / "here", in_this_process, rgb=1)
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
    placed = (f"data.shards={shards.path}", f"run.root={tmp_path}", "run.name=there", "tracking.register_as=null", "validation.every_epochs=1", "samples=1")
    changes = [*toy(load_recipe("demo_twostream")), *placed]
    result = train(*new_run(load_recipe("demo_twostream", [*changes, "train.num_workers=1"])))
    assert result.bundle is not None
    assert run_loop(load_recipe("demo_twostream", changes), tmp_path / "here").finished
    assert_same_weights(last_weights(tmp_path / "there"), last_weights(tmp_path / "here"))
    steps = [event for event in read_events(tmp_path / "there" / EVENTS) if event["kind"] == "step"]
    assert {"ctc_rgb", "ctc_keypoint", "ctc_fuse"} <= steps[0]["terms"].keys()

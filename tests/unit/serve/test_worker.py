"""The model of the service: groups of similar length, each request by its own options, answers that don't depend on the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.environment import REPOSITORY_ROOT
from models.errors import BundleError
from serve.batching import LONGEST_TO_SHORTEST, similar_lengths
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network


@given(st.lists(st.integers(1, 500), max_size=20))
def test_every_clip_is_in_one_group_of_similar_length(lengths: list[int]) -> None:
    groups = similar_lengths(range(len(lengths)), lambda position: lengths[position])
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert max(lengths[position] for position in group) <= LONGEST_TO_SHORTEST * min(lengths[position] for position in group)


def test_a_mixed_batch_answers_each_request_as_alone(tmp_path: Path) -> None:
    worker = ModelWorker(ServeSettings(bundle=str(save_tiny_bundle(tmp_path / "bundle", tiny_network(scale=30)).folder), device="cpu"))
    choices = (Choice(), Choice(head="body"), Choice(head="nose"), Choice(beam_width=1, heads=True))
    tasks = [
        Task(clip=tiny_clip(f"clip{number}", num_frames=frames, seed=number), choice=choices[number % 4])
        for number, frames in enumerate((24, 25, 9, 24, 26, 80, 24, 2))
    ]
    together = worker.answer(tasks)
    assert [reply.code for reply in together] == ["", "", "unknown-head", "", "", "", "unknown-head", "unusable-keypoints"]
    assert (together[0].batch_size, together[5].batch_size) == (2, 1)
    for task, reply in zip(tasks, together, strict=True):
        (alone,) = worker.answer([task])
        assert (reply.code, reply.detail) == (alone.code, alone.detail)
        if reply.record is not None:
            assert alone.record is not None
            assert [reply.record[key] for key in ("name", "head", "sentence")] == [alone.record[key] for key in ("name", "head", "sentence")]
            assert reply.record["head"] == (task.choice.head or "ensemble")
            assert ("heads" in reply.record) == task.choice.heads


def test_the_configuration_for_a_cluster_is_valid(tmp_path: Path) -> None:
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
    from ray.serve._private.build_app import build_app
    from ray.serve.schema import ServeDeploySchema

    from serve.app import build

    content = yaml.safe_load((REPOSITORY_ROOT / "serve/config.yaml").read_text(encoding="utf-8"))
    (application,) = ServeDeploySchema.model_validate(content).applications
    assert application.import_path == "serve.app:build"
    ServeSettings.model_validate(application.args)
    given = {**application.args, "bundle": str(save_tiny_bundle(tmp_path / "bundle").folder), "video": True}
    built = build_app(call_user_app_builder_with_args_if_necessary(build, given), name="signray")  # what `serve run` and `serve deploy` make of it
    names = [deployment.name for deployment in built.deployments]
    assert sorted(names) == ["Front", "Model", "Preparation"]
    assert built.ingress_deployment_name == "Front"
    assert {deployment.name for deployment in application.deployments} <= set(names)


def test_the_model_follows_the_alias_and_stays_where_it_cannot(tmp_path: Path) -> None:
    """MLflow's migrations of a fresh store take some seconds."""
    from cluster.registry import set_alias
    from cluster.sender import embedded_uri
    from cluster.tracking import MlflowTracker

    store, clip = tmp_path / "store", tiny_clip(num_frames=40)
    bundles = [save_tiny_bundle(tmp_path / f"bundle{seed}", tiny_network(seed, scale=30)) for seed in range(2)]
    for number, bundle in enumerate(bundles, 1):
        tracker = MlflowTracker(tmp_path / f"run{number}", experiment="signs", store=store)
        assert tracker.register(bundle.folder, name="tiny") == number
        tracker.close()
    set_alias("tiny", "champion", "1", tracking_uri=embedded_uri(store))
    worker = ModelWorker(ServeSettings(bundle="models:/tiny@champion", store=store, device="cpu"))
    assert not worker.follow()
    (before,) = worker.answer([Task(clip=clip, choice=Choice())])
    assert (before.model["checksum"], before.model["version"], before.model["name"]) == (bundles[0].checksum, "1", "models:/tiny@champion")
    set_alias("tiny", "champion", "2", tracking_uri=embedded_uri(store))
    assert worker.follow()
    (after,) = worker.answer([Task(clip=clip, choice=Choice())])
    assert (after.model["checksum"], after.model["version"]) == (bundles[1].checksum, "2")
    set_alias("tiny", "champion", "1", tracking_uri=embedded_uri(store))
    for weights in store.rglob("weights.safetensors"):
        weights.write_bytes(b"damaged")
    with pytest.raises(BundleError):
        worker.follow()
    assert worker.answer([Task(clip=clip, choice=Choice())])[0].record == after.record

"""From generated pictures in shards to a bundle that answers: training, evaluation, a damaged picture, posteriors. Both modalities, in process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cluster.tracking import NullTracker
from models.answering import Unanswered
from models.bundle import Bundle, load_bundle
from models.corrnet import published as corrnet_published
from models.errors import RecipeError
from models.inputs.frames import EncodedPictures
from models.mstfnet import published as mstfnet_published
from models.posteriors import PosteriorReader
from models.recognition import Recognition
from models.slowfastsign import published as slowfastsign_published
from models.systems import SYSTEMS
from models.twostream import published as twostream_published
from models.vocabulary import Vocabulary
from tests.unit.workloads.filmed import SHORT, TOY, toy, write_filmed_shards
from tests.unit.workloads.tiny_runs import altered_shards, messages
from workloads.evaluate import evaluate, main
from workloads.evaluation_runners import in_this_process
from workloads.part_runners import in_this_process as write_here
from workloads.recipe import Recipe, load_recipe
from workloads.scoring import Evaluation
from workloads.shards import ShardSet
from workloads.training import probe, tracked
from workloads.training.dry_run import dry_run
from workloads.training.preflight import preflight, task_of
from workloads.training.run import new_run, train

# DeepSpeed's ZeRO uses what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning"),
]


@pytest.fixture(scope="module")
def filmed_shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return write_filmed_shards(tmp_path_factory.mktemp("filmed") / "shards", write_here, rgb=1)


class Untracked(NullTracker):
    def __init__(self, *_: Any, **__: Any) -> None: ...


def trained(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(tracked, "MlflowTracker", Untracked)
    recipe, folder = new_run(recipe)
    bundle = train(recipe, folder).bundle
    assert isinstance(bundle, Bundle)
    return load_bundle(bundle.folder)


def test_two_streams_from_shards_to_answers(filmed_shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = (f"data.shards={filmed_shards.path}", f"run.root={tmp_path}", "tracking.register_as=null")
    recipe = load_recipe("demo_twostream", [*toy(load_recipe("demo_twostream")), *placed, "samples=1"])
    bundle = trained(recipe, monkeypatch)
    assert (bundle.system, bundle.inputs, bundle.modalities) == ("twostream_slr", recipe.inputs, ("frames", "keypoints"))
    evaluation = evaluate(bundle, filmed_shards, "test", run_pieces=in_this_process, out=tmp_path / "out")
    assert isinstance(evaluation, Evaluation)
    assert [*evaluation.wer] == ["ensemble", "rgb", "keypoint", "fuse"]
    assert evaluation.unscored == ()
    clips = list(filmed_shards.rows("dev", modalities=bundle.modalities))
    assert isinstance(clips[1].frames, EncodedPictures)
    torn = [b"torn" if place == clips[1].num_frames // 2 else picture for place, picture in enumerate(clips[1].frames.pictures)]
    damaged = replace(clips[1], name="damaged", frames=replace(clips[1].frames, pictures=torn))
    outcomes = list(bundle.recogniser().attempt([clips[0], damaged, clips[2]], batch_size=3))
    assert [type(outcome) for outcome in outcomes] == [Recognition, Unanswered, Recognition]
    assert isinstance(outcomes[1], Unanswered)
    assert outcomes[1].reason.startswith("frame ")
    assert "can't be decoded" in outcomes[1].reason
    steps = len(bundle.inputs.evaluation_frames(clips[0].num_frames)) // 4
    reader = PosteriorReader(system=SYSTEMS[bundle.system], network=bundle.network(), inputs=bundle.inputs, heads=("ensemble", "fuse"))
    [read] = reader.recognise(clips[:1])
    assert {head: logits.shape for head, logits in read.logits.items()} == dict.fromkeys(("ensemble", "fuse"), (steps, len(bundle.classes)))


def test_streams_are_trained_each_first_then_jointly(filmed_shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three stages of the published recipes, each from the bundles that the ones before it wrote."""
    placed = (f"data.shards={filmed_shards.path}", f"run.root={tmp_path}", "tracking.register_as=null", "samples=1")
    stages = {}
    for stream in ("rgb", "keypoint"):
        name = f"singlestream_{stream}_phoenix2014t"
        stages[stream] = trained(load_recipe(name, [*toy(load_recipe(name)), *placed]), monkeypatch)
    starts = "init={" + ", ".join(f"{stream}: {bundle.folder}" for stream, bundle in stages.items()) + "}"
    name = "twostream_slr_phoenix2014t"
    jointly = load_recipe(name, [*toy(load_recipe(name)), *placed, "optim.lr=1e-12", "run.name=joint", starts])
    weights = trained(jointly, monkeypatch).network().state_dict()
    told = messages(tmp_path / "joint")
    for stream, bundle in stages.items():
        assert any(text.startswith(f"init.{stream}: {bundle.folder}: weights ") for text in told)
        learned = {key: value for key, value in bundle.network().named_parameters() if key.startswith("trunk.")}
        assert learned
        for key, value in learned.items():
            torch.testing.assert_close(weights[f"trunks.{stream}.{key.removeprefix('trunk.')}"], value.detach(), rtol=0, atol=1e-7, msg=key)


RELEASES: dict[str, tuple[str, Callable[[Any], dict[str, Tensor]]]] = {  # recipe → what a released file calls its weights, and their names there
    "demo_corrnet": ("model_state_dict", corrnet_published.export),
    "demo_mstfnet": ("model_state_dict", mstfnet_published.export),
    "demo_slowfastsign": ("model_state_dict", slowfastsign_published.export),
    "demo_rgb": ("model_state", twostream_published.export_single),
    "demo_twostream": ("model_state", twostream_published.export_two_stream),
}


@pytest.mark.parametrize("name", RELEASES)
def test_released_checkpoints_are_evaluated(name: str, filmed_shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [*toy(load_recipe(name)), f"data.shards={filmed_shards.path}"]
    recipe = load_recipe(name, changes)
    glosses = sorted({gloss for split in ("train", "dev", "test") for row in filmed_shards.index(split) for gloss in row.glosses or ()})
    np.save(tmp_path / "gloss_dict.npy", {gloss: [place, 1] for place, gloss in enumerate(glosses, 1)})  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = SYSTEMS[recipe.system].build(recipe.network, len(glosses) + 1)
    key, export = RELEASES[name]
    torch.save({"epoch": 1, key: export(network)}, tmp_path / "best.pt")
    released = ["--published", str(tmp_path / "best.pt"), "--vocabulary", str(tmp_path / "gloss_dict.npy"), "--recipe", name]
    place = ["--shards", str(filmed_shards.path), "--in-process", "--out", str(tmp_path / "out"), "--format", "json"]
    main([*released, *(word for change in changes for word in ("--set", change)), *place])
    record = json.loads(capsys.readouterr().out)
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert (record["head"], record["weights"], bundle.classes) == (recipe.decoding.head, bundle.checksum, Vocabulary(entries=("<blank>", *glosses)))
    kept = bundle.network().state_dict()
    for entry, value in network.state_dict().items():
        assert torch.equal(kept[entry], value), entry


def test_glosses_that_pictures_have_no_steps_for_are_told(filmed_shards: ShardSet, tmp_path: Path) -> None:
    """A step is four frames: twice as many glosses as steps are still half as many as frames."""
    [first, *_] = filmed_shards.index("train")
    glosses = list(islice(cycle(filmed_shards.vocabulary.entries[-2:]), first.n_frames // 2))
    shards = ShardSet.open(altered_shards(filmed_shards.path, tmp_path / "shards", lambda row: {**row, "gloss": glosses} if row["name"] == first.name else row))
    for name in ("demo_corrnet", "demo_rgb", "demo_twostream"):
        [text] = preflight(load_recipe(name, [*toy(load_recipe(name)), f"data.shards={shards.path}"]), shards)
        assert text == f"1 training clips have more glosses than time steps; CTC counts nothing for them: {first.name}"


@pytest.mark.parametrize("name", ["demo_rgb", "demo_twostream", "demo_mstfnet"])
def test_dry_runs_know_what_is_computed_again(
    name: str, filmed_shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_S", 0.05)
    recipe = load_recipe(name, [*toy(load_recipe(name)), f"data.shards={filmed_shards.path}", f"run.root={tmp_path}"])
    again = recipe.model_copy(update={"train": recipe.train.model_copy(update={"recompute": True})})
    kept, less = (probe.Probe(each, filmed_shards, task_of(each, filmed_shards), "cpu").measure().activations_per_clip for each in (recipe, again))
    assert 0.1 * kept < less < 0.8 * kept
    dry_run(again)
    assert "per worker" in capsys.readouterr().out


def test_pictures_that_shards_lack_are_told_of_before_a_run(tmp_path: Path) -> None:
    shards = write_filmed_shards(tmp_path / "shards", write_here)
    recipe = load_recipe("demo_corrnet", [*TOY["corrnet"], *SHORT, f"data.shards={shards.path}", f"run.root={tmp_path / 'runs'}"])
    with pytest.raises(RecipeError, match="clips without frames, which corrnet reads: preprocess recordings that have them"):
        new_run(recipe)
    assert not (tmp_path / "runs").exists()

"""Recipes: what the shipped ones say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models.dsta_slr.config import DstaOptions
from models.dsta_slr.inputs import SkeletonInputs
from models.errors import RecipeError
from models.mska.config import PUBLISHED_BLOCKS
from models.systems import SYSTEMS
from tests.unit.workloads.filmed import TRANSLATING, coloured_clips, run_filmed, toy, with_texts, write_language
from tests.unit.workloads.tiny_runs import last_weights, run_loop, tiny_recipe, tiny_sign_recipe, tiny_translating_recipe
from workloads.recipe import load_recipe, parse_recipe
from workloads.recipe_values import recipe_names, recipe_path
from workloads.train import main
from workloads.training.optim import learning_rate
from workloads.training.translator_start import completed

PUBLISHED = ["mska_slr_csl_daily", "mska_slr_phoenix2014", "mska_slr_phoenix2014t"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_comes_back_from_its_own_dump(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.recipe == name
    assert parse_recipe(recipe.dump(), where=name) == recipe
    assert parse_recipe(yaml.safe_load(yaml.safe_dump(recipe.dump())), where=name) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_it_is_and_how_it_is_run(name: str) -> None:
    head = [line for line in recipe_path(name).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"train.py --recipe {name}" in line or f"make {name}" in line for line in head), "the command"
    assert any("Hardware" in line for line in head), "hardware and time"
    assert any("WER" in line or "top-1" in line or "BLEU" in line for line in head), "the score to expect"


@pytest.mark.parametrize("name", recipe_names())
def test_the_printed_recipe_is_a_recipe(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipe", name, "--print-recipe", "--set", "optim.lr=5e-4"]) == 0
    printed = tmp_path / f"{name}.yaml"
    printed.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe(str(printed)) == load_recipe(name, ["optim.lr=5e-4"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_hyper_parameters(name: str) -> None:
    """mska.md, section 7: a snapshot, which changes only with a correction of the specification."""
    recipe = load_recipe(name)
    assert recipe.optim.model_dump() == {
        "name": "adam",
        "lr": 1e-3,
        "betas": (0.9, 0.998),
        "eps": 1e-8,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-3,
        "schedule": "cosine",
        "cosine_epochs": 100,
        "warmup": 0.1,
        "warmup_epochs": 0,
        "milestones": (),
        "decay": 0.1,
        "clipping": 0.0,
        "accumulation": 1,
        "rates": {},
        "frozen": (),
    }
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.precision, recipe.seed) == (100, 8, "fp32", 0)
    assert recipe.network.model_dump()["blocks"] == tuple(PUBLISHED_BLOCKS)
    assert recipe.network.model_dump()["head"]["hidden_size"] == 512
    assert recipe.losses.model_dump() == {"weights": {}, "distillation": True, "distil_padding": True}
    inputs = recipe.inputs.model_dump()
    assert (inputs["max_frames"], inputs["shortest"], inputs["longest"], inputs["rotation_degrees"], inputs["rotation_share"]) == (400, 0.5, 1.5, 15.0, 0.5)
    assert (recipe.data.bucket_batches, recipe.decoding.beam_width) == (1, 5)  # shuffled freely, and the published beam


FILM_SYSTEMS = ("corrnet", "mstfnet", "slowfastsign", "singlestream_slr", "twostream_slr", *TRANSLATING)
FILMED = [name for name in recipe_names() if load_recipe(name).system in FILM_SYSTEMS]


@pytest.mark.parametrize("name", FILMED)
def test_every_recipe_that_reads_pictures_trains_at_toy_widths(name: str, tmp_path: Path) -> None:
    clips = with_texts(coloured_clips([("A",), ("B", "A")], side=32, num_frames=8), ["ein tag", "noch ein tag"])
    recipe = load_recipe(name, toy(load_recipe(name)))
    if recipe.system in TRANSLATING:
        recipe = completed(recipe.model_copy(update={"init": {"translator": str(write_language(tmp_path, clips))}}))
    outcome = run_filmed(recipe, tmp_path, clips, clips)
    assert outcome.finished, outcome.fault


def test_the_published_hyper_parameters_of_the_vac_family() -> None:
    """cslr_common.md, sections 3, 7 and 10; slowfastsign.md, sections 5 and 8; mstfnet.md, section 8."""
    for system, corpus, (lr, milestones, decay, epochs) in (
        ("slowfastsign", "phoenix2014", (1e-4, (40, 60), 0.2, 80)),
        ("slowfastsign", "csl_daily", (5e-5, (40, 60), 0.5, 80)),
        ("mstfnet", "phoenix2014t", (1e-4, (40, 60), 0.2, 80)),
        ("corrnet", "phoenix2014", (1e-4, (20, 35), 0.2, 40)),
        ("corrnet", "csl_daily", (5e-5, (20, 35), 0.5, 40)),
    ):
        recipe = load_recipe(f"{system}_{corpus}")
        optim, inputs = recipe.optim, recipe.inputs.model_dump()
        assert (optim.name, optim.lr, optim.weight_decay, optim.betas, optim.schedule) == ("adam", lr, 1e-4, (0.9, 0.999), "steps")
        assert (optim.milestones, optim.decay, recipe.train.epochs, recipe.train.batch_size) == (milestones, decay, epochs, 2)
        assert (inputs["size"], inputs["crop"], inputs["mirror_probability"], inputs["least_frames"], inputs["most_frames"]) == (256, 224, 0.5, 32, 230)
        assert inputs["rescale"] == (0 if corpus == "csl_daily" else 0.2)
        assert inputs["top_cut"] == (40 if (system, corpus) == ("slowfastsign", "csl_daily") else 0)
        assert recipe.losses.weights["distil_conv"] == 25
        assert recipe.decoding.model_dump()["method"] == "prefix_beam"
        assert recipe.train.sync_batch_norm == (system != "slowfastsign")
    attention = {corpus: load_recipe(f"mstfnet_{corpus}").network.model_dump()["attention"] for corpus in ("phoenix2014", "phoenix2014t", "csl_daily")}
    assert attention == {"phoenix2014": "shared", "phoenix2014t": "per_level", "csl_daily": "per_level"}


@pytest.mark.parametrize(
    ("name", "seed", "crop"),
    [
        ("singlestream_rgb_phoenix2014", 42, None),
        ("singlestream_rgb_phoenix2014t", 42, 224),
        ("singlestream_rgb_csl_daily", 44, 270),
        ("singlestream_keypoint_phoenix2014", 42, None),
        ("singlestream_keypoint_phoenix2014t", 42, None),
        ("singlestream_keypoint_csl_daily", 42, None),
        ("twostream_slr_phoenix2014", 0, None),
        ("twostream_slr_phoenix2014t", 321, None),
        ("twostream_slr_csl_daily", 0, 270),
    ],
)
def test_the_published_hyper_parameters_of_the_streams(name: str, seed: int, crop: int | None) -> None:
    """twostream.md, sections 4 and 11: a snapshot, which changes only with a correction of the specification."""
    recipe = load_recipe(name)
    optim, inputs, network = recipe.optim, recipe.inputs.model_dump(), recipe.network.model_dump()
    assert (optim.name, optim.lr, optim.betas, optim.weight_decay, optim.schedule, optim.cosine_epochs) == ("adam", 1e-3, (0.9, 0.998), 1e-3, "cosine", 40)
    assert (optim.clipping, optim.warmup_epochs, optim.accumulation, optim.rates, optim.frozen) == (0.0, 0, 1, {}, ())
    train = recipe.train
    assert (train.epochs, train.batch_size, train.num_workers, train.sync_batch_norm, train.precision) == (40, 1, 8, True, "fp32")
    assert (recipe.seed, inputs["centre_crop"]) == (seed, crop)
    assert (recipe.validation.beam_width, recipe.decoding.model_dump()["beam_width"]) == (1, 5)
    if "csl" in name:
        assert inputs["video_size"] == (320, 320)
    if "keypoint" in name:
        assert (network["stream"], network["trunk"]["in_channels"], network["trunk"]["frozen_blocks"]) == ("keypoint", 79, 0)
    if "twostream" in name:
        assert train.recompute
        assert recipe.init.keys() == {"rgb", "keypoint"}


@pytest.mark.parametrize(
    ("name", "rates", "seed", "batch", "search"),
    [
        ("singlestream_slt_phoenix2014t", (1e-3, {"mapper": 1e-3, "translator": 1e-5}), 17, 8, (5, 5, 100)),
        ("singlestream_slt_csl_daily", (1e-4, {"translator": 1e-5}), 0, 8, (4, 5, 500)),
        ("twostream_slt_phoenix2014t", (3e-4, {"mapper": 1e-3, "translator": 1e-5}), 0, 64, (5, 5, 100)),
        ("twostream_slt_csl_daily", (1e-4, {"translator": 1e-5}), 0, 64, (4, 5, 500)),
    ],
)
def test_the_published_hyper_parameters_of_translation_from_video(
    name: str, rates: tuple[float, dict[str, float]], seed: int, batch: int, search: tuple[int, int, int]
) -> None:
    """twostream.md, sections 13.4 to 13.6: a snapshot, which changes only with a correction of the specification."""
    recipe = load_recipe(name)
    optim, network, inputs = recipe.optim, recipe.network.model_dump(), recipe.inputs.model_dump()
    assert (optim.name, optim.betas, optim.weight_decay, optim.schedule, optim.cosine_epochs) == ("adam", (0.9, 0.998), 1e-3, "cosine", 40)
    assert ((optim.lr, optim.rates), recipe.seed, recipe.train.epochs) == (rates, seed, 40)
    assert recipe.train.batch_size * recipe.train.num_workers == batch
    kind = ("gloss_probabilities", "embedding") if "csl" in name else ("gloss_feature", "projection")
    assert (network["feature"], network["mapper"], network["translator"]["mbart"]["dropout"]) == (*kind, 0.3)
    assert recipe.losses.model_dump()["label_smoothing"] == 0.2
    text = recipe.decoding.model_dump()["text"]
    assert (recipe.validation.text_beam_width, text["beam_width"], text["max_length"]) == search
    assert text["length_penalty"] == 1.0
    crop = 270 if "csl" in name else 224 if "single" in name else None
    assert (inputs["augment"], inputs["centre_crop"]) == (False, crop)
    if "single" in name:
        assert optim.frozen == ("recogniser.trunk",)
    else:
        assert optim.frozen == ("recogniser.trunks", "recogniser.exchanges")
        assert recipe.ensemble is not None
        heads = {member: recipe.member(member).network.model_dump()["head"] for member in recipe.ensemble.members}
        assert heads == {"joint": "fuse", "video": "rgb", "keypoint": "keypoint"}


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in FILMED])
def test_every_recipe_trains_at_toy_widths(name: str, tiny_shards: Path, tiny_sign_shards: Path, tiny_language: Path, tmp_path: Path) -> None:
    toy = ("train.epochs=1", "train.gpus_per_worker=0", "train.precision=fp32")
    if SYSTEMS[load_recipe(name).system].translates:
        recipe = tiny_translating_recipe(tiny_shards, tiny_language, *toy, recipe=name)
    elif load_recipe(name).system == "dsta_slr":
        recipe = tiny_sign_recipe(tiny_sign_shards, *toy, recipe=name).member("bone")
    else:
        recipe = tiny_recipe(tiny_shards, *toy, recipe=name)
    outcome = run_loop(recipe, tmp_path)
    assert outcome.finished, outcome.fault
    assert last_weights(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "mska_slr_small.yaml: unknown key 'optim.lrr' (did you mean 'lr'?); valid here: accumulation, betas,"),
        ("optm.lr=1", "mska_slr_small.yaml: unknown key 'optm' (did you mean 'optim'?)"),
        ("network.head.hidden=1", "mska_slr_small.yaml: unknown key 'network.head.hidden' (did you mean 'hidden_size'?); valid here: dropout,"),
        ("inputs.frames=1", "mska_slr_small.yaml: unknown key 'inputs.frames' (did you mean 'max_frames'?)"),
        ("train.epochs=many", "mska_slr_small.yaml: train.epochs: input should be a valid integer, unable to parse string as an integer, got 'many'"),
        ("train.epochs=0", "mska_slr_small.yaml: train.epochs: input should be greater than 0, got 0"),
        ("train.keep_checkpoints=1", "train.keep_checkpoints: input should be greater than or equal to 2, got 1"),
        ("train.zero_stage=4", "train.zero_stage: input should be 0, 1, 2 or 3, got 4"),
        ("optim.name=lion", "optim.name: input should be 'adam', 'adamw' or 'sgd', got 'lion'"),
        ("seed=-1", "seed: input should be greater than or equal to 0, got -1"),
        ("run.name=a/b", "run.name: string should match pattern"),
        ("system=mskaslr", "system: 'mskaslr' is no system (did you mean 'mska_slr'?); there are: mska_slr"),
        ("losses.weights.ctc_lef=2", "losses.weights.ctc_lef is no loss term (did you mean 'ctc_left'?); there are: ctc_body,"),
        ("losses.weights.ctc_left=-1", "losses.weights.ctc_left: input should be greater than or equal to 0, got -1"),
        ("validation.select_by=face", "validation.select_by: 'face' is no head; there are: ensemble, left, right, fuse, body"),
        ("decoding.head=face", "decoding.head: 'face' is no head"),
        ("train.precision=fp16", "train.precision fp16 needs a GPU"),
        ("inputs.num_keypoints=75", "inputs.num_keypoints is 75, but network.num_keypoints is 133: the network can't take such clips"),
        ("inputs.max_frames=800", "inputs.max_frames is 800, but network.max_frames is 400"),
        ("inputs.shortest=2", "inputs: shortest (2.0) is above longest (1.5)"),
        ("optim.betas=[0.9, 1]", "optim.betas.1: input should be less than 1, got 1"),
        ("network.blocks=[[4, 4, 2, 3, 0]]", "network.blocks.0.4: input should be greater than 0, got 0"),
        ("network.blocks=[[4, 4, 2, 4, 1]]", "network: blocks: kernel 4 is even; an odd one keeps a clip's length"),
        ("network.left=[-1]", "network: left: keypoint -1 is outside the 133 keypoints"),
        ("network.face=[]", "network: face: no keypoint"),
        ("network.blocks=[[4, 4, 2, 3, 1], [8, 8, 2, 3, 2]]", "network: blocks: a block of 4 output channels is followed by one of 8 input channels"),
    ],
)
def test_a_wrong_value_is_one_line_with_file_and_key(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("mska_slr_small", [override])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr", "--set 'optim.lr': expected KEY=VALUE, such as optim.lr=1e-3"),
        ("=3", "--set '=3': expected KEY=VALUE"),
        ("seed.deep=1", "--set seed.deep=1: 'seed' holds a value, not keys"),
        ("optim.betas=[0.9", "--set optim.betas=[0.9: '[0.9' is not a YAML value"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("mska_slr_small", ["seed=1", override])
    assert message in str(raised.value)


def test_overrides_of_every_kind() -> None:
    overrides = ["optim.lr=1e-3", "seed=7", "optim.betas=[0.5, 0.6]", "tracking.register_as=null", "train.threads=null", "losses.weights.ctc_left=0.5"]
    overrides += ["network.head.dropout=0.25", "run.name=a.b-c_1", "tracking.uri=http://localhost:5000", "data.shards=with blank=and equals", "optim.lr=2e-3"]
    recipe = load_recipe("mska_slr_small", overrides)
    assert (recipe.optim.lr, recipe.seed, recipe.optim.betas, recipe.train.threads) == (2e-3, 7, (0.5, 0.6), None)
    assert recipe.losses.weights == {"ctc_left": 0.5}
    assert recipe.network.model_dump()["head"]["dropout"] == 0.25
    assert (recipe.run.name, recipe.tracking.uri, recipe.data.shards) == ("a.b-c_1", "http://localhost:5000", "with blank=and equals")


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"^no recipe 'mska_slr_smal' \(did you mean 'mska_slr_small'\?\); there are: "):
        load_recipe("mska_slr_smal")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: [", "own.yaml: not YAML"),
        ("- a\n", "own.yaml: not a recipe: expected keys such as 'data' and 'train'"),
        ("", "own.yaml: not a recipe"),
        ("seed: 1\n", "own.yaml: data is missing: give it in the file or with --set data=..."),
        ("data: {}\n", "own.yaml: data.shards is missing: give it in the file or with --set data.shards=..."),
        ("seed: 1\ndata: {shards: x}\nseed: 2\n", "own.yaml: not YAML (key 'seed' is there twice"),
        ("? [a]\n: 1\n", "own.yaml: not YAML (while constructing a mapping"),
        ("[" * 3000, "own.yaml: lists within lists, too deep"),
        ("data: 3\n", "own.yaml: data: input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load_recipe(str(path))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {shards: somewhere}\n", encoding="utf-8")
    assert load_recipe(str(path)).recipe == "mine"


@pytest.mark.parametrize("name", ["dsta_slr_msasl1000", "dsta_slr_nmfs_csl", "dsta_slr_slr500", "dsta_slr_wlasl2000"])
def test_the_published_hyper_parameters_of_dsta_slr(name: str) -> None:
    """dsta_slr.md, sections 2, 5 and 7: a snapshot, which changes only with a correction of the specification."""
    recipe = load_recipe(name)
    optim = recipe.optim
    assert (optim.name, optim.lr, optim.momentum, optim.nesterov, optim.weight_decay) == ("sgd", 0.1, 0.9, True, 1e-4)
    assert (optim.schedule, optim.warmup_epochs, optim.milestones, optim.decay) == ("steps", 20, (150, 200), 0.1)
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.precision, recipe.validation.every_epochs) == (250, 24, "fp32", 5)
    assert (recipe.network, recipe.inputs) == (DstaOptions(), SkeletonInputs())
    assert recipe.ensemble is not None
    streams = [recipe.member(member).inputs.model_dump()["stream"] for member in recipe.ensemble.members]
    assert streams == list(recipe.ensemble.members) == ["joint", "bone", "joint_motion", "bone_motion"]
    weights = {"dsta_slr_wlasl2000": [1.7, 0.8, 0.5, 0.5], "dsta_slr_msasl1000": [1.5, 0.6, 0.3, 0.8], "dsta_slr_slr500": [1.3, 1.3, 0.8, 1.0]}
    assert list(recipe.ensemble.member_weights.values()) == weights.get(name, [1.0] * 4)


def test_fusion_weights_by_their_published_name() -> None:
    recipe = load_recipe("dsta_slr_wlasl2000", ["ensemble.weights=wlasl100"])
    assert recipe.ensemble is not None
    assert recipe.ensemble.weights == {"joint": 1.7, "bone": 1.2, "joint_motion": 0.2, "bone_motion": 0.3}
    with pytest.raises(RecipeError, match=r"ensemble.weights: no published fusion weights for 'wlasl50': there are wlasl2000, "):
        load_recipe("dsta_slr_wlasl2000", ["ensemble.weights=wlasl50"])


def test_the_rate_falls_in_steps_after_a_warm_up() -> None:
    options = load_recipe("dsta_slr_wlasl2000").optim
    rates = {epoch: learning_rate(options, step=7 * epoch + 6, steps_per_epoch=7, epochs=250) for epoch in (0, 9, 19, 20, 149, 150, 200, 249)}
    assert rates == pytest.approx({0: 0.005, 9: 0.05, 19: 0.1, 20: 0.1, 149: 0.1, 150: 0.01, 200: 0.001, 249: 0.001})

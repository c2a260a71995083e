"""SingleStream-SLT and TwoStream-SLT from clips to texts, in this process: what they begin with, what learns, and released checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle, CorpusCard, save_bundle
from models.bundle_weights import built
from models.decoding.options import DecodingOptions
from models.errors import CheckpointError, RecipeError
from models.inputs.clip import Clip
from models.published.loading import renamed
from models.s3d.config import S3dOptions
from models.systems import SYSTEMS
from models.translation.network import SignToText
from models.translation.published import MAPPER, TRANSLATOR_RENAMES
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.inputs import SingleStreamInputs, TwoStreamInputs
from models.twostream.network import TwoStream
from models.twostream.published import export_single, export_two_stream
from models.twostream.single_stream import SingleStream
from tests.unit.models.twostream.tiny import HEAD, single, two
from tests.unit.workloads.filmed import coloured_clips, run_filmed, vocabulary_of, with_texts, write_language
from tests.unit.workloads.tiny_runs import last_weights, messages
from workloads.bundles import bundle_from_published
from workloads.recipe import Recipe, load_recipe
from workloads.training.events import EVENTS, read_events
from workloads.training.translator_start import completed, tokens_of

SENTENCES, TEXTS = [("A", "B"), ("C",), ("D", "E", "C"), ("B", "D")], ["ein tag im regen", "morgen", "noch ein tag", "im norden schnee"]
RGB, MAPS = S3dOptions(width=1 / 16, frozen_blocks=0), S3dOptions(in_channels=11, width=1 / 16, frozen_blocks=0)
SEEN = {"side": 32, "video_size": (32, 32), "map_size": (32, 32), "sigma": 3, "parts": ("pose",), "max_frames": 24, "augment": False}
KINDS = ("rgb", "keypoint", "fuse")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Four clips of five glosses: nine classes, as the tiny recognisers have."""
    return with_texts(coloured_clips(SENTENCES, side=32, num_frames=16), TEXTS)


@pytest.fixture(scope="module")
def language(clips: Sequence[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"), clips)


def recogniser(kind: str) -> tuple[str, SingleStream | TwoStream, SingleStreamInputs | TwoStreamInputs]:
    if kind == "fuse":
        return "twostream_slr", two(TwoStreamOptions(rgb=RGB, keypoint=MAPS, head=HEAD)), TwoStreamInputs.model_validate(SEEN)
    options = SingleStreamOptions.model_validate({"stream": kind, "trunk": RGB if kind == "rgb" else MAPS, "head": HEAD})
    return "singlestream_slr", single(options), SingleStreamInputs.model_validate(SEEN | {"stream": kind})


@pytest.fixture(scope="module")
def bundles(clips: Sequence[Clip], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Recognisers to start from: their weights are drawn, and spread so that they tell the colours apart."""
    found = {}
    for kind in KINDS:
        system, network, inputs = recogniser(kind)
        found[kind] = save_bundle(
            tmp_path_factory.mktemp(kind) / "bundle",
            system=system,
            options=network.options,
            inputs=inputs,
            state_dict=network.state_dict(),
            classes=vocabulary_of(clips),
            decoding=DecodingOptions(head=SYSTEMS[system].answering[0]),
            corpus=CorpusCard(name="synthetic"),
            metrics={},
            provenance={},
        )
    return found


def recipe_of(kind: str, bundle: Bundle, language: Path, *overrides: str, start: str = "recogniser") -> Recipe:
    name = "twostream_slt_phoenix2014t" if kind == "fuse" else "singlestream_slt_phoenix2014t"
    seen = "{" + ", ".join(f"{key}: {list(value) if isinstance(value, tuple) else value}" for key, value in SEEN.items()) + "}"
    toy = [
        f"inputs={seen}",
        f"init={{{start}: {bundle.folder}, translator: {language}}}",
        "network.translator.mbart={dropout: 0.0, attention_dropout: 0.0}",
        "optim={name: adam, lr: 2.0e-2, schedule: one_cycle, weight_decay: 0.0, frozen: [recogniser.trunk]}",
        "losses.label_smoothing=0.0",
        "train={epochs: 80, batch_size: 4, num_workers: 0}",
        "validation={every_epochs: 80, beam_width: 1, text_beam_width: 2}",
        "decoding.text={max_length: 24, beam_width: 2}",
        *overrides,
    ]
    if kind == "fuse":
        toy += ["optim.frozen=[recogniser.trunks, recogniser.exchanges]", "network.recogniser={keypoint: {in_channels: 11, frozen_blocks: 0}}"]
    if kind == "keypoint":
        toy += ["inputs.stream=keypoint", "network.recogniser={stream: keypoint, trunk: {in_channels: 11}}"]
    return completed(load_recipe(name, toy))


def test_a_few_clips_are_learned_by_heart(clips: list[Clip], language: Path, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    outcome = run_filmed(recipe_of("rgb", bundles["rgb"], language), tmp_path, clips, clips)
    assert outcome.finished, outcome.fault
    [validation] = [event for event in read_events(tmp_path / EVENTS) if event["kind"] == "validation"]
    assert validation["scores"]["text"] == pytest.approx(100.0)
    assert validation["beside"]["wer_gloss"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_heads_mapper_and_translator_learn_on_frozen_trunks(kind: str, clips: list[Clip], language: Path, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    recipe = recipe_of(kind, bundles[kind], language, "train.epochs=16", "validation.every_epochs=16")
    outcome = run_filmed(recipe, tmp_path, clips, clips)
    assert outcome.finished, outcome.fault
    learned, before = last_weights(tmp_path), bundles[kind].network().state_dict()
    trunk = "trunks.rgb." if kind == "fuse" else "trunk."
    assert all(torch.equal(learned[f"recogniser.{name}"], value) for name, value in before.items() if name.startswith((trunk, "exchanges.")))
    head = "heads.fuse." if kind == "fuse" else "head."
    assert not torch.equal(learned[f"recogniser.{head}classifier.weight"], before[f"{head}classifier.weight"])
    assert not any("pyramid" in name or "_aux_" in name for name in learned)
    steps = [event["terms"] for event in read_events(tmp_path / EVENTS) if event["kind"] == "step"]
    assert set(steps[0]) == {"loss", "translation", *(("ctc_rgb", "ctc_keypoint", "ctc_fuse") if kind == "fuse" else ("ctc_gloss",))}
    assert all(steps[-1][term] < 0.8 * steps[0][term] for term in steps[0])


def test_heads_may_begin_at_random(clips: list[Clip], language: Path, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    recipe = recipe_of("rgb", bundles["rgb"], language, "train.epochs=1", "optim.lr=1e-9", start="features")
    assert run_filmed(recipe, tmp_path, clips, clips).finished
    learned, before = last_weights(tmp_path), bundles["rgb"].network().state_dict()
    assert torch.equal(learned["recogniser.trunk.layers.0.spatial.conv.weight"], before["trunk.layers.0.spatial.conv.weight"])
    assert (learned["recogniser.head.classifier.weight"] - before["head.classifier.weight"]).abs().max() > 0.01
    assert any(text.startswith(f"init.features: {bundles['rgb'].folder}") for text in messages(tmp_path))


@pytest.mark.parametrize("kind", ["rgb", "fuse"])
def test_features_are_those_of_clips_alone(kind: str, bundles: dict[str, Bundle]) -> None:
    """As the published programs extract them; the head learns on them side by side, zero where a clip has ended."""
    network, inputs = bundles[kind].network(), bundles[kind].inputs
    assert isinstance(network, SingleStream | TwoStream)
    (short,), (long,) = coloured_clips([("A", "B")], side=32, num_frames=8), coloured_clips([("C", "D")], side=32, num_frames=16)
    network.train()
    (network.trunk if isinstance(network, SingleStream) else network.trunks).eval()  # as `optim.frozen` has it
    with torch.no_grad():
        together, alone = (network(inputs.on_device(inputs.evaluation_batch(batch))).inputs for batch in ([short, long], [short]))
    for name, features in together.items():
        torch.testing.assert_close(features[:1, :2], alone[name])
        assert not features[0, 2:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_released_checkpoints_load_with_their_recogniser(kind: str, clips: list[Clip], language: Path, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    recipe = recipe_of(kind, bundles[kind], language)
    system = SYSTEMS[recipe.system]
    network = built(system.build, recipe.network, len(bundles[kind].classes))
    assert isinstance(network, SignToText)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5)
    whole = bundles[kind].network()
    system.starts["recogniser"].fill(network, whole)  # type: ignore[union-attr, call-arg]
    released = export_two_stream(whole) if isinstance(whole, TwoStream) else export_single(whole)  # type: ignore[arg-type]
    translator = {MAPPER + name: value for name, value in network.mapper.state_dict().items()}
    translator |= {renamed(name, TRANSLATOR_RENAMES): value for name, value in network.translator.state_dict().items()}
    heads = {name: value for name, value in released.items() if "visual_head" in name}
    torch.save({"model_state": heads | translator}, tmp_path / "s2t.ckpt")
    torch.save({"model_state": released}, tmp_path / "s2g.ckpt")
    given = {
        "system": recipe.system,
        "options": recipe.network,
        "inputs": recipe.inputs,
        "classes": bundles[kind].classes,
        "decoding": recipe.decoding,
        "corpus": CorpusCard(name="synthetic"),
        "tokens": tokens_of(recipe),
    }
    bundle = bundle_from_published(tmp_path / "s2t.ckpt", tmp_path / "bundle", features=tmp_path / "s2g.ckpt", **given)
    ours, wanted = bundle.network().state_dict(), network.state_dict()
    assert ours.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(ours[name], wanted[name])] == []
    assert bundle.provenance["published.features"] == "s2g.ckpt"
    with pytest.raises(CheckpointError, match="lack the network that extracts their features: name its released recogniser with --features"):
        bundle_from_published(tmp_path / "s2t.ckpt", tmp_path / "bundle", **given)
    suffix = {"rgb": "", "keypoint": "_keypoint", "fuse": "_fuse"}[kind]
    del heads[f"recognition_network.visual_head{suffix}.fc1.bias"]
    torch.save({"model_state": heads | translator}, tmp_path / "s2t.ckpt")
    with pytest.raises(CheckpointError, match=r"missing recognition_network\.visual_head\S*\.fc1\.bias"):
        bundle_from_published(tmp_path / "s2t.ckpt", tmp_path / "bundle", features=tmp_path / "s2g.ckpt", **given)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.head=rgb", "network.head: 'rgb' is no head of the recogniser; there are: gloss"),
        ("network.mapper=embedding", "mapper embedding looks glosses up by their probabilities, and feature is gloss_feature"),
        ("inputs.stream=keypoint", r"inputs.stream is keypoint, but network.recogniser.stream is rgb"),
        ("losses.distillation=true", "unknown key 'losses.distillation'"),
    ],
)
def test_what_does_not_fit_is_one_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as raised:
        load_recipe("singlestream_slt_phoenix2014t", [override])
    assert "\n" not in str(raised.value)

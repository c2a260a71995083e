"""Inputs of the TwoStream systems: pictures and heatmaps of one rectangle, the published draws, what is refused; and their systems through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch import nn

from models.batch import Batch
from models.errors import CheckpointError
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.inputs.heatmaps import heatmaps
from models.inputs.pictures import resized
from models.s3d.published import export as export_trunk
from models.system import BundleStart, FileStart
from models.systems import SYSTEMS
from models.twostream import published
from models.twostream.inputs import SingleStreamInputs, TwoStreamInputs
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream
from tests.unit.models.twostream.tiny import NUM_CLASSES, _spread

PARTS = ("pose",)
SMALL: dict[str, Any] = {"side": 32, "video_size": (40, 30), "map_size": (40, 30), "sigma": 3, "parts": PARTS}
TRUNK = {"width": 1 / 16, "frozen_blocks": 0}
HEAD = {"hidden_size": 16, "ff_size": 24, "dropout": 0}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # system, network, inputs
    "rgb": ("singlestream_slr", {"trunk": TRUNK, "head": HEAD}, SMALL),
    "keypoint": ("singlestream_slr", {"stream": "keypoint", "trunk": {**TRUNK, "in_channels": 11}, "head": HEAD}, {**SMALL, "stream": "keypoint"}),
    "two": ("twostream_slr", {"rgb": TRUNK, "keypoint": {**TRUNK, "in_channels": 11}, "head": HEAD}, SMALL),
}


def clip(num_frames: int = 8, *, seed: int = 0, width: int = 30, height: int = 40) -> Clip:
    generator = np.random.default_rng(seed)
    points = generator.uniform(0, 30, (num_frames, 133, 3)).astype(np.float32)
    pictures = generator.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Clip(name=f"clip{seed}", keypoints=points, frames=Pictures(array=pictures), frame_size=(width, height))


def test_pictures_of_another_size_are_brought_to_the_networks_by_pillows_bicubic_filter() -> None:
    """As the published code reads CSL-Daily: 512 pixels to 320, and no step without what lies between."""
    tall = clip(width=48, height=64)
    inputs = SingleStreamInputs(**{**SMALL, "stream": "rgb"})
    batch = inputs.evaluation_batch([tall])
    assert batch.frames is not None
    assert tall.frames is not None
    pillow = [np.asarray(Image.fromarray(picture).resize((30, 40))) for picture in tall.frames.decode(range(8))]  # its default
    np.testing.assert_array_equal(batch.frames[0].permute(0, 2, 3, 1).numpy(), np.stack(pillow))


def network_of(case: str, seed: int = 0) -> nn.Module:
    name, options, _ = CASES[case]
    torch.manual_seed(seed)
    network = SYSTEMS[name].build(SYSTEMS[name].options.model_validate(options), NUM_CLASSES)
    _spread(network, seed)
    return network


def inputs_of(case: str, **changes: Any) -> Any:
    name, _, inputs = CASES[case]
    return SYSTEMS[name].inputs.model_validate({**inputs, **changes})


def test_evaluation_squeezes_the_whole_picture_or_its_centre() -> None:
    each = clip(9)
    for centre in (None, 34):
        inputs = TwoStreamInputs(**SMALL, centre_crop=centre)
        raw = inputs.evaluation_batch([each])
        batch = inputs.on_device(raw)
        assert raw.frames is not None
        assert batch.frames is not None
        assert batch.heatmaps is not None
        assert (batch.frames.shape, batch.heatmaps.shape) == ((1, 8, 3, 32, 32), (1, 11, 8, 16, 16))
        from models.inputs.crops import central, central_on_map

        crops = (central((40, 30), (34, 34)), central_on_map((40, 30), (40, 30), 34)) if centre else (None, None)
        assert torch.equal(batch.frames, resized(raw.frames, (32, 32), crops[0]))
        points = torch.from_numpy(each.keypoints[None, :8, :11])
        torch.testing.assert_close(batch.heatmaps, heatmaps(points, (40, 30), sigma=3, crop=crops[1], out=(16, 16)))


def test_training_crops_pictures_and_heatmaps_alike() -> None:
    inputs = TwoStreamInputs(**{**SMALL, "map_size": (20, 15)}, jitter_share=0)
    batch = inputs.training_batch([clip(8), clip(12, seed=1)], [8, 12], np.random.default_rng(0))
    [view] = set(batch.views)  # published: one for the batch
    seen = inputs.on_device(batch)
    assert batch.frames is not None
    assert seen.frames is not None
    assert torch.equal(seen.frames, resized(batch.frames, (32, 32), view.crop))
    points = batch.keypoints[:, :, :11, :2] / 2
    expected = heatmaps(points, (20, 15), sigma=3, crop=view.crop.scaled((40, 30), (20, 15)), out=(16, 16))
    torch.testing.assert_close(seen.heatmaps, expected)
    assert batch.lengths.tolist() == [8, 12]


def test_each_clip_may_have_a_view_of_its_own() -> None:
    inputs = TwoStreamInputs(**SMALL, view_each_clip=True, jitter_share=1)
    clips = [clip(8), clip(8, seed=1)]
    batch = inputs.training_batch(clips, [8, 8], np.random.default_rng(0))
    assert len(set(batch.views)) == 2
    seen = inputs.on_device(batch)
    assert seen.frames is not None
    assert batch.frames is not None
    view = batch.views[1]
    assert view.colours is not None
    torch.testing.assert_close(seen.frames[1:], resized(view.colours(batch.frames[1:] / 255), (32, 32), view.crop))


def test_colours_change_for_the_published_share_of_batches() -> None:
    draws = np.random.default_rng(0)
    views = [TwoStreamInputs()._view(draws) for _ in range(1000)]
    assert 0.26 < np.mean([view.colours is not None for view in views]) < 0.34
    assert all(view.colours is None for view in (SingleStreamInputs(stream="keypoint", jitter_share=1)._view(draws) for _ in range(5)))


def test_points_count_in_each_clip_s_own_frame() -> None:
    small, large = clip(8), clip(8, width=60, height=80)
    doubled = Clip(name="large", keypoints=small.keypoints * np.array([2, 2, 1], np.float32), frames=large.frames, frame_size=(60, 80))
    maps = inputs_of("keypoint").on_device(inputs_of("keypoint").evaluation_batch([small, doubled])).heatmaps
    assert maps is not None
    torch.testing.assert_close(maps[0], maps[1])


def test_modalities_and_what_is_refused() -> None:
    assert (SingleStreamInputs().modalities, SingleStreamInputs(stream="keypoint").modalities) == (("frames",), ("keypoints",))
    assert (SingleStreamInputs().layouts, TwoStreamInputs().layouts) == ((), (133,))
    both = inputs_of("two")
    assert both.problem(clip(8)) is None
    assert both.problem(Clip(name="a", keypoints=clip().keypoints, frame_size=(30, 40))).startswith("no pictures")
    bare = Clip(name="a", keypoints=np.zeros((8, 0, 3), np.float32), frames=clip().frames, frame_size=(30, 40))
    assert both.problem(bare) == "wrong keypoint count: 0 points found, 133 expected"
    assert inputs_of("rgb").problem(bare) is None
    with pytest.raises(ValidationError, match="is no part of a body"):
        TwoStreamInputs(parts=("arm",))
    with pytest.raises(ValidationError, match=r"shortest \(2.0\) is above longest \(1.5\)"):
        TwoStreamInputs(shortest=2)
    with pytest.raises(ValueError, match="what its inputs' on_device makes"):
        network_of("rgb").eval()(inputs_of("rgb").evaluation_batch([clip()]))
    with pytest.raises(ValueError, match="a batch without heatmaps"):
        network_of("keypoint").eval()(inputs_of("keypoint").evaluation_batch([clip()]))


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=3, deadline=None)
@given(lengths=st.lists(st.integers(4, 24), min_size=2, max_size=3))
def test_a_clip_answers_alike_alone_and_among_others(case: str, lengths: list[int]) -> None:
    network, inputs, system = network_of(case).eval(), inputs_of(case), SYSTEMS[CASES[case][0]]
    clips = [clip(length, seed=seed) for seed, length in enumerate(lengths)]
    with torch.no_grad():
        together = network(inputs.on_device(inputs.evaluation_batch(clips)))
        answers = system.all_logits(together)
        for row, each in enumerate(clips):
            alone = network(inputs.on_device(inputs.evaluation_batch([each])))
            steps = int(alone.lengths)
            assert together.lengths[row] == steps == network.options.num_steps(each.num_frames) == each.num_frames // 4  # type: ignore[operator, union-attr]
            for head, logits in system.all_logits(alone).items():
                torch.testing.assert_close(answers[head][row, :steps], logits[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_losses_have_the_names_that_recipes_weigh(case: str) -> None:
    system, inputs = SYSTEMS[CASES[case][0]], inputs_of(case)
    batch = inputs.on_device(inputs.training_batch([clip(12), clip(16, seed=1)], [12, 16], np.random.default_rng(0)))
    batch = Batch(**{**vars(batch), "targets": torch.tensor([[1, 2], [3, 0]]), "target_lengths": torch.tensor([2, 1])})
    terms = system.make_loss(system.losses(), ())(network_of(case).train()(batch), batch)
    assert terms.keys() == system.loss_terms
    assert all(value.isfinite() for value in terms.values())


def test_published_weights_are_the_defaults() -> None:
    weights = SYSTEMS["twostream_slr"].losses.model_validate({"weights": {"distil_rgb": 2}}).weights
    assert weights == {"ctc_rgb_aux_0": 0.2, "ctc_rgb_aux_1": 0.2, "ctc_keypoint_aux_0": 0.5, "ctc_keypoint_aux_1": 0.5, "distil_rgb": 2}


@pytest.mark.parametrize("case", CASES)
def test_released_checkpoints_load_by_name(case: str, tmp_path: Path) -> None:
    source, target = network_of(case, seed=1), network_of(case, seed=2)
    state = published.export_two_stream(source) if isinstance(source, TwoStream) else published.export_single(source)  # type: ignore[arg-type]
    torch.save({"epoch": 1, "model_state": state}, tmp_path / "best.ckpt")
    system = SYSTEMS[CASES[case][0]]
    system.load_published(target, tmp_path / "best.ckpt", inputs_of(case), False)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    torch.save({"model_state": dict(list(state.items())[1:]) | {"extra": torch.zeros(1)}}, tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"missing .*; unexpected extra"):
        system.load_published(target, tmp_path / "best.ckpt", inputs_of(case), False)


def test_stages_of_training_begin_with_one_another(tmp_path: Path) -> None:
    rgb, keypoint, both = network_of("rgb", 1), network_of("keypoint", 2), network_of("two", 3)
    assert isinstance(rgb, SingleStream)
    assert isinstance(both, TwoStream)
    torch.save({f"module.{name}": value for name, value in export_trunk(rgb.trunk).items()} | {"module.fc.weight": torch.zeros(2)}, tmp_path / "kinetics.pt")
    fresh, start = network_of("rgb", 4), SYSTEMS["singlestream_slr"].starts["trunk"]
    assert isinstance(start, FileStart)
    assert "left out" in start.fill(fresh, tmp_path / "kinetics.pt")
    assert isinstance(fresh, SingleStream)
    assert torch.equal(fresh.trunk.state_dict()["layers.0.spatial.conv.weight"], rgb.trunk.state_dict()["layers.0.spatial.conv.weight"])
    for name, stream in (("rgb", rgb), ("keypoint", keypoint)):
        joint = SYSTEMS["twostream_slr"].starts[name]
        assert isinstance(joint, BundleStart)
        joint.fill(both, stream)
        for part, own in ((both.trunks[name], stream.trunk), (both.heads[name], stream.head)):  # type: ignore[union-attr]
            for key, value in own.state_dict().items():  # type: ignore[union-attr]
                assert torch.equal(part.state_dict()[key], value)
        with pytest.raises(ValueError, match=f"the {name} stream was given a network of the"):
            joint.fill(both, keypoint if name == "rgb" else rgb)

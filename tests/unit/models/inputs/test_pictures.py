"""Frame sampling, crops, pictures and heatmaps against plain forms and by their distribution."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inputs.crops import Crop, central, central_on_map, random_crop, whole
from models.inputs.heatmaps import heatmaps, selected_points
from models.inputs.pictures import Jitter, brightened, contrasted, hue_turned, resized, saturated, stream_input, unit_range
from models.inputs.sampling import evaluation_frames, training_frames


def assert_uniform(values: Sequence[float], low: float, high: float) -> None:
    """Kolmogorov and Smirnov's distance, at one in a thousand; the draws are the same in every run."""
    shares = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(shares) + 1) / len(shares)
    assert max((steps[1:] - shares).max(), (shares - steps[:-1]).max()) < 1.95 / np.sqrt(len(shares))


@settings(max_examples=60, deadline=None)
@given(num_frames=st.integers(4, 900), seed=st.integers(0, 2**32 - 1))
def test_frames_of_training_are_sorted_and_as_many_as_a_multiple_of_four(num_frames: int, seed: int) -> None:
    frames = training_frames(num_frames, np.random.default_rng(seed))
    low, high = int(0.5 * num_frames), min(400, int(1.5 * num_frames))
    assert len(frames) % 4 == 0
    assert min(low, 400) <= len(frames) < high + 4
    assert (np.diff(frames) >= 0).all()
    assert 0 <= frames.min() <= frames.max() < num_frames
    if len(frames) <= num_frames:
        assert len(set(frames.tolist())) == len(frames)
    else:
        assert set(frames.tolist()) == set(range(num_frames))


def test_frames_of_evaluation_are_the_central_ones() -> None:
    assert evaluation_frames(475).tolist() == list(range(37, 437))
    assert evaluation_frames(11).tolist() == list(range(8))


def test_central_crops_round_and_pad_as_published() -> None:
    assert central((260, 210), (224, 224)) == Crop(top=18, left=-7, height=224, width=224)
    assert central((5, 7), (4, 8)) == Crop(top=0, left=0, height=4, width=8)
    assert central((7, 9), (4, 4)) == Crop(top=2, left=2, height=4, width=4)
    assert central_on_map((320, 320), (170, 170), 270) == central((170, 170), (143, 143))
    assert Crop(top=20, left=13, height=210, width=180).scaled((260, 210), (130, 70)) == Crop(top=10, left=4, height=105, width=60)


def test_random_crops_are_distributed_as_published() -> None:
    """Where every rectangle fits: areas and places uniform, ratios in their logarithm."""
    generator, side = np.random.default_rng(0), 10_000
    crops = [random_crop((side, side), generator, area=(0.3, 0.5)) for _ in range(3000)]
    assert_uniform([crop.height * crop.width / side**2 for crop in crops], 0.3, 0.5)
    assert_uniform([np.log(crop.width / crop.height) for crop in crops], np.log(0.75), np.log(1.3))
    assert_uniform([crop.top / (side - crop.height) for crop in crops], 0, 1)
    assert_uniform([crop.left / (side - crop.width) for crop in crops], 0, 1)


def test_changes_of_colour_are_distributed_as_published() -> None:
    generator = np.random.default_rng(0)
    drawn = [Jitter.drawn(generator) for _ in range(3000)]
    for name in ("brightness", "contrast", "saturation"):
        assert_uniform([getattr(jitter, name) for jitter in drawn], 0.6, 1.4)
    assert_uniform([jitter.hue for jitter in drawn], -0.1, 0.1)
    orders = Counter(jitter.order for jitter in drawn)
    assert len(orders) == 24
    assert sum((count - 125) ** 2 / 125 for count in orders.values()) < 49.7  # chi-squared of 23 degrees, one in a thousand


def test_random_crops_have_the_published_area_and_ratio() -> None:
    generator = np.random.default_rng(0)
    crops = [random_crop((260, 210), generator) for _ in range(2000)]
    areas = np.array([crop.height * crop.width for crop in crops]) / (260 * 210)
    ratios = np.array([crop.width / crop.height for crop in crops])
    assert all(0 <= crop.top <= 260 - crop.height and 0 <= crop.left <= 210 - crop.width for crop in crops)
    assert 0.69 < areas.min() < 0.71
    assert 0.74 < ratios.min() < 0.76
    assert ratios.max() < 1.31
    assert min(crop.top for crop in crops) == min(crop.left for crop in crops) == 0
    assert random_crop((10, 100), generator) == Crop(top=0, left=43, height=10, width=13)
    assert random_crop((100, 10), generator) == Crop(top=43, left=0, height=13, width=10)


def test_black_surrounds_a_crop_larger_than_the_picture() -> None:
    frames = torch.full((1, 2, 3, 4, 6), 255, dtype=torch.uint8)
    out = resized(frames, (8, 8), central((4, 6), (8, 8)))
    assert out.shape == (1, 2, 3, 8, 8)
    assert out.sum() == out[..., 2:6, 1:7].sum() == 2 * 3 * 4 * 6


def test_stream_input_is_bgr_between_minus_one_and_one() -> None:
    frames = torch.zeros(1, 2, 3, 4, 4)
    frames[:, :, 0] = 1.0
    x = stream_input(frames)
    assert x.shape == (1, 3, 2, 4, 4)
    assert x[0, :, 0, 0, 0].tolist() == [-1.0, -1.0, 1.0]
    assert unit_range(torch.tensor([[[[[255]]]]], dtype=torch.uint8)).item() == 1.0


@settings(max_examples=25, deadline=None)
@given(colour=st.tuples(*[st.floats(0, 1, width=32)] * 3), turns=st.floats(-0.1, 0.1))
def test_hues_turn_as_colorsys_says(colour: tuple[float, float, float], turns: float) -> None:
    ours = hue_turned(torch.tensor(colour).view(1, 1, 3, 1, 1), turns).flatten().tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    assert ours == pytest.approx(colorsys.hsv_to_rgb((hue + turns) % 1.0, saturation, value), abs=2e-4)


def test_jitter_steps_blend_and_clip() -> None:
    frames = torch.rand(2, 3, 3, 5, 4)
    grey = (frames * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(2, keepdim=True)
    torch.testing.assert_close(brightened(frames, 1.4), (1.4 * frames).clamp(0, 1))
    torch.testing.assert_close(saturated(frames, 0.7), (0.7 * frames + 0.3 * grey).clamp(0, 1))
    torch.testing.assert_close(contrasted(frames, 1.3), (1.3 * frames - 0.3 * grey.mean((2, 3, 4), keepdim=True)).clamp(0, 1))
    torch.testing.assert_close(saturated(frames, 0.0)[:, :, 0], grey[:, :, 0].clamp(0, 1))


def test_jitter_repeats_by_its_generator_and_can_do_nothing() -> None:
    frames = torch.rand(1, 2, 3, 6, 6)
    first, second, third = (Jitter.drawn(np.random.default_rng(seed))(frames) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    torch.testing.assert_close(Jitter.drawn(np.random.default_rng(0), limits=(0, 0, 0, 0))(frames), frames, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("map_size", "crop", "out"),
    [
        (None, None, (20, 20)),
        ((24, 30), None, (11, 40)),
        (None, Crop(top=5, left=3, height=30, width=20), (16, 16)),
        (None, Crop(top=-4, left=7, height=60, width=31), (25, 12)),
    ],
)
def test_heatmaps_equal_the_whole_map_cropped_and_resized(map_size: tuple[int, int] | None, crop: Crop | None, out: tuple[int, int]) -> None:
    frame, sigma = (52, 42), 2.5
    points = torch.rand(2, 3, 4, 3) * torch.tensor([50.0, 60.0, 1.0]) - 4
    height, width = map_size or frame
    x, y = points[..., 0] * width / frame[1], points[..., 1] * height / frame[0]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    squares = (rows - y[..., None, None]) ** 2 + (columns - x[..., None, None]) ** 2
    full = torch.exp(-squares / (2 * sigma**2))
    torch.testing.assert_close(heatmaps(points, frame, sigma=sigma, map_size=map_size).transpose(1, 2), full)
    box = crop or whole((height, width))
    padded = F.pad(full, (9, 9, 9, 9))[..., 9 + box.top : 9 + box.top + box.height, 9 + box.left : 9 + box.left + box.width]
    expected = F.interpolate(padded.flatten(0, 1), out, mode="bilinear").view(2, 3, 4, *out).transpose(1, 2)
    torch.testing.assert_close(heatmaps(points, frame, sigma=sigma, map_size=map_size, crop=crop, out=out), expected, atol=2e-6, rtol=1e-4)


def test_points_are_selected_in_the_order_of_their_parts_names() -> None:
    points = selected_points()
    assert len(points) == 79
    assert (points[0], points[15], points[16], points[57], points[58], points[68]) == (23, 68, 91, 132, 71, 0)
    assert selected_points(("hand_half",)) == tuple(range(91, 133, 2))
    for name in ("feet", "pose_half"):
        with pytest.raises(ValueError, match="no part of a body"):
            selected_points((name,))

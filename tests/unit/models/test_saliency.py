"""Grad-CAM and gradients of keypoints: equal to autograd and to finite differences, at the right frame and joint; every refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models.errors import LayerError
from models.explanation import on_clip, relative
from models.saliency import check_layer, evaluated, grad_cam, layer_shapes, watched
from models.saliency_views import joint_points, steps_of_frames, view_of
from tests.unit.models.twostream.tiny import heatmap_clips, pictures, single, two
from tests.unit.models.vac.tiny import NETWORKS, Frames, clips, tiny
from tests.unit.tiny import OPTIONS, tiny_network
from tests.unit.tiny_signs import tiny_sign_network

INNER = {"corrnet": "backbone.layer3", "mstfnet": "backbone.layer3", "slowfastsign": "backbone.stages.2.slow.1"}


def score_of(network: nn.Module, lengths: list[int]) -> Tensor:
    heads = network(Frames(frames=clips(lengths), lengths=torch.tensor(lengths)))
    return next(iter(heads.logits.values()))[0, 1, 2]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_at_a_layer_is_autograds(name: str) -> None:
    network = tiny(name).eval()
    kept: list[Tensor] = []
    hook = network.get_submodule(INNER[name]).register_forward_hook(lambda module, given, output: (output.retain_grad(), kept.append(output))[1])
    score_of(network, [9]).backward()
    hook.remove()
    with evaluated(network), watched(network, INNER[name]) as seen:
        score = score_of(network, [9])
    torch.testing.assert_close(seen.value, kept[0])
    torch.testing.assert_close(seen.gradient(score), kept[0].grad, rtol=1e-4, atol=1e-7)
    assert kept[0].grad is not None
    assert kept[0].grad.any()


def test_grad_cam_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    activation, gradient = (torch.randn(3, 5, 4, 6, generator=generator) for _ in range(2))
    cam = grad_cam(activation, gradient, channels=1, pooled=(2, 3))
    for frame in range(3):
        weights = gradient[frame].mean((1, 2))
        expected = sum(weights[channel] * activation[frame, channel] for channel in range(5))
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(cam[frame], expected.clamp(min=0))


class Dots(nn.Module):
    """Looks for bright pixels by one convolution; logits are its sum over places, alone in class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[0, 0, 1, 1] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)).sum((0, 2, 3)) @ torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def test_a_planted_cause_is_found_where_it_is() -> None:
    network, pictures = Dots(), torch.zeros(4, 1, 8, 8)
    pictures[2, 0, 5, 3] = 1
    with evaluated(network), watched(network, "conv") as seen:
        score = network(pictures)[1]
    assert seen.value is not None
    cam = grad_cam(seen.value.detach(), seen.gradient(score), channels=1, pooled=(2, 3))
    assert [int(place) for place in np.unravel_index(int(cam.argmax()), cam.shape)] == [2, 5, 3]
    assert int((cam > 0).sum()) == 1


def test_the_network_is_put_back() -> None:
    network = tiny("corrnet").train()
    network.backbone.conv1.weight.requires_grad_(False)
    with evaluated(network):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.training
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == ["backbone.conv1.weight"]
    assert not network.backbone.layer3._forward_hooks


@pytest.mark.parametrize("name", NETWORKS)
def test_the_usual_layer_of_frame_networks_shows_every_frame(name: str) -> None:
    network, num_frames = tiny(name).eval(), 11
    view = view_of(network)
    layer = view.layer(network)
    assert layer is not None
    shapes = layer_shapes(network, lambda: score_of(network, [num_frames]))
    assert view.drawable((8, 4, 7, 7))
    assert not view.drawable((8, 4, 1, 7))
    with evaluated(network), watched(network, layer) as seen:
        score = score_of(network, [num_frames])
    assert seen.value is not None
    assert tuple(seen.value.shape) == shapes[layer]
    cam = view.over_frames(grad_cam(seen.value.detach(), seen.gradient(score), channels=view.channels, pooled=view.pooled))
    assert cam.dim() == 3
    steps = steps_of_frames(network, num_frames, len(cam))
    layout = network.options.layout
    places = layout.frame_index(torch.tensor([num_frames]))[0]
    stride = len(places) // len(cam)
    assert [int(places[step * stride]) for step in steps] == [max(0, frame - (frame + layout.left) % stride) for frame in range(num_frames)]


def test_the_usual_layers_of_the_twostream_networks_have_pictures() -> None:
    both = (pictures([8], 64), heatmap_clips([8], 32))
    for network, inputs in ((single(), both[:1]), (two(), both)):
        network.eval()
        view = view_of(network)
        layer = view.layer(network)
        assert layer is not None
        with evaluated(network), watched(network, layer) as seen:
            heads = network.recognise(*inputs, torch.tensor([inputs[0].shape[2]]))
        assert seen.value is not None
        assert seen.value.dim() == len(view.axes)
        gradient = seen.gradient(heads.logits["rgb"][0, 0, 1])
        cam = view.over_frames(grad_cam(seen.value.detach(), gradient, channels=view.channels, pooled=view.pooled))
        assert cam.shape == (seen.value.shape[2], *seen.value.shape[3:])


def test_joints_of_a_stream_are_its_keypoints() -> None:
    network = tiny_network()
    assert joint_points(network, "streams.left.blocks.1", 28, 133).tolist() == list(OPTIONS.left)
    assert joint_points(network, "streams.body.input_norm", 80, 133).tolist() == list(OPTIONS.body)
    assert joint_points(network, None, 133, 133).tolist() == list(range(133))
    signs = tiny_sign_network()
    assert joint_points(signs, "blocks.1", 27, 27).tolist() == list(range(27))
    assert joint_points(signs, None, 27, 133)[:4].tolist() == [0, 5, 6, 7]


def test_a_network_without_a_view_is_our_mistake() -> None:
    with pytest.raises(ValueError, match=r"Linear has no LayerView: add one to models\.saliency_views"):
        view_of(nn.Linear(1, 1))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.twice, self.drop = Pair(), nn.Identity(), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.twice(self.twice(self.pair(x)[0])))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_layers_that_cant_be_explained_are_refused() -> None:
    network, x = Parts(), torch.ones(1)
    assert layer_shapes(network, lambda: network(x)) == {}
    with pytest.raises(LayerError, match=r"layer 'pair' gives tuple, and one tensor is needed: name one of its parts"), watched(network, "pair"):
        network(x)
    with pytest.raises(LayerError, match=r"layer 'twice' runs 2 times in a forward pass"), watched(network, "twice"):
        network(x)
    check_layer("a", ["a", "b"], what="here")
    known = [f"stage{number}.conv" for number in range(40)]
    with pytest.raises(LayerError) as caught:
        check_layer("stage7.cnv", known, what="of corrnet has places to draw")
    assert str(caught.value).startswith(
        "no layer 'stage7.cnv' of corrnet has places to draw: the nearest is 'stage7.conv'; some of 40: stage0.conv, stage4.conv"
    )


frame_lists = st.integers(1, 12).flatmap(lambda count: st.tuples(st.just(count), st.lists(st.integers(0, count - 1), min_size=1, max_size=20)))


@given(frame_lists)
def test_what_was_seen_of_a_frame_is_shown_at_it(case: tuple[int, list[int]]) -> None:
    num_frames, frames = case
    values = np.arange(1, len(frames) + 1, dtype=np.float32)[:, None]
    shown = on_clip(values, np.array(frames), num_frames)
    assert shown.shape == (num_frames, 1)
    for frame in range(num_frames):
        at = [value for value, place in zip(values[:, 0], frames, strict=True) if place == frame]
        if at:
            assert shown[frame, 0] == max(at)
        elif frame < min(frames) or frame > max(frames):
            assert shown[frame, 0] == 0
        else:
            assert shown[frame, 0] == shown[frame - 1, 0]


def test_shares_of_the_largest() -> None:
    assert relative(np.array([0.0, 1.0, 4.0])).tolist() == pytest.approx([0, 0.25, 1.0], abs=1e-2)
    assert relative(np.zeros(3)).tolist() == [0, 0, 0]
    spike = np.zeros(10_000)
    spike[0] = 5
    assert relative(spike).max() == 1

"""Where pictures, frames and joints lie in what each network's layers give, and which layer is explained unless another is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from models.corrnet.network import CorrNet
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.skeleton import NUM_WHOLE_BODY, WHOLE_BODY
from models.mska.network import Mska, Stream
from models.mstfnet.network import MstfNet
from models.slowfastsign.network import SlowFastSign
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """axes: of a drawable layer of one clip: B (the clip), C channels, T frames, H and W of pictures, J joints; N is B and T in one.

    layer: the one that is explained unless another is named; None where gradients of the keypoints say more.
    """

    axes: str
    layer: Callable[[nn.Module], str | None]

    def drawable(self, shape: tuple[int, ...]) -> bool:
        """Whether something of this shape has places: pictures of more than one pixel, or joints."""
        return len(shape) == len(self.axes) and (all(shape[self.axes.index(axis)] > 1 for axis in "HW") if "H" in self.axes else True)

    @property
    def channels(self) -> int:
        return self.axes.index("C")

    @property
    def pooled(self) -> tuple[int, ...]:
        """Axes of places: a channel's weight is its gradient's mean over them, frame by frame."""
        return tuple(self.axes.index(axis) for axis in "HWJ" if axis in self.axes)

    def over_frames(self, cam: Tensor) -> Tensor:
        """A map without channels as (T, H, W), or (T, J)."""
        left = self.axes.replace("C", "")
        return cam.squeeze(left.index("B")) if "B" in left else cam


def _last_slow_block(network: nn.Module) -> str:
    assert isinstance(network, SlowFastSign)
    stage = network.backbone.stages[-1]
    return f"backbone.stages.{len(network.backbone.stages) - 1}.slow.{len(list(stage.get_submodule('slow').children())) - 1}"


def _last_layer(trunk: str) -> Callable[[nn.Module], str]:
    return lambda network: f"{trunk}.layers.{len(list(network.get_submodule(f'{trunk}.layers').children())) - 1}"


VIEWS: dict[type[nn.Module], LayerView] = {
    Mska: LayerView(axes="BCTJ", layer=lambda network: None),
    DstaSlr: LayerView(axes="TBJC", layer=lambda network: None),
    CorrNet: LayerView(axes="NCHW", layer=lambda network: "backbone.layer4"),
    MstfNet: LayerView(axes="NCHW", layer=lambda network: "backbone.layer4"),
    SlowFastSign: LayerView(axes="NCHW", layer=_last_slow_block),
    TwoStream: LayerView(axes="BCTHW", layer=_last_layer("trunks.rgb")),
    SingleStream: LayerView(axes="BCTHW", layer=_last_layer("trunk")),
}


def view_of(network: nn.Module) -> LayerView:
    """Raises ValueError for a network that has none."""
    for kind, view in VIEWS.items():
        if isinstance(network, kind):
            return view
    raise ValueError(f"{type(network).__name__} has no LayerView: add one to models.saliency_views")


def steps_of_frames(network: nn.Module, num_frames: int, num_steps: int) -> np.ndarray:
    """Which of a layer's `num_steps` steps shows each of the clip's `num_frames` frames, (T,); the padding that the network adds is left out."""
    before, total = 0, num_frames
    if isinstance(network, CorrNet | MstfNet | SlowFastSign):
        layout = network.options.layout
        before, total = layout.left, layout.padded_length(num_frames)
    return np.minimum((np.arange(num_frames) + before) * num_steps // total, num_steps - 1)


def joint_points(network: nn.Module, layer: str | None, num_joints: int, num_points: int) -> np.ndarray:
    """Which of a clip's `num_points` keypoints the first joints of a layer (None: of the input) are."""
    if isinstance(network, Mska) and layer is not None:
        parts = layer.split(".")
        for end in range(len(parts), 0, -1):
            stream = network.get_submodule(".".join(parts[:end]))
            if isinstance(stream, Stream):
                return np.asarray(stream.points.cpu())
    if isinstance(network, DstaSlr) and num_points == NUM_WHOLE_BODY:
        return np.array(WHOLE_BODY)
    return np.arange(min(num_joints, num_points))

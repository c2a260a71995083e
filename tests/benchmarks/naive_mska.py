"""MSKA-SLR written straight from its description: (B, C, T, J), a module per convolution, one product per subset, nothing fused.

It is the baseline of the benchmarks and the oracle of the unit tests, and reads the published state dict as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mska.config import BlockShape, MskaOptions
from models.mska.network import HEADS, Mska
from models.mska.published import PREFIX, export


class Table(nn.Module):
    """A constant table under the published name `pe`."""

    pe: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.zeros(1, *shape))


def conv_norm(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), padding=(kernel // 2, 0), stride=(stride, 1))
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class NaiveBlock(nn.Module):
    """Attention among joints, feed-forward and temporal convolution, in the published order of operations."""

    atts: Tensor

    def __init__(self, shape: BlockShape, *, num_subsets: int, num_joints: int, max_frames: int, dropout: float) -> None:
        super().__init__()
        C, O, self.inner, kernel, stride = shape
        self.num_subsets = num_subsets
        self.alphas = nn.Parameter(torch.ones(1, num_subsets, 1, 1))
        self.attention0s = nn.Parameter(torch.zeros(1, num_subsets, num_joints, num_joints))
        self.register_buffer("atts", torch.zeros(1, num_subsets, num_joints, num_joints))
        self.pes = Table(C, max_frames, num_joints)
        self.in_nets = nn.Conv2d(C, 2 * num_subsets * self.inner, 1)
        self.out_nets = conv_norm(num_subsets * C, O)
        self.ff_nets = conv_norm(O, O)
        self.out_nett = conv_norm(O, O, kernel, stride)
        changes = C != O or stride != 1
        self.downs1 = conv_norm(C, O) if changes else nn.Identity()
        self.downs2 = conv_norm(C, O) if changes else nn.Identity()
        self.downt2 = conv_norm(O, O, 1, stride) if changes else nn.Identity()
        self.drop, self.act = nn.Dropout(dropout), nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        B, _, T, J = x.shape
        coded = self.in_nets(x + self.pes.pe[:, :, :T])
        query, key = coded.view(B, 2 * self.num_subsets, self.inner, T, J).chunk(2, dim=1)
        scores = torch.einsum("bpctu,bpctv->bpuv", query, key) / (self.inner * T)
        maps = self.drop(self.atts + torch.tanh(scores) * self.alphas + self.attention0s)
        mixed = torch.einsum("bctu,bpuv->bpctv", x, maps).reshape(B, -1, T, J)
        y = self.act(self.downs1(x) + self.out_nets(mixed))
        y = self.act(self.downs2(x) + self.ff_nets(y))
        return self.act(self.downt2(y) + self.out_nett(y))


class NaiveBackbone(nn.Module):
    """The four streams under their published names."""

    def __init__(self, options: MskaOptions) -> None:
        super().__init__()
        self.points = options.streams
        width = options.blocks[0].in_channels
        for stream, points in options.streams.items():
            frames, layers = options.max_frames, nn.ModuleList()
            for shape in options.blocks:
                sizes = {"num_subsets": options.num_subsets, "num_joints": len(points), "max_frames": frames}
                layers.append(NaiveBlock(shape, dropout=options.attention_dropout, **sizes))
                frames = int(frames / shape.stride + 0.5)
            self.add_module(f"{stream}_input_map", nn.Sequential(*conv_norm(3, width), nn.LeakyReLU(0.1)))
            self.add_module(f"{stream}_graph_layers", layers)

    def forward(self, keypoints_BCTK: Tensor) -> dict[str, Tensor]:
        features = {}
        for stream, points in self.points.items():
            x = getattr(self, f"{stream}_input_map")(keypoints_BCTK[..., list(points)])
            for block in getattr(self, f"{stream}_graph_layers"):
                x = block(x)
            features[stream] = x.mean(3).transpose(1, 2)
        left, right, face, body = features["left"], features["right"], features["face"], features["body"]
        return {"fuse": torch.cat([left, face, right, body], 2), "left": torch.cat([left, face], 2), "right": torch.cat([right, face], 2), "body": body}


class MaskedNorm(nn.Module):
    """Batch norm of valid steps, in training; of all steps in evaluation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        if not self.training:
            return self.norm(x.flatten(0, 1)).view_as(x)
        rows = x.flatten(0, 1)
        return rows.index_put((valid.flatten(),), self.norm(rows[valid.flatten()])).view_as(x)


class FeedForward(nn.Module):
    """Layer norm and two convolutions over time, with residual."""

    def __init__(self, hidden: int, inner: int, kernels: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(hidden, eps=1e-6)
        convs = nn.Conv1d(hidden, inner, kernels[0], padding="same"), nn.Conv1d(inner, hidden, kernels[1], padding="same")
        self.pwff_layer = nn.Sequential(convs[0], nn.ReLU(), nn.Dropout(dropout), convs[1], nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.pwff_layer(self.layer_norm(x).transpose(1, 2)).transpose(1, 2) + x


class NaiveHead(nn.Module):
    """A visual head in its published order of operations."""

    def __init__(self, width: int, num_classes: int, hidden: int, inner: int, kernels: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.fc1, self.bn1, self.pe = nn.Linear(width, hidden), MaskedNorm(hidden), Table(5000, hidden)
        self.feedforward = FeedForward(hidden, inner, kernels, dropout)
        self.layer_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.gloss_output_layer = nn.Linear(hidden, num_classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.fc1(x), valid))
        x = self.drop(x + self.pe.pe[:, : x.shape[1]])
        logits: Tensor = self.gloss_output_layer(self.layer_norm(self.feedforward(x)))
        return logits


class NaiveMska(nn.Module):
    """Keypoints (B, 3, T, K), normalised, and step counts (B,) → logits of each head (B, S, V), padding counted as signing."""

    def __init__(self, options: MskaOptions, num_classes: int) -> None:
        super().__init__()
        self.visual_backbone_keypoint = NaiveBackbone(options)
        head = options.head
        for name, width in options.head_inputs.items():
            self.add_module(f"{name}_visual_head", NaiveHead(width, num_classes, head.hidden_size, head.ff_size, head.ff_kernels, head.dropout))

    def forward(self, keypoints_BCTK: Tensor, steps_B: Tensor) -> dict[str, Tensor]:
        features = self.visual_backbone_keypoint(keypoints_BCTK)
        valid = torch.arange(features["body"].shape[1])[None] < steps_B[:, None]
        return {name: getattr(self, f"{name}_visual_head")(features[name], valid) for name in HEADS}


def naive_twin(network: Mska) -> NaiveMska:
    """The naive network with the weights of `network`, through the published state dict, and in its mode and precision."""
    twin = NaiveMska(network.options, network.num_classes).to(next(network.parameters()).dtype)
    twin.load_state_dict({name.removeprefix(PREFIX): value for name, value in export(network).items()})
    return twin.train(network.training)

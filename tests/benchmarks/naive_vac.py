"""CorrNet, MSTFNet and SlowFastSign written straight from their descriptions: 3-D convolutions on (B, C, T, H, W), a module per step, nothing fused.

They are the baseline of the benchmarks and the oracle of the unit tests, and read the published state dicts as they are. All three are the
published padded form; those with auxiliary heads always answer with them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.corrnet.config import CorrNetOptions
from models.corrnet.network import CorrNet
from models.corrnet.published import export as export_corrnet
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.network import MstfNet
from models.mstfnet.published import export as export_mstfnet
from models.slowfastsign.config import BLOCKS as SLOWFAST_BLOCKS
from models.slowfastsign.config import FAST_KERNELS, SLOW_KERNELS, STRIDES, SlowFastOptions
from models.slowfastsign.network import BRANCHES, SlowFastSign
from models.slowfastsign.published import export as export_slowfast
from models.vac.config import SequenceOptions
from models.vac.resnet import BLOCKS
from models.vac.sequence import NormLinear

Logits = dict[str, Tensor]


def conv(in_channels: int, out_channels: int, kernel: tuple[int, int, int], stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv3d:
    padding = tuple(side // 2 for side in kernel)
    return nn.Conv3d(in_channels, out_channels, kernel, stride=(1, stride, stride), padding=padding, groups=groups, bias=bias)  # type: ignore[arg-type]


class NaiveBasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(in_channels, channels, (1, 3, 3), stride), nn.BatchNorm3d(channels)
        self.conv2, self.bn2 = conv(channels, channels, (1, 3, 3)), nn.BatchNorm3d(channels)
        changes = stride != 1 or in_channels != channels
        self.downsample = nn.Sequential(conv(in_channels, channels, (1, 1, 1), stride), nn.BatchNorm3d(channels)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class NaiveTrunk(nn.Module):
    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(3, width, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False), nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        before = width
        for stage, count in enumerate(BLOCKS[depth]):  # type: ignore[index]
            channels = width * 2**stage
            blocks = [NaiveBasicBlock(channels if block else before, channels, 2 if stage and not block else 1) for block in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            before = channels

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(torch.relu(self.bn1(self.conv1(x))))


class NaiveCorrelation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = channels // 16
        self.weights, self.weights2 = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
        self.down_conv, self.down_conv2 = conv(channels, reduced, (1, 1, 1)), conv(channels, channels, (1, 1, 1))
        for number in (1, 2, 3):
            aggregation = nn.Conv3d(reduced, reduced, (9, 3, 3), padding=(4, number, number), dilation=(1, number, number), groups=reduced)
            self.add_module(f"spatial_aggregation{number}", aggregation)
        self.conv_back = conv(reduced, channels, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.down_conv2(x)
        later = torch.cat([y[:, :, 1:], y[:, :, -1:]], dim=2)
        earlier = torch.cat([y[:, :, :1], y[:, :, :-1]], dim=2)
        features = torch.zeros_like(x)
        for weight, other in zip(self.weights2, (later, earlier), strict=True):
            alike = torch.einsum("bcthw,bctsd->bthwsd", x, other)
            features = features + weight * torch.einsum("bctsd,bthwsd->bcthw", other, torch.sigmoid(alike) - 0.5)
        z = self.down_conv(x)
        mixed = sum(weight * self.get_submodule(f"spatial_aggregation{index + 1}")(z) for index, weight in enumerate(self.weights))
        return features * (torch.sigmoid(self.conv_back(mixed)) - 0.5)


class NaiveCorrBackbone(NaiveTrunk):
    def __init__(self, options: CorrNetOptions) -> None:
        super().__init__(options.depth, options.width)
        self.stages, self.alpha = options.stages, nn.Parameter(torch.zeros(len(options.stages)))
        for stage in options.stages:
            self.add_module(f"corr{stage - 1}", NaiveCorrelation(options.width * 2 ** (stage - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
            if stage in self.stages:
                x = x + self.alpha[self.stages.index(stage)] * self.get_submodule(f"corr{stage - 1}")(x)
        return x.mean((3, 4))


def layers_over_time(in_size: int, options: SequenceOptions) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in options.layout.layers:
        if layer.pools:
            layers.append(nn.MaxPool1d(layer.size))
        else:
            layers += [nn.Conv1d(in_size, options.hidden_size, layer.size), nn.BatchNorm1d(options.hidden_size), nn.ReLU()]
            in_size = options.hidden_size
    return nn.Sequential(*layers)


class Convolution(nn.Module):
    """The published `conv1d`: layers over time and the classifier of their output."""

    def __init__(self, temporal_conv: nn.Module, fc: nn.Module) -> None:
        super().__init__()
        self.temporal_conv, self.fc = temporal_conv, fc


class Recurrent(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(size, size // 2, 2, bidirectional=True)  # without dropout, for comparisons

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], total_length=len(x))[0]


class NaiveCorrNet(nn.Module):
    """Frames (B, T, 3, H, W) → logits (B, S, V) of its heads."""

    def __init__(self, options: CorrNetOptions, num_classes: int) -> None:
        super().__init__()
        self.layout, hidden = options.layout, options.hidden_size
        self.conv2d = NaiveCorrBackbone(options)
        self.classifier = NormLinear(hidden, num_classes)
        self.conv1d = Convolution(layers_over_time(8 * options.width, options), self.classifier)
        self.temporal_model = Recurrent(hidden)

    def forward(self, frames: Tensor, lengths: Tensor) -> Logits:
        steps = self.layout.output_length(lengths)
        visual = self.conv1d.temporal_conv(self.conv2d(frames.transpose(1, 2))).permute(2, 0, 1)
        sequence = self.classifier(self.temporal_model(visual, steps))
        return {"sequence": sequence.transpose(0, 1), "conv": self.conv1d.fc(visual).transpose(0, 1)}


class NaiveFusion(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()

        def depthwise(kernel: tuple[int, int, int]) -> nn.Sequential:
            return nn.Sequential(conv(channels, channels, kernel, groups=channels), nn.BatchNorm3d(channels), nn.ReLU())

        self.t_convs = nn.ModuleList((depthwise((3, 1, 1)), depthwise((5, 1, 1))))
        self.s_convs = nn.ModuleList((depthwise((1, 3, 3)), depthwise((1, 5, 5))))
        reduced = channels // 8
        self.calibration = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), conv(channels, reduced, (1, 1, 1), bias=True), nn.ReLU(), conv(reduced, 4, (1, 1, 1), bias=True), nn.Softmax(dim=1)
        )
        self.st_gate = nn.Sequential(
            conv(2 * channels, channels // 2, (1, 1, 1), bias=True), nn.ReLU(), conv(channels // 2, channels, (1, 1, 1), bias=True), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        views = torch.stack([view(x) for view in (*self.t_convs, *self.s_convs)], dim=1)
        fused = (views * self.calibration(x)[:, :, None]).sum(1)
        return x + self.st_gate(torch.cat([x, fused], dim=1)) * fused


class NaiveMstfBackbone(NaiveTrunk):
    def __init__(self, options: MstfNetOptions) -> None:
        super().__init__(options.depth, options.width)
        self.alpha = nn.Parameter(torch.zeros(3))
        for stage in (1, 2, 3):
            self.add_module(f"stf{stage}", NaiveFusion(options.width * 2**stage))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, stages = self.get_submodule("layer1")(self.stem(x)), []
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            stages.append(x)
            x = x + self.alpha[stage - 1] * self.get_submodule(f"stf{stage}")(x)
        return x.mean((3, 4)), stages


class NaiveGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.insnorm = nn.Conv1d(channels, channels, 5, padding=2), nn.InstanceNorm1d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + x * (torch.sigmoid(self.insnorm(self.conv(x))) - 0.5)


class NaiveLiftPool(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()

        def lifter() -> nn.Sequential:
            return nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1, groups=channels), nn.ReLU(), nn.Conv1d(channels, channels, 1), nn.Tanh())

        self.predictor, self.updater = lifter(), lifter()
        self.weight1, self.weight2 = NaiveGate(channels), NaiveGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        detail = x[:, :, 1::2] - self.predictor(x[:, :, ::2])
        return self.weight1(x[:, :, ::2] + self.updater(detail)) + self.weight2(detail)


class NaiveAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, channels // 16, bias=False), nn.ReLU(), nn.Linear(channels // 16, channels, bias=False), nn.Sigmoid())
        inner, groups = channels // 4, min(32, channels // 4)
        self.temporal_att = nn.Sequential(
            conv(channels, inner, (3, 1, 1), groups=groups, bias=True),
            nn.BatchNorm3d(inner),
            nn.ReLU(),
            conv(inner, channels, (3, 1, 1), groups=groups, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        by_channel = self.fc(x.mean((2, 3, 4))) + self.fc(x.amax((2, 3, 4)))
        return x * torch.sigmoid(by_channel[:, :, None, None, None] + torch.sigmoid(self.temporal_att(x)))


class NaiveLevels(nn.Module):
    def __init__(self, options: MstfNetOptions) -> None:
        super().__init__()
        width, channels, hidden = options.width, 8 * options.width, options.hidden_size
        self.stse1 = NaiveAttention(channels)
        self.stse2, self.stse3 = (self.stse1, self.stse1) if options.attention == "shared" else (NaiveAttention(channels), NaiveAttention(channels))

        def reduce(in_channels: int, side: int) -> nn.Conv3d:
            return nn.Conv3d(in_channels, channels, (1, side, side), stride=(1, side, side))

        self.con1 = nn.Sequential(nn.AvgPool3d((1, 4, 4)), reduce(width, 2))
        self.con2 = nn.Sequential(reduce(2 * width, 4), nn.BatchNorm3d(channels), nn.ReLU())
        self.con3 = nn.Sequential(reduce(4 * width, 2), nn.BatchNorm3d(channels), nn.ReLU())
        self.tcn_layers = nn.Sequential(
            *(nn.Conv1d(options.level_size, hidden, 5), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Identity(), nn.MaxPool1d(2)),
            *(nn.Conv1d(hidden, hidden, 5), nn.BatchNorm1d(hidden), nn.ReLU(), nn.MaxPool1d(2)),
        )
        self.fc = nn.Linear(channels, options.level_size)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        levels = (self.stse1(self.con2(stages[0])), self.stse2(self.con3(stages[1])), self.stse3(stages[2]))
        return [self.tcn_layers(self.fc(level.mean((3, 4)).transpose(1, 2)).transpose(1, 2)).transpose(1, 2) for level in levels]


class NaiveMstfNet(nn.Module):
    """Frames (B, T, 3, H, W) → logits (B, S, V) of its heads, the levels' among them."""

    def __init__(self, options: MstfNetOptions, num_classes: int) -> None:
        super().__init__()
        self.layout, hidden, in_size = options.layout, options.hidden_size, 8 * options.width
        self.conv2d = NaiveMstfBackbone(options)
        layers: list[nn.Module] = []
        for layer in options.layout.layers:
            block = nn.Sequential(nn.Conv1d(in_size, hidden, layer.size), nn.BatchNorm1d(hidden), nn.ReLU())
            layers.append(NaiveLiftPool(hidden) if layer.pools else block)
            in_size = hidden
        self.classifier = NormLinear(hidden, num_classes)
        self.conv1d = Convolution(nn.Sequential(*layers), self.classifier)
        self.temporal_model = Recurrent(hidden)
        self.HFEAM = NaiveLevels(options)

    def forward(self, frames: Tensor, lengths: Tensor) -> Logits:
        features, stages = self.conv2d(frames.transpose(1, 2))
        visual = self.conv1d.temporal_conv(features).permute(2, 0, 1)
        sequence = self.classifier(self.temporal_model(visual, self.layout.output_length(lengths)))
        levels = {f"level{index + 1}": self.classifier(level) for index, level in enumerate(self.HFEAM(stages))}
        return {"sequence": sequence.transpose(0, 1), "conv": self.conv1d.fc(visual).transpose(0, 1), **levels}


class NaiveBranch2(nn.Module):
    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.a, self.a_bn = conv(in_channels, inner, (kernel, 1, 1)), nn.BatchNorm3d(inner)
        self.b, self.b_bn = conv(inner, inner, (1, 3, 3), stride), nn.BatchNorm3d(inner)
        self.c, self.c_bn = conv(inner, out_channels, (1, 1, 1)), nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_bn(self.c(torch.relu(self.b_bn(self.b(torch.relu(self.a_bn(self.a(x))))))))


class NaiveResidual(nn.Module):
    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        changes = in_channels != out_channels or stride != 1
        if changes:
            self.branch1, self.branch1_bn = conv(in_channels, out_channels, (1, 1, 1), stride), nn.BatchNorm3d(out_channels)
        self.branch2, self.changes = NaiveBranch2(in_channels, inner, out_channels, stride, kernel), changes

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((self.branch1_bn(self.branch1(x)) if self.changes else x) + self.branch2(x))


class NaiveStem(nn.Module):
    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, channels, (taps, 7, 7), stride=(1, 2, 2), padding=(taps // 2, 3, 3), bias=False)
        self.bn, self.pool = nn.BatchNorm3d(channels), nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.relu(self.bn(self.conv(x))))


class NaiveFusion3d(nn.Module):
    def __init__(self, fast: int, slow: int, options: SlowFastOptions) -> None:
        super().__init__()
        self.kind, kernel, alpha = options.fusion, options.fusion_kernel, options.alpha
        adds = self.kind in ("bi_add", "bi_add2")
        shown = slow if adds else fast * options.fusion_ratio
        if adds:
            self.weight_s, self.weight_f = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.conv_f2s = nn.Conv3d(fast, shown, (kernel, 1, 1), stride=(alpha, 1, 1), padding=(kernel // 2, 0, 0), bias=False)
        self.bn = nn.BatchNorm3d(shown)
        if self.kind != "fast_to_slow":
            self.conv_s2f, self.bn2 = conv(slow, fast, (1, 1, 1)), nn.BatchNorm3d(fast)

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        to_slow = torch.relu(self.bn(self.conv_f2s(fast)))
        if self.kind == "fast_to_slow":
            return torch.cat([slow, to_slow], dim=1), fast
        to_fast = F.interpolate(torch.relu(self.bn2(self.conv_s2f(slow))), size=fast.shape[2:], mode="nearest")
        if self.kind == "bi_cat":
            return torch.cat([slow, to_slow], dim=1), torch.cat([fast, to_fast], dim=1)
        if self.kind == "bi_add":
            return slow + self.weight_s * to_slow, fast + self.weight_f * to_fast
        return self.weight_s * slow + (1 - self.weight_s) * to_slow, self.weight_f * fast + (1 - self.weight_f) * to_fast


class NaiveSlowFast(nn.Module):
    def __init__(self, options: SlowFastOptions) -> None:
        super().__init__()
        self.options, widths = options, (options.width, options.width // options.beta_inverse)
        self.s1 = nn.ModuleDict({f"pathway{index}_stem": NaiveStem(width, taps) for index, (width, taps) in enumerate(zip(widths, (1, 5), strict=True))})
        for stage, (count, stride) in enumerate(zip(SLOWFAST_BLOCKS[options.depth], STRIDES, strict=True)):
            times = 1 if stage == 0 else 2 * 2**stage
            self.add_module(f"s{stage + 1}_fuse", NaiveFusion3d(widths[1] * times, widths[0] * times, options))
            blocks = {}
            for index, (width, kernels) in enumerate(zip(widths, (SLOW_KERNELS, FAST_KERNELS), strict=True)):
                inner = width * 2**stage
                for block in range(count):
                    kernel = kernels[stage] if block < options.temporal_blocks[stage] else 1
                    shown = {"bi_cat": (options.fusion_ratio, 1), "fast_to_slow": (options.fusion_ratio, 0)}.get(options.fusion, (0, 0))[index]
                    before = 4 * inner if block else width * times + shown * widths[1] * times
                    blocks[f"pathway{index}_res{block}"] = NaiveResidual(before, inner, 4 * inner, 1 if block else stride, kernel)
            self.add_module(f"s{stage + 2}", nn.ModuleDict(blocks))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.options.alpha
        slow, fast = self.s1["pathway0_stem"](x[:, :, ::alpha]), self.s1["pathway1_stem"](x)
        for stage in range(len(STRIDES)):
            slow, fast = self.get_submodule(f"s{stage + 1}_fuse")(slow, fast)
            for name, block in self.get_submodule(f"s{stage + 2}").named_children():
                slow, fast = (block(slow), fast) if name.startswith("pathway0") else (slow, block(fast))
        slow, fast = slow.mean((3, 4)), fast.mean((3, 4))
        return torch.cat([F.interpolate(slow, scale_factor=alpha, mode="nearest"), fast], dim=1)


class NaiveBranches(nn.Module):
    def __init__(self, widths: dict[str, int], options: SlowFastOptions, classifiers: nn.ModuleList) -> None:
        super().__init__()
        for name, width in widths.items():
            self.add_module(f"{name}_temporal_conv", layers_over_time(width, options))
        self.fc = nn.ModuleList(classifiers)


class NaiveSlowFastSign(nn.Module):
    """Frames (B, T, 3, H, W) → logits (B, S, V) of the heads of its three branches, without dropout of features."""

    def __init__(self, options: SlowFastOptions, num_classes: int) -> None:
        super().__init__()
        self.layout, hidden = options.layout, options.hidden_size
        self.slow_size, fast = 32 * options.width, 32 * (options.width // options.beta_inverse)
        self.conv2d = NaiveSlowFast(options)
        self.classifier = nn.ModuleList(NormLinear(hidden, num_classes) for _ in BRANCHES)
        self.conv1d = NaiveBranches({"fast": fast, "slow": self.slow_size, "main": self.slow_size + fast}, options, self.classifier)
        self.temporal_model = nn.ModuleList(Recurrent(hidden) for _ in BRANCHES)

    def forward(self, frames: Tensor, lengths: Tensor) -> Logits:
        steps, features = self.layout.output_length(lengths), self.conv2d(frames.transpose(1, 2))
        inputs, logits = {"main": features, "slow": features[:, : self.slow_size], "fast": features[:, self.slow_size :]}, {}
        for index, (name, value) in enumerate(inputs.items()):
            visual = self.conv1d.get_submodule(f"{name}_temporal_conv")(value).permute(2, 0, 1)
            prefix = "" if name == "main" else f"{name}_"
            logits[f"{prefix}sequence"] = self.classifier[index](self.temporal_model[index](visual, steps)).transpose(0, 1)
            logits[f"{prefix}conv"] = self.conv1d.fc[index](visual).transpose(0, 1)
        return logits


def naive_twin(network: CorrNet | MstfNet | SlowFastSign) -> nn.Module:
    """The naive network with the weights of `network`, through the published state dict, and in its mode and precision."""
    twin: nn.Module
    if isinstance(network, CorrNet):
        twin, state = NaiveCorrNet(network.options, network.num_classes), export_corrnet(network)
    elif isinstance(network, MstfNet):
        twin, state = NaiveMstfNet(network.options, network.num_classes), export_mstfnet(network)
    else:
        twin, state = NaiveSlowFastSign(network.options, network.num_classes), export_slowfast(network)
    twin.to(next(network.parameters()).dtype).load_state_dict(state)
    return twin.train(network.training)

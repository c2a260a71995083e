"""A bundle's answer to one clip with what it rests on: for each gloss (or the sign) where in the pictures, or at which keypoints, and when."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import ENSEMBLE, Batch, Heads
from models.bundle import Bundle
from models.class_map import ClassMap
from models.decoding.decode import decode
from models.decoding.options import DecodingOptions
from models.errors import LayerError, RecordingError, VocabularyError
from models.inputs.clip import Clip
from models.recognition import NOT_FINITE
from models.saliency import Activation, check_layer, evaluated, grad_cam, layer_shapes, watched
from models.saliency_views import LayerView, joint_points, steps_of_frames, view_of
from models.systems import SYSTEMS
from models.translation.network import SignToText
from models.translation.translator import GlossToText


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedSign:
    """A gloss or sign. steps: half-open, of the network; confidence: its posterior over them.

    saliency: float32 in [0, 1], 1 where it rests most; (F, H, W) over pictures, or (F, J) over the explanation's `points`, F frames of the clip.
    """

    name: str
    index: int
    confidence: float
    steps: tuple[int, int]
    saliency: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What was recognised in a clip, and why. posteriors: (S, V) over all classes, of `head`; classes: their names.

    frames: (T,) which frame of the clip each frame that the network saw is. step_frames: (S,) where on the clip's frames each step's middle lies.
    layer: the one that Grad-CAM looked at; None where gradients of keypoints were taken. points: (J,) the keypoints of `saliency`, or None.
    pictures: uint8 RGB (F, H, W, 3) as the network saw the clip's frames, or the heatmaps of its keypoints; None where it reads neither.
    """

    clip: Clip
    system: str
    head: str
    classes: tuple[str, ...]
    posteriors: np.ndarray
    step_frames: np.ndarray
    frames: np.ndarray
    signs: tuple[ExplainedSign, ...]
    layer: str | None
    points: np.ndarray | None
    pictures: np.ndarray | None

    @property
    def isolated(self) -> bool:
        return len(self.posteriors) == 1

    def peak_frame(self, sign: ExplainedSign) -> int:
        """The clip's frame at which the sign is likeliest; of an isolated one the frame that counts most."""
        if self.isolated:
            return int(sign.saliency.reshape(len(sign.saliency), -1).sum(1).argmax())
        first, end = sign.steps
        return round(float(self.step_frames[first + int(self.posteriors[first:end, sign.index].argmax())]))


@dataclass(frozen=True, kw_only=True)
class _Target:
    name: str
    index: int
    steps: tuple[int, int]


def recogniser_of(network: nn.Module) -> nn.Module:
    """The network that recognises: of one that translates the part whose glosses it translates. Raises LayerError for one that reads glosses only."""
    if isinstance(network, GlossToText):
        raise LayerError("gloss-to-text reads glosses, not clips: give the bundle of a recogniser, or of a network that translates clips")
    return network.recogniser if isinstance(network, SignToText) else network


def drawable_layers(bundle: Bundle, network: nn.Module, clip: Clip) -> dict[str, tuple[int, ...]]:
    """The layers at which Grad-CAM has something to draw for the clip, in the network's order, and the shapes of what they give."""
    batch, view = _batch(bundle, network, clip), view_of(network)
    with evaluated(network):
        shapes = layer_shapes(network, lambda: network(batch))
    return {name: shape for name, shape in shapes.items() if view.drawable(shape)}


def explain(bundle: Bundle, network: nn.Module, clip: Clip, *, head: str | None = None, layer: str | None = None, names: Sequence[str] = ()) -> Explanation:
    """The answer of `head` (None: the bundle's) to a clip and what it rests on.

    layer: for Grad-CAM; None takes the system's own, or, of keypoint networks, the gradients of the keypoints. names: glosses, or signs, to explain
    instead of those recognised. Errors: RecordingError for a clip that the network can't take, or in which nothing is recognised; LayerError for
    a layer that isn't there or has nothing to draw; VocabularyError for an unknown name; ValueError for an unknown head.
    """
    system, head = SYSTEMS[bundle.system], head or bundle.decoding.head
    if head not in bundle.answering:
        raise ValueError(f"no head {head!r}: there are {', '.join(bundle.answering)}")
    batch, view = _batch(bundle, network, clip), view_of(network)
    layer = layer or view.layer(network)
    if layer is not None:
        check_layer(layer, list(drawable_layers(bundle, network, clip)), what=f"of {bundle.system} has places to draw")
    with evaluated(network):
        heads, seen = _forward(network, batch, layer)
        logits_SV = _over_steps(system.all_logits(heads)[head]).detach().float().cpu()
        if not torch.isfinite(logits_SV).all():
            raise RecordingError(f"{clip.name}: {NOT_FINITE}")
        targets = _named(bundle, names, logits_SV) if names else _recognised(bundle, logits_SV)
        if not targets:
            raise RecordingError(f"{clip.name}: nothing was recognised, so there is nothing to explain: name a gloss that is to be explained")
        counted = [name for name in system.heads if name in heads.logits] if head == ENSEMBLE else [head]
        gradients = [seen.gradient(_score(heads, counted, target)) for target in targets]
    frames = bundle.inputs.evaluation_frames(clip.num_frames)
    maps = [_places(network, view, seen, gradient, layer, len(frames)) for gradient in gradients]
    points = joint_points(network, layer, maps[0].shape[1], clip.keypoints.shape[1]) if maps[0].ndim == 2 else None
    posteriors = logits_SV.softmax(-1).numpy()
    return Explanation(
        clip=clip,
        system=bundle.system,
        head=head,
        classes=_class_names(bundle),
        posteriors=posteriors,
        step_frames=_step_frames(frames, len(posteriors)),
        frames=frames,
        signs=tuple(
            ExplainedSign(
                name=target.name,
                index=target.index,
                confidence=float(posteriors[slice(*target.steps), target.index].mean()),
                steps=target.steps,
                saliency=on_clip(relative(values if points is None else values[:, : len(points)]), frames, clip.num_frames),
            )
            for target, values in zip(targets, maps, strict=True)
        ),
        layer=layer,
        points=points,
        pictures=_pictures(batch, frames, clip.num_frames),
    )


def _class_names(bundle: Bundle) -> tuple[str, ...]:
    return bundle.classes.labels if isinstance(bundle.classes, ClassMap) else bundle.classes.entries


def _batch(bundle: Bundle, network: nn.Module, clip: Clip) -> Batch:
    return bundle.inputs.on_device(bundle.inputs.evaluation_batch([clip]).to(next(network.parameters()).device))


def _forward(network: nn.Module, batch: Batch, layer: str | None) -> tuple[Heads, Activation]:
    if layer is not None:
        with watched(network, layer) as seen:
            heads = network(batch)
        return heads, seen
    keypoints = batch.keypoints.detach().requires_grad_()
    return network(replace(batch, keypoints=keypoints)), Activation(value=keypoints, calls=1)


def _over_steps(logits: Tensor) -> Tensor:
    """(S, V) of a batch of one; an isolated sign has one step."""
    return logits[0] if logits.ndim == 3 else logits


def _recognised(bundle: Bundle, logits_SV: Tensor) -> list[_Target]:
    if isinstance(bundle.classes, ClassMap):
        best = int(logits_SV[0].argmax())
        return [_Target(name=bundle.classes.decode(best), index=best, steps=(0, 1))]
    options = bundle.decoding
    assert isinstance(options, DecodingOptions)
    (hypothesis,) = decode(
        logits_SV[None],
        torch.tensor([len(logits_SV)]),
        beam_width=options.beam_width,
        method=options.method,
        merge_repeats=options.merge_repeats,
        cutoff_top_n=options.cutoff_top_n,
        cutoff_prob=options.cutoff_prob,
    )
    words = bundle.classes.decode(hypothesis.ids)
    return [_Target(name=word, index=index, steps=span) for word, index, span in zip(words, hypothesis.ids, hypothesis.spans, strict=True)]


def _named(bundle: Bundle, names: Sequence[str], logits_SV: Tensor) -> list[_Target]:
    known = {name: index for index, name in enumerate(_class_names(bundle))}
    targets = []
    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise VocabularyError(f"no gloss or sign {name!r} in {bundle.folder}: the nearest is {nearest[0]!r}")
        step = int(logits_SV.softmax(-1)[:, known[name]].argmax())
        targets.append(_Target(name=name, index=known[name], steps=(step, step + 1)))
    return sorted(targets, key=lambda target: target.steps)


def _score(heads: Heads, counted: Sequence[str], target: _Target) -> Tensor:
    """The target's logit, mean over its steps, of all heads that count together."""
    total = torch.stack([_over_steps(heads.logits[name])[slice(*target.steps), target.index].mean() for name in counted]).sum()
    if not total.requires_grad:
        raise LayerError("the answer doesn't depend on this layer: name one that comes before the heads that answer")
    return total


def _places(network: nn.Module, view: LayerView, seen: Activation, gradient: Tensor, layer: str | None, num_frames: int) -> np.ndarray:
    """(T, H, W), or (T, J), of the frames that the network saw."""
    assert seen.value is not None
    if layer is None:  # how much a point's place counts, whichever way it moves
        return np.asarray(gradient[0, :num_frames, :, :2].norm(dim=-1).float().cpu())
    cam = view.over_frames(grad_cam(seen.value.detach(), gradient, channels=view.channels, pooled=view.pooled)).float().cpu().numpy()
    return np.asarray(cam[steps_of_frames(network, num_frames, len(cam))])


def relative(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1, float32: a share of the largest, the few that tower above all others cut; zeros where all are."""
    top = float(np.quantile(values, 0.999))
    top = top if top > 0 else float(values.max())
    return np.clip(values / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(values, dtype=np.float32)


def on_clip(values: np.ndarray, frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Values of the frames that the network saw, (T, ...), on all frames of the clip: the most of a frame that it saw twice.

    A frame that it skipped shows what the one before it does; zeros before the first and after the last that it saw.
    """
    out = np.zeros((num_frames, *values.shape[1:]), values.dtype)
    np.maximum.at(out, frames, values)
    return np.asarray(out[_shown(frames, num_frames)] * _inside(frames, num_frames).reshape(-1, *[1] * (values.ndim - 1)))


def _shown(frames: np.ndarray, num_frames: int) -> np.ndarray:
    """For each frame of a clip the last one up to it that was seen, else the first."""
    seen = np.zeros(num_frames, bool)
    seen[frames] = True
    return np.maximum.accumulate(np.where(seen, np.arange(num_frames), int(frames.min())))


def _inside(frames: np.ndarray, num_frames: int) -> np.ndarray:
    places = np.arange(num_frames)
    inside: np.ndarray = (places >= frames.min()) & (places <= frames.max())
    return inside


def _step_frames(frames: np.ndarray, num_steps: int) -> np.ndarray:
    """Middle of each step on the clip's frames."""
    middles = (np.arange(num_steps) + 0.5) * len(frames) / num_steps - 0.5
    return np.asarray(np.interp(middles, np.arange(len(frames)), frames))


def _pictures(batch: Batch, frames: np.ndarray, num_frames: int) -> np.ndarray | None:
    if batch.frames is not None:
        seen = batch.frames[0, : len(frames)].permute(0, 2, 3, 1).cpu()
    elif batch.heatmaps is not None:  # where any point is, in grey
        seen = batch.heatmaps[0, :, : len(frames)].amax(0)[..., None].expand(-1, -1, -1, 3).float().cpu()
    else:
        return None
    if seen.is_floating_point():
        seen = (seen * 255).round().clamp(0, 255)
    first_seen = np.zeros(num_frames, np.int64)
    first_seen[frames[::-1]] = np.arange(len(frames))[::-1]
    return np.asarray(seen.to(torch.uint8)[first_seen[_shown(frames, num_frames)]])

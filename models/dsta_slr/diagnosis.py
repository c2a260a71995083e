"""Which stream do a checkpoint's weights belong to? (dsta_slr.md, section 9)

The published checkpoint is said to evaluate wrongly; most likely it belongs to another stream than it was evaluated on. The network's first
batch norm keeps the mean and variance of every joint's x, y and confidence in the training data, and these differ between streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dsta_slr.layers import Norm
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.skeleton import LINKS, NUM_JOINTS
from models.dsta_slr.streams import Stream, bone_matrix
from models.errors import CheckpointError

STATISTICS = ("data_bn", "input_norm")  # published name, ours
STILL, PRESENT = 0.02, 0.1  # mean confidence of the nose: below is a motion stream, above is not, between is anybody's guess
GROUPS = (slice(0, 7), slice(7, 17), slice(17, 27))  # body, left hand, right hand
MARGIN = 1.3  # how many times better than the next stream the best must fit
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StreamGuess:
    """The stream that a state dict's statistics speak of. clear: whether the other streams fit much worse. misfits: stream → how badly it fits, best first."""

    stream: Stream
    clear: bool
    misfits: Mapping[Stream, float]
    evidence: str

    def __str__(self) -> str:
        return f"{self.stream} ({'clear' if self.clear else 'unsure'}: {self.evidence})"


def likely_stream(state: Mapping[str, Tensor]) -> StreamGuess:
    """The stream of a state dict with published names or ours. Raises CheckpointError where it has no statistics of 27 joints × 3."""
    mean_JC, variance_JC = (_statistics(state, entry) for entry in ("running_mean", "running_var"))
    confidence, nose = mean_JC[:, 2], float(mean_JC[0, 2])
    motion = abs(nose) < (STILL + PRESENT) / 2
    misfit = _motion_misfits(variance_JC) if motion else _still_misfits(confidence)
    misfits = dict(sorted(misfit.items(), key=lambda pair: pair[1]))
    best, second = list(misfits.values())[:2]
    told = bool(np.ptp(variance_JC) > 0)  # a fresh norm, or one whose statistics were put back, says nothing
    clear = told and not STILL < abs(nose) < PRESENT and second > MARGIN * best
    evidence = f"mean confidence of the nose {nose:.2f}, of all joints {confidence.min():.2f} to {confidence.max():.2f}"
    return StreamGuess(stream=next(iter(misfits)), clear=clear, misfits=misfits, evidence=evidence)


def check_stream(state: Mapping[str, Tensor], asked: Stream, *, any_stream: bool = False) -> StreamGuess:
    """The guess for `state`; raises CheckpointError where it is clearly another stream than `asked`, unless `any_stream`."""
    guess = likely_stream(state)
    if guess.clear and guess.stream != asked and not any_stream:
        raise CheckpointError(
            f"these weights belong to the stream {guess.stream} ({guess.evidence}), not {asked}: "
            f"evaluate them on {guess.stream}, or override the check (--any-stream)"
        )
    return guess


def _statistics(state: Mapping[str, Tensor], entry: str) -> Vector:
    """(J, 3) of the first batch norm."""
    value = next((state[f"{name}.{entry}"] for name in STATISTICS if f"{name}.{entry}" in state), None)
    if value is None or value.numel() != NUM_JOINTS * 3:
        raise CheckpointError(f"no {STATISTICS[0]}.{entry} of {NUM_JOINTS} joints × 3 channels: not weights of DSTA-SLR on 27 joints")
    result: Vector = value.detach().double().cpu().numpy().reshape(NUM_JOINTS, 3)
    if not np.isfinite(result).all():
        raise CheckpointError(f"{STATISTICS[0]}.{entry} isn't finite: the checkpoint is of a training that diverged, or damaged")
    return result


def _still_misfits(confidence: Vector) -> dict[Stream, float]:
    """How implausible the joints' mean confidences would be, were `confidence` the stream's: unequal within a hand or the body, or outside [0, 1]."""
    misfits = {}
    for stream in (stream for stream in Stream if not stream.is_motion):
        means = np.linalg.solve(bone_matrix(stream), confidence)
        outside = np.clip(-means, 0, None) + np.clip(means - 1.05, 0, None)  # some detectors go a little beyond 1
        misfits[stream] = float(_group_centred(means).std() + 3 * outside.mean()) + 0.02
    return misfits


def _motion_misfits(variance_JC: Vector) -> dict[Stream, float]:
    """Distance of the variances over joints from the profile that plausible motion would have in the stream, levels aside."""
    place, confidence = (np.log(variances + 1e-3 * variances.max() + 1e-12) for variances in (variance_JC[:, :2].mean(1), variance_JC[:, 2]))
    misfits = {}
    for stream in (stream for stream in Stream if stream.is_motion):
        places, confidences = _profiles(stream)
        of_place = min(_distance(place - profile) for profile in places)
        of_confidence = min(_distance(_group_centred(confidence - profile)) for profile in confidences)
        misfits[stream] = of_place + of_confidence / 2 + 0.02
    return misfits


def _distance(residual: Vector) -> float:
    return float(np.abs(residual - np.median(residual)).mean())


def _group_centred(values: NDArray[np.floating]) -> Vector:
    """`values` of the joints less the median of their group: a detector is less sure of hands than of bodies."""
    return np.concatenate([values[group] - np.median(values[group]) for group in GROUPS])


@cache
def _profiles(stream: Stream) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
    """Log variance of every joint in the stream: of its place, in limbs that carry what hangs on them; and of its confidence."""
    limbs, jitter = _carried(), np.eye(NUM_JOINTS)
    places = [limbs @ np.diag(own) @ limbs.T + tracking * jitter for own in _LIMBS for tracking in (0.01, 0.1, 1.0)]
    together = np.zeros((NUM_JOINTS, NUM_JOINTS))
    for group in GROUPS:
        together[group, group] = 1
    confidences = [jitter + share * together for share in (0.0, 1.0, 5.0)]
    bones = bone_matrix(stream)
    ours, theirs = ([np.log(np.diag(bones @ covariance @ bones.T)) for covariance in kind] for kind in ([jitter, *places], confidences))
    return tuple(ours), tuple(theirs)


# Variances of motion relative to the joint that one hangs on: torso, elbows, wrists, hand roots, fingers.
_LIMBS = [
    np.array([torso] * 3 + [elbow] * 2 + [wrist] * 2 + ([root] + [fingers] * 9) * 2)
    for torso, elbow, wrist, root, fingers in ((1.0, 1.0, 1.0, 0.1, 0.3), (0.1, 0.5, 1.0, 0.05, 0.1), (0.02, 0.3, 1.0, 0.02, 0.05), (0.3, 0.3, 0.3, 0.1, 0.3))
]


def _carried() -> Vector:
    """(J, J): 1 where a joint hangs on another along the links, itself included."""
    carried = np.eye(NUM_JOINTS)
    for _ in range(NUM_JOINTS):
        for parent, child in LINKS:
            carried[child] = np.maximum(carried[child], carried[parent])
    return carried


@torch.no_grad()
def reestimate_statistics(network: DstaSlr, batches: Iterable[Tensor]) -> int:
    """Replace every batch norm's statistics by the mean over `batches` of training skeletons (B, T, K, 3); returns how many there were.

    Drop modules are off meanwhile; weights stay as they are. Raises ValueError without a batch.
    """
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    momenta, keeps, training = [norm.momentum for norm in norms], network.keep_probability, network.training
    for norm in norms:
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    network.train().set_keep_probability(1.0)
    count = 0
    try:
        for count, batch in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1 / count
            network.classify(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(training).set_keep_probability(keeps)
    if not count:
        raise ValueError("no batch to estimate statistics from")
    return count


def class_permutation(predicted: Tensor, labels: Tensor, num_classes: int, *, at_least: float = 0.8) -> Tensor | None:
    """The class order of the weights, where their answers fit the labels but for the classes' order: label (V,) of each predicted class, else None.

    predicted, labels: (N,) class ids. Each predicted class is paired with one label, greedily by count; None where under `at_least` of the clips
    agree then, or where nothing is exchanged. A class never predicted or paired keeps its own id where that is free.
    """
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.long)
    confusion.index_put_((predicted, labels), torch.ones_like(labels), accumulate=True)
    order, agreeing = _paired(confusion)
    identity = torch.arange(num_classes)
    if not len(labels) or agreeing < at_least * len(labels) or bool((order == identity).all()):
        return None
    return order


def _paired(confusion_VV: Tensor) -> tuple[Tensor, int]:
    """Label of each predicted class, and how many clips agree."""
    order, taken, agreeing = torch.full((len(confusion_VV),), -1), set(), 0
    counts, places = confusion_VV.flatten().sort(descending=True, stable=True)
    for count, place in zip(counts.tolist(), places.tolist(), strict=True):
        if not count:
            break
        row, column = divmod(place, len(confusion_VV))
        if order[row] < 0 and column not in taken:
            order[row], agreeing = column, agreeing + count
            taken.add(column)
    left = [label for label in range(len(order)) if label not in taken]
    for row in torch.nonzero(order < 0)[:, 0].tolist():
        order[row] = left.pop(left.index(row) if row in left else 0)
    return order, agreeing

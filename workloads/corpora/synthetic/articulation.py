"""From glosses to moving articulators: signs, the transitions between them, mouth and head, over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workloads.corpora.synthetic.face import FACE_CHANNELS, MOUTH_SHAPES
from workloads.corpora.synthetic.handshapes import HAND_SHAPES
from workloads.corpora.synthetic.lexicon import Sign
from workloads.corpora.synthetic.places import facing_quaternion, place_point
from workloads.corpora.synthetic.signers import Signer

# Channels of a hand: position of the palm's centre, orientation, joint angles of the five fingers.
POSITION, ORIENTATION, SHAPE = slice(0, 3), slice(3, 7), slice(7, 22)
_HAND_CHANNELS = 22
REST_SECONDS = 0.16  # before and after a sentence
_OUTWARDS, _UPWARDS = np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
_BASE_FACING, _REST_FACING = "up in", "in down"
_SMOOTHING_SECONDS = 0.035  # of the low-pass filter that lets neighbours undershoot
_SHAPE_LEAD = 1.4  # a hand shape is ready before the hand has arrived


@dataclass(frozen=True, kw_only=True)
class Token:
    """One sign as one signer makes it once: displaced by `offset` (2, 3) (dominant hand, other hand) and larger or smaller by `amplitude`."""

    sign: Sign
    seconds: float
    offset: np.ndarray
    amplitude: float


@dataclass(frozen=True, kw_only=True)
class Articulation:
    """Channels over time: hands (T, 2, 22), dominant first, in side coordinates; face (T, 8), see `FACE_CHANNELS`. spans: each sign's frames, [start, end)."""

    hands: np.ndarray
    face: np.ndarray
    spans: tuple[tuple[int, int], ...]


def _ease(phase: np.ndarray) -> np.ndarray:
    eased: np.ndarray = phase * phase * (3 - 2 * phase)
    return eased


def _minimum_jerk(phase: np.ndarray) -> np.ndarray:
    progress: np.ndarray = phase**3 * (10 - 15 * phase + 6 * phase**2)
    return progress


def _path(sign: Sign, phase: np.ndarray, points: np.ndarray, *, opposed: bool) -> np.ndarray:
    """Positions (n, 3) at phases (n,) in 0..1 along the sign's movement from the first to the last of `points` (2, 3).

    opposed: half a cycle apart, as the other hand of an alternating sign.
    """
    start, end = points
    if sign.movement == "circle":
        angle = 2 * np.pi * sign.repeats * phase + (np.pi if opposed else 0.0)
        return np.asarray(start + sign.size * (np.cos(angle)[:, None] * _UPWARDS + np.sin(angle)[:, None] * _OUTWARDS))
    if sign.movement == "repeat":
        swing = 0.5 - 0.5 * np.cos(2 * np.pi * sign.repeats * phase)
        along = 1 - swing if opposed else swing
    elif sign.movement == "hold":
        along = np.zeros_like(phase)
    else:
        along = _ease(1 - phase if opposed else phase)
    positions: np.ndarray = start + along[:, None] * (end - start)
    if sign.movement == "arc":
        positions = positions + sign.size * np.sin(np.pi * along)[:, None] * _UPWARDS
    elif sign.movement == "zigzag":
        positions = positions + sign.size * np.sin(2 * np.pi * sign.repeats * phase)[:, None] * _OUTWARDS
    return positions


def _changing(values: list[np.ndarray], phase: np.ndarray) -> np.ndarray:
    """From the first to the last of `values` in the middle of the sign: (n, channels)."""
    blend = _ease(np.clip(1.6 * phase - 0.3, 0, 1))[:, None]
    return np.asarray((1 - blend) * values[0] + blend * values[-1])


def _hand(position: np.ndarray, orientation: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return np.concatenate([np.broadcast_to(part, (len(position), part.shape[-1])) for part in (position, orientation, shape)], axis=-1)


def _rest(num_frames: int, signer: Signer) -> np.ndarray:
    position = np.broadcast_to(place_point("rest", signer), (num_frames, 3))
    return _hand(position, facing_quaternion(_REST_FACING), HAND_SHAPES["rest"].ravel())


def _aligned(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` or its negative, whichever is the nearer name of the same rotation."""
    return other if np.dot(first, other) >= 0 else -other


def stroke(token: Token, phase: np.ndarray, signer: Signer) -> np.ndarray:
    """The sign itself at phases (n,) in 0..1, without its neighbours: hands (n, 2, 22)."""
    sign = token.sign
    points = np.stack([place_point(name, signer) for name in (sign.places[0], sign.places[-1])])
    middle = points.mean(axis=0)
    points = middle + signer.amplitude * token.amplitude * (points - middle)
    quaternions = [facing_quaternion(facing) for facing in sign.facing]
    quaternions[-1] = _aligned(quaternions[0], quaternions[-1])
    orientation = _changing(quaternions, phase)
    shape = _changing([HAND_SHAPES[name].ravel() for name in sign.shapes], phase)
    if sign.wiggle:
        flutter = np.zeros((len(phase), 5, 3))
        flutter[:, 1:, 0] = 0.35 + 0.35 * np.sin(6 * np.pi * phase[:, None] + 1.3 * np.arange(4))
        shape = shape + flutter.reshape(len(phase), -1)
    dominant = _hand(_path(sign, phase, points, opposed=False), orientation, shape)

    if sign.hands == "one":
        other = _rest(len(phase), signer)
    elif sign.hands == "base":
        position = np.broadcast_to(place_point("base", signer), (len(phase), 3))
        other = _hand(position, facing_quaternion(_BASE_FACING), HAND_SHAPES[sign.base].ravel())
    elif sign.hands == "parallel":
        mirrored = middle + (points - middle) * np.array([-1.0, 1.0, 1.0])
        other = _hand(_path(sign, phase, mirrored, opposed=False), orientation, shape)
    else:
        other = _hand(_path(sign, phase, points, opposed=sign.hands == "alternating"), orientation, shape)
    hands = np.stack([dominant, other], axis=1)
    hands[..., POSITION] += token.offset
    return hands


def _transition_seconds(start: np.ndarray, end: np.ndarray, *, sign_seconds: float, tempo: float) -> float:
    """Longer the further the hands have to go: (2, 22) → (2, 22)."""
    distance = np.linalg.norm(end[:, POSITION] - start[:, POSITION], axis=-1).max()
    return float(sign_seconds * tempo * (0.3 + 0.25 * min(distance, 2.0)))


def _transition(start: np.ndarray, end: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Minimum-jerk movement between two postures (2, 22) at phases (n,): (n, 2, 22)."""
    blend = _minimum_jerk(phase)[:, None, None]
    hands: np.ndarray = (1 - blend) * start + blend * end
    for hand in range(2):
        target = _aligned(start[hand, ORIENTATION], end[hand, ORIENTATION])
        hands[:, hand, ORIENTATION] = (1 - blend[:, 0]) * start[hand, ORIENTATION] + blend[:, 0] * target
    early = _minimum_jerk(np.minimum(_SHAPE_LEAD * phase, 1.0))[:, None, None]
    hands[..., SHAPE] = (1 - early) * start[:, SHAPE] + early * end[:, SHAPE]
    return hands


def _smoothed(channels: np.ndarray, *, fps: float) -> np.ndarray:
    """Gaussian low-pass over time (axis 0), the ends held."""
    sigma = _SMOOTHING_SECONDS * fps
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(channels, [(reach, reach)] + [(0, 0)] * (channels.ndim - 1), mode="edge")
    weights /= weights.sum()
    return np.asarray(sum(weight * padded[i : i + len(channels)] for i, weight in enumerate(weights)))


def articulate(tokens: list[Token], signer: Signer, *, fps: float, sign_seconds: float, rest_seconds: tuple[float, float]) -> Articulation:
    """A sentence in time: rest, the tokens with the transitions that their distances ask for, rest. rest_seconds: of the first and of the last rest."""
    rest = np.stack([_rest(1, signer)[0]] * 2)
    ends = np.array([0.0, 1.0])
    postures = [(rest, rest), *((hands[0], hands[1]) for hands in (stroke(token, ends, signer) for token in tokens)), (rest, rest)]
    gaps = [_transition_seconds(before[1], after[0], sign_seconds=sign_seconds, tempo=signer.tempo) for before, after in pairwise(postures)]
    durations = [rest_seconds[0], *(token.seconds for token in tokens), rest_seconds[1]]
    starts = np.concatenate([[0.0], np.cumsum(np.array(durations[:-1]) + gaps)])
    stops = starts + durations
    num_frames = max(1, round(float(stops[-1]) * fps))
    seconds = (np.arange(num_frames) + 0.5) / fps

    hands = np.broadcast_to(rest, (num_frames, 2, _HAND_CHANNELS)).copy()
    for index, token in enumerate(tokens, start=1):
        now = (seconds >= starts[index]) & (seconds < stops[index])
        hands[now] = stroke(token, (seconds[now] - starts[index]) / durations[index], signer)
    for index, gap in enumerate(gaps):
        now = (seconds >= stops[index]) & (seconds < starts[index + 1])
        hands[now] = _transition(postures[index][1], postures[index + 1][0], (seconds[now] - stops[index]) / gap)
    _unwind(hands)
    face = _face(tokens, starts[1:-1], stops[1:-1], seconds, signer)
    spans = tuple((int(np.searchsorted(seconds, a)), int(np.searchsorted(seconds, b))) for a, b in zip(starts[1:-1], stops[1:-1], strict=True))
    return Articulation(hands=_smoothed(hands, fps=fps), face=_smoothed(face, fps=fps), spans=spans)


def _unwind(hands: np.ndarray) -> None:
    """Make successive quaternions neighbours, in place: a rotation has two, and smoothing across the two would tumble the hand."""
    q = hands[..., ORIENTATION]
    flips = np.sign(np.sum(q[1:] * q[:-1], axis=-1, keepdims=True))
    q[1:] *= np.cumprod(np.where(flips == 0, 1.0, flips), axis=0)


def _face(tokens: list[Token], starts: np.ndarray, stops: np.ndarray, seconds: np.ndarray, signer: Signer) -> np.ndarray:
    """Face channels (T, 8): each sign's mouth pattern spread over it, a frown over the whole of a question, shaking for a negation."""
    times, shapes = [0.0], [MOUTH_SHAPES["-"]]
    for token, start, stop in zip(tokens, starts, stops, strict=True):
        pattern = f"-{token.sign.mouth}-"
        times += list(np.linspace(start, stop, len(pattern)))
        shapes += [MOUTH_SHAPES[sound] for sound in pattern]
    face = np.zeros((len(seconds), len(FACE_CHANNELS)))
    for channel in range(3):
        face[:, channel] = signer.mouthing * np.interp(seconds, times, [shape[channel] for shape in shapes])
    channel_of = {name: index for index, name in enumerate(FACE_CHANNELS)}
    if any(token.sign.nonmanual == "frown" for token in tokens):
        face[:, channel_of["brows"]] = -1.0
    for token, start, stop in zip(tokens, starts, stops, strict=True):
        within = np.clip((seconds - start) / (stop - start), 0, 1)
        bump = np.sin(np.pi * within)
        face[:, channel_of["pitch"]] += 0.05 * bump
        if token.sign.nonmanual == "shake":
            face[:, channel_of["yaw"]] += 0.35 * bump * np.sin(4 * np.pi * within)
        elif token.sign.nonmanual == "blink":
            face[:, channel_of["blink"]] += bump
    return face

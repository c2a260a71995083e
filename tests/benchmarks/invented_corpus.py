"""A corpus that has nothing of ours but its format: other signs, sentences, signers and noise than the generator's, as a published keypoint release.

python -m tests.benchmarks.invented_corpus DIR --seed 7
python workloads/preprocess.py --corpus phoenix2014t --source DIR --out SHARDS
python workloads/train.py --recipe mska_slr_small --set data.shards=SHARDS

Whoever doubts that training is fitted to the demo's signing can look: what came of it stands in models/mska/README.md.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

Draw = np.random.Generator
SPLITS = {"train": 400, "dev": 60, "test": 60}
NUM_GLOSSES, NUM_SHAPES, NUM_SIGNERS, FOLLOWERS = 60, 14, 7, 20
SPECIALS = ("<si>", "<unk>", "<pad>", "</s>")
CENTRE = np.array([105.0, 130.0])  # of a picture of 210 × 260 pixels
RIGHT_REST, LEFT_REST = np.array([75.0, 215.0]), np.array([135.0, 215.0])
RIGHT_HAND, LEFT_HAND, MOUTH = slice(112, 133), slice(91, 112), slice(71, 91)
# Nose, eyes, ears, shoulders, then elbows and wrists, which follow the hands; hips, knees and ankles lie below the picture. x, y in pixels.
BODY = [(105, 55), (100, 50), (110, 50), (92, 55), (118, 55), (78, 115), (132, 115), *[(0, 0)] * 4, (85, 225), (125, 225), (85, 300), (125, 300)]
BODY += [(85, 370), (125, 370)]


@dataclass(frozen=True)
class Sign:
    """Two or three places of each hand (N, 2), a shape of each, the right one's turn from begin to end, how open the mouth is, frames."""

    right: np.ndarray
    left: np.ndarray | None
    shapes: tuple[int, int]
    turn: tuple[float, float]
    mouth: np.ndarray
    length: float


@dataclass(frozen=True)
class Signer:
    """Size and place of the body in the picture, speed, own places of the hands, tremor in pixels."""

    scale: float
    offset: np.ndarray
    speed: float
    style: np.ndarray
    tremor: float


@dataclass(frozen=True)
class Pose:
    """Where and how the hands are at a time, in frames; poses between are interpolated."""

    time: float
    right: np.ndarray
    left: np.ndarray
    shapes: tuple[np.ndarray, np.ndarray]
    turn: float
    mouth: float


class Language:
    """Signs and what may follow each; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.shapes = [_hand_shape(self.draw) for _ in range(NUM_SHAPES)]
        self.signs = [_sign(self.draw) for _ in range(NUM_GLOSSES)]
        self.signers = [_signer(self.draw) for _ in range(NUM_SIGNERS)]
        self.followers = [self.draw.permutation(NUM_GLOSSES)[:FOLLOWERS] for _ in range(NUM_GLOSSES)]

    def sentences(self) -> Iterator[tuple[int, ...]]:
        """Numbers of signs, three to seven, none twice in a row and no sentence twice."""
        seen: set[tuple[int, ...]] = set()
        while True:
            length, chosen = self.draw.integers(3, 8), [int(self.draw.integers(NUM_GLOSSES))]
            while len(chosen) < length:
                chosen += [int(follower) for follower in [self.draw.choice(self.followers[chosen[-1]])] if follower != chosen[-1]]
            if tuple(chosen) not in seen:
                seen.add(tuple(chosen))
                yield tuple(chosen)

    def keypoints(self, sentence: tuple[int, ...], signer: Signer) -> np.ndarray:
        """(T, 133, 3) in pixels, as an estimator would find them."""
        points = _points(list(self._poses(sentence, signer)))
        points[..., :2] = (points[..., :2] - CENTRE) * signer.scale + CENTRE + signer.offset
        return _estimated(points, signer.tremor, self.draw)

    def _poses(self, sentence: tuple[int, ...], signer: Signer) -> Iterator[Pose]:
        draw, flat, left = self.draw, self.shapes[0], LEFT_REST
        rest = {"shapes": (flat, flat), "turn": 0.0, "mouth": 2.0}
        yield Pose(0, RIGHT_REST, LEFT_REST, **rest)
        time = 5.0
        for sign in (self.signs[number] for number in sentence):
            length, count = sign.length / signer.speed * draw.uniform(0.85, 1.15), len(sign.right)
            for step in range(count):
                right = sign.right[step] + signer.style + draw.normal(0, 2.5, 2)
                if sign.left is not None:
                    left = sign.left[step] + draw.normal(0, 2.5, 2)
                shapes = self.shapes[sign.shapes[0]], self.shapes[sign.shapes[1]] if sign.left is not None else flat
                turn = sign.turn[0] + (sign.turn[1] - sign.turn[0]) * step / (count - 1)
                yield Pose(time, right, left, shapes, turn, float(sign.mouth[step]))
                time += length / count
            if draw.random() < 0.5:
                left = LEFT_REST
            time += draw.uniform(2, 4)
        yield Pose(time + 3, RIGHT_REST, LEFT_REST, **rest)


def _hand_shape(draw: Draw) -> np.ndarray:
    """(21, 2): the wrist, then four joints of each finger, bent and spread by chance."""
    bends, angles, points = draw.uniform(0, 1.2, 5), draw.uniform(-0.5, 0.5) + np.linspace(-0.6, 0.6, 5) - np.pi / 2, [np.zeros(2)]
    for finger in range(5):
        point, angle = np.zeros(2), angles[finger]
        for joint in range(4):
            point = point + (9 - 1.2 * joint) * np.array([np.cos(angle), np.sin(angle)])
            angle += bends[finger] * (0.9 if finger else 0.5)
            points.append(point)
    return np.array(points)


def _sign(draw: Draw) -> Sign:
    count, turn = int(draw.integers(2, 4)), draw.uniform(-1.5, 1.5)
    return Sign(
        right=draw.uniform((60, 70), (130, 190), (count, 2)),
        left=draw.uniform((80, 90), (150, 190), (count, 2)) if draw.random() < 0.45 else None,
        shapes=(int(draw.integers(NUM_SHAPES)), int(draw.integers(NUM_SHAPES))),
        turn=(turn, turn + draw.uniform(-1, 1)),
        mouth=draw.uniform(0, 7, 3),
        length=draw.uniform(9, 16),
    )


def _signer(draw: Draw) -> Signer:
    return Signer(draw.uniform(0.88, 1.12), draw.normal(0, 5, 2), draw.uniform(0.85, 1.2), draw.normal(0, 4, 2), draw.uniform(0.6, 1.2))


def _face() -> np.ndarray:
    """(68, 2): an oval, the last 20 points of it a mouth."""
    around, lips = np.linspace(0, 2 * np.pi, 68), np.linspace(0, 2 * np.pi, 20)
    face = np.stack([105 + 22 * np.cos(around), 62 + 28 * np.sin(around)], axis=1)
    face[48:] = np.stack([105 + 9 * np.cos(lips), 78 + 3 * np.sin(lips)], axis=1)
    return face


def _points(poses: list[Pose]) -> np.ndarray:
    """(T, 133, 3) without confidences: the poses interpolated and smoothed."""
    times, frames = [pose.time for pose in poses], np.arange(int(poses[-1].time + 3))

    def course(values: list[np.ndarray]) -> np.ndarray:
        flat = np.array([np.ravel(value) for value in values])
        columns = [np.convolve(np.pad(np.interp(frames, times, column), 1, "edge"), (0.25, 0.5, 0.25), "valid") for column in flat.T]
        return np.stack(columns, axis=1).reshape(len(frames), *np.shape(values[0]))

    right, left, turn = course([pose.right for pose in poses]), course([pose.left for pose in poses]), course([np.array(pose.turn) for pose in poses])
    right_hand, left_hand = (course([pose.shapes[side] for pose in poses]) for side in range(2))
    turned = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    points = np.zeros((len(frames), 133, 3))
    points[:, :17, :2], points[:, 17:23, :2], points[:, 23:91, :2] = BODY, (105, 400), _face()
    points[:, 10, :2], points[:, 9, :2] = right, left
    points[:, 8, :2], points[:, 7, :2] = (right + BODY[5]) / 2 + (-12, 18), (left + BODY[6]) / 2 + (12, 18)
    points[:, MOUTH, 1] += course([np.array(pose.mouth) for pose in poses])[:, None] * np.sign(points[:, MOUTH, 1] - 78)
    points[:, RIGHT_HAND, :2] = right[:, None] + np.einsum("tij,tkj->tki", turned, right_hand)
    points[:, LEFT_HAND, :2] = left[:, None] + left_hand * (-1, 1)
    return points


def _estimated(points: np.ndarray, tremor: float, draw: Draw) -> np.ndarray:
    """With noise, confidences, legs that are guessed, and hands that are lost for some frames."""
    num_frames = len(points)
    points[..., :2] += draw.normal(0, tremor, (num_frames, 133, 2))
    points[..., 2] = np.clip(draw.normal(0.85, 0.08, (num_frames, 133)), 0, 1)
    points[:, 11:23, 2] *= 0.2
    for hand in (LEFT_HAND, RIGHT_HAND):
        for start in np.flatnonzero(draw.random(num_frames) < 0.05):
            lost = slice(start, start + draw.integers(1, 4))
            points[lost, hand, :2] += draw.normal(0, 10, 2)
            points[lost, hand, 2] *= 0.2
    return points


def write(folder: Path, *, seed: int, splits: dict[str, int] = SPLITS) -> None:
    """Three pickles and `gloss2ids.pkl`, as the release of Phoenix-2014T (mska.md, section 1)."""
    folder.mkdir(parents=True, exist_ok=True)
    language, names = Language(seed), [f"ZEICHEN{number:02d}" for number in range(NUM_GLOSSES)]
    sentences = language.sentences()
    for split, count in splits.items():
        samples = {}
        for number in range(count):
            sentence, signer = next(sentences), int(language.draw.integers(NUM_SIGNERS))
            keypoints = torch.tensor(language.keypoints(sentence, language.signers[signer]), dtype=torch.float32)
            name, gloss = f"{split}/invented_{number:04d}", " ".join(names[sign] for sign in sentence)
            samples[name] = {
                "name": name,
                "gloss": gloss,
                "text": f"{gloss.lower()} .",
                "num_frames": len(keypoints),
                "keypoint": keypoints,
                "signer": str(signer),
            }
        (folder / f"Phoenix-2014T.{split}").write_bytes(pickle.dumps(samples))
    (folder / "gloss2ids.pkl").write_bytes(pickle.dumps({entry: number for number, entry in enumerate((*SPECIALS, *map(str.lower, names)))}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="invented_corpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    write(given.folder, seed=given.seed)

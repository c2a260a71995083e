"""One frame of an explanation as a picture: heat over what the network saw, or a skeleton whose points glow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from models.dsta_slr.skeleton import LINKS, NUM_JOINTS, NUM_WHOLE_BODY
from models.explanation import Explanation

HEIGHT = 480  # of a picture in pixels
BACKGROUND, BONE = (24, 26, 32), (128, 138, 156)
MOST_HEAT = 0.65  # opacity of the hottest place
SEEN = 0.3  # confidence of a point that is drawn
DIMMED = 0.45  # brightness of the source's picture below a skeleton
MARGIN = 0.08
OUTLYING = 0.0005  # share of places, on each side, that may lie outside
HEAT = mpl.colormaps["turbo"]
GLOW = LinearSegmentedColormap.from_list("glow", ["#5d6b80", "#b4532a", "#ff8c1a", "#fff3c4"])


def _chain(*points: int) -> tuple[tuple[int, int], ...]:
    return tuple(pairwise(points))


def _whole_body_links() -> Iterator[tuple[int, int]]:
    """COCO-WholeBody without legs: arms, face, hands."""
    yield from ((5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (9, 91), (10, 112))
    for first, last, closed in (
        (23, 39, False),
        (40, 44, False),
        (45, 49, False),
        (50, 53, False),
        (54, 58, False),
        (59, 64, True),
        (65, 70, True),
        (71, 82, True),
    ):
        yield from _chain(*range(first, last + 1), *((first,) if closed else ()))
    for wrist in (91, 112):
        for finger in range(5):
            yield from _chain(wrist, *range(wrist + 1 + 4 * finger, wrist + 5 + 4 * finger))


LINKS_OF: dict[int, tuple[tuple[int, int], ...]] = {NUM_WHOLE_BODY: tuple(_whole_body_links()), NUM_JOINTS: LINKS}
LEGS = range(11, 23)  # of the whole body


@dataclass(frozen=True, kw_only=True, eq=False)
class Painter:
    """Draws any frame of an explanation at HEIGHT; `of` a sign alone, or of all together."""

    explanation: Explanation

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures."""
        if self.explanation.points is None:
            assert self.explanation.pictures is not None
            _, height, width, _ = self.explanation.pictures.shape
        else:
            left, top, right, bottom = view_box(self.explanation)
            width, height = right - left, bottom - top
        return round(HEIGHT * width / height), HEIGHT

    def paint(self, frame: int, *, of: int | None = None) -> np.ndarray:
        """uint8 RGB (HEIGHT, width, 3) of a frame of the clip."""
        signs = self.explanation.signs if of is None else self.explanation.signs[of : of + 1]
        saliency = np.max([sign.saliency[frame] for sign in signs], axis=0)
        return self._heated(frame, saliency) if self.explanation.points is None else self._skeleton(frame, saliency)

    def _heated(self, frame: int, saliency_HW: np.ndarray) -> np.ndarray:
        assert self.explanation.pictures is not None
        picture = cv2.resize(self.explanation.pictures[frame], self.size, interpolation=cv2.INTER_LINEAR)
        heat = np.clip(cv2.resize(saliency_HW, self.size, interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
        colours = 255 * HEAT(heat[..., 0])[..., :3]
        mixed: np.ndarray = picture + MOST_HEAT * heat * (colours - picture)
        return mixed.round().clip(0, 255).astype(np.uint8)

    def _skeleton(self, frame: int, saliency_J: np.ndarray) -> np.ndarray:
        assert self.explanation.points is not None
        keypoints = self.explanation.clip.keypoints[frame]
        left, top, right, _ = view_box(self.explanation)
        scale = self.size[0] / (right - left)
        places = (keypoints[:, :2] - (left, top)) * scale
        shown = keypoints[:, 2] >= SEEN
        picture = self._ground(frame)
        for first, second in LINKS_OF.get(len(keypoints), ()):
            if shown[first] and shown[second]:
                cv2.line(picture, _pixel(places[first]), _pixel(places[second]), BONE, 2, cv2.LINE_AA)
        glow = np.zeros(len(keypoints))
        np.maximum.at(glow, self.explanation.points, saliency_J)
        if len(keypoints) == NUM_WHOLE_BODY:
            shown[list(LEGS)] = False
        for point in np.argsort(glow):
            if shown[point] and point in self._drawn:
                _glowing(picture, places[point], float(glow[point]))
        return picture

    @property
    def _drawn(self) -> set[int]:
        assert self.explanation.points is not None
        return set(self.explanation.points.tolist())

    def _ground(self, frame: int) -> np.ndarray:
        """What the skeleton is drawn on: the source's picture, dimmed, where there is one."""
        width, height = self.size
        frames = self.explanation.clip.frames
        if frames is None:
            return np.full((height, width, 3), BACKGROUND, np.uint8)
        left, top, right, bottom = view_box(self.explanation)
        across, down = frames.size[0] / self.explanation.clip.frame_size[0], frames.size[1] / self.explanation.clip.frame_size[1]
        matrix = np.array(
            [[width / (right - left) / across, 0, -left * width / (right - left)], [0, height / (bottom - top) / down, -top * height / (bottom - top)]]
        )
        seen = cv2.warpAffine(frames.decode([frame])[0], matrix, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray((seen * DIMMED).astype(np.uint8))


def _pixel(place: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(place, -10_000, 10_000)
    return round(float(x)), round(float(y))


def _glowing(picture: np.ndarray, place: np.ndarray, glow: float) -> None:
    red, green, blue, _ = GLOW(glow)
    colour = (round(255 * red), round(255 * green), round(255 * blue))
    cv2.circle(picture, _pixel(place), round(3 + 6 * glow), colour, -1, cv2.LINE_AA)


def view_box(explanation: Explanation) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in pixels of the source: where the signer's points are over the clip, with a margin, no narrower than high by half."""
    keypoints = explanation.clip.keypoints
    if keypoints.shape[1] == NUM_WHOLE_BODY:
        keypoints = np.delete(keypoints, list(LEGS), axis=1)
    places = keypoints[keypoints[..., 2] >= SEEN][:, :2]
    width, height = explanation.clip.frame_size
    if not len(places):
        return 0.0, 0.0, float(width), float(height)
    (left, top), (right, bottom) = np.quantile(places, OUTLYING, axis=0), np.quantile(places, 1 - OUTLYING, axis=0)
    margin = MARGIN * max(right - left, bottom - top, 1.0)
    aside = max(0.0, (0.75 * (bottom - top) - (right - left)) / 2)
    return float(left - margin - aside), float(top - margin), float(right + margin + aside), float(bottom + margin)

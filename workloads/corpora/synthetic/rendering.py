"""Video of a clip: the clean pose as a drawn person."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from models.errors import CorpusError
from workloads.corpora.synthetic.corpus import pose
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.planning import Sentence
from workloads.corpora.synthetic.signers import Signer, random_generator, signers
from workloads.corpora.synthetic.skeleton import FACE, LEFT_HAND, RIGHT_HAND

_SHIFT = 4  # OpenCV takes coordinates in 1/16 pixels
_FINGERS = tuple(slice(start, start + 4) for start in (1, 5, 9, 13, 17))
_FINGER_WIDTHS = (0.075, 0.066, 0.066, 0.062, 0.052)
_PALM = [0, 1, 2, 5, 9, 13, 17]
_HAIR = ((38, 28, 22), (74, 52, 34), (120, 92, 58), (24, 22, 24))
_LIPS, _MOUTH, _EYE, _WHITE = (168, 84, 84), (78, 30, 34), (46, 36, 32), (238, 236, 232)

_Colour = tuple[int, int, int]


def render(options: SyntheticOptions, sentence: Sentence, *, height: int | None = None, width: int | None = None) -> np.ndarray:
    """The clip's video, (T, H, W, 3) uint8 RGB, in the size of the options unless said; the same poses as `generate` tracks.

    Raises CorpusError where OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise CorpusError("rendering the synthetic corpus needs OpenCV: pip install opencv-python-headless") from None
    height, width = height or options.height, width or options.width
    points = pose(options, sentence) * np.array([width / options.width, height / options.height])
    signer = signers(options)[sentence.signer]
    hair = _HAIR[int(random_generator(options, f"{signer.name}/hair").integers(len(_HAIR)))]
    scale = signer.scale * min(width / 210, height / 260)
    background = _background(options, signer, height=height, width=width)
    painter = _Painter(cv2, signer=signer, hair=hair, scale=scale)
    return np.stack([painter.paint(background.copy(), frame) for frame in points])


def _background(options: SyntheticOptions, signer: Signer, *, height: int, width: int) -> np.ndarray:
    """A wall, lighter in the middle, in a tint of the signer's."""
    tint = 150 + 60 * random_generator(options, f"{signer.name}/wall").random(3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1.08 - 0.16 * (x**2 + y**2)
    picture: np.ndarray = np.clip(light[..., None] * tint, 0, 255).astype(np.uint8)
    return picture


def _shaded(colour: _Colour, factor: float) -> _Colour:
    red, green, blue = (min(255, round(factor * part)) for part in colour)
    return red, green, blue


class _Painter:
    """Draws one person, back to front: trunk, neck, head, arms, hands."""

    def __init__(self, cv2: ModuleType, *, signer: Signer, hair: _Colour, scale: float) -> None:
        self.cv2, self.signer, self.hair, self.scale = cv2, signer, hair, scale

    def paint(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Draw the points (133, 2) on a picture (H, W, 3), in place."""
        self._trunk(picture, points)
        self._head(picture, points)
        for shoulder, elbow, wrist, hand in ((5, 7, 9, LEFT_HAND), (6, 8, 10, RIGHT_HAND)):
            self._arm(picture, points[[shoulder, elbow, wrist]])
            self._hand(picture, points[hand])
        return picture

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        fixed: np.ndarray = np.round(points * 2**_SHIFT).astype(np.int32)
        return fixed

    def _fill(self, picture: np.ndarray, outline: np.ndarray, colour: _Colour) -> None:
        self.cv2.fillPoly(picture, [self._fixed(outline)], colour, self.cv2.LINE_AA, _SHIFT)

    def _lines(self, picture: np.ndarray, points: np.ndarray, colour: _Colour, width: float, *, closed: bool = False) -> None:
        thickness = max(1, round(width * self.scale))
        self.cv2.polylines(picture, [self._fixed(points)], closed, colour, thickness, self.cv2.LINE_AA, _SHIFT)

    def _disc(self, picture: np.ndarray, centre: np.ndarray, radius: float, colour: _Colour) -> None:
        x, y = (int(value) for value in self._fixed(centre))
        self.cv2.circle(picture, (x, y), max(1, round(radius * self.scale * 2**_SHIFT)), colour, -1, self.cv2.LINE_AA, _SHIFT)

    def _trunk(self, picture: np.ndarray, points: np.ndarray) -> None:
        left, right, right_hip, left_hip = points[[5, 6, 12, 11]]
        below = np.array([0.0, 0.7 * self.scale])
        neck = (left + right) / 2 - [0, 0.16 * self.scale]
        aside = np.array([0.16 * self.scale, 0.0])
        hip = np.array([0.1 * self.scale, 0.0])
        outline = np.stack([neck + aside, left, left_hip + hip, left_hip + hip + below, right_hip - hip + below, right_hip - hip, right, neck - aside])
        self._fill(picture, outline, self.signer.shirt)
        for shoulder in (left, right):
            self._disc(picture, shoulder, 0.14, self.signer.shirt)
        chin = points[FACE][8]
        self._lines(picture, np.stack([neck + [0, 0.06 * self.scale], (neck + 2 * chin) / 3]), _shaded(self.signer.skin, 0.82), 0.26)

    def _head(self, picture: np.ndarray, points: np.ndarray) -> None:
        face, skin = points[FACE], self.signer.skin
        centre, half = (face[0] + face[16]) / 2, (face[16] - face[0]) / 2
        up = np.array([half[1], -half[0]])
        angle = np.linspace(0, np.pi, 21)[:, None]
        across, rise = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.75, np.sin(angle) ** 0.75
        skull = centre + across * half * 1.15 + rise * up * 1.55
        brow_line = centre + across * half + rise * up * 1.05
        self._fill(picture, np.concatenate([skull, centre + half * [[-1.15]] - 0.35 * up, centre + half * [[1.15]] - 0.35 * up]), self.hair)
        self._fill(picture, np.concatenate([face[:17], brow_line]), skin)
        for brow in (face[17:22], face[22:27]):
            self._lines(picture, brow, self.hair, 0.025)
        self._lines(picture, face[[29, 31, 33, 35]], _shaded(skin, 0.75), 0.015)
        for eye in (face[36:42], face[42:48]):
            self._fill(picture, eye, _WHITE)
            opening = np.ptp(eye[:, 1]) / self.scale
            self._disc(picture, eye.mean(axis=0), min(0.024, 0.6 * opening), _EYE)
            self._lines(picture, eye, _shaded(skin, 0.55), 0.008, closed=True)
        self._fill(picture, face[48:60], _LIPS)
        self._fill(picture, face[60:68], _MOUTH)

    def _arm(self, picture: np.ndarray, arm: np.ndarray) -> None:
        shirt, skin = self.signer.shirt, self.signer.skin
        self._lines(picture, arm[:2], _shaded(shirt, 1.15), 0.25)
        cuff = arm[1] + 0.35 * (arm[2] - arm[1])
        self._lines(picture, np.stack([arm[1], arm[2]]), _shaded(skin, 0.95), 0.15)
        self._lines(picture, np.stack([arm[1], cuff]), _shaded(shirt, 1.25), 0.22)

    def _hand(self, picture: np.ndarray, hand: np.ndarray) -> None:
        skin, edge = self.signer.skin, _shaded(self.signer.skin, 0.66)
        hull = self.cv2.convexHull(hand[_PALM].astype(np.float32))[:, 0]
        size = self.signer.hand / 0.5
        # Each finger twice, the darker line a little wider: the outline keeps fingers apart before the palm and the face.
        self._lines(picture, hull, edge, 0.05 * size, closed=True)
        self._fill(picture, hull, skin)
        for finger, width in zip(_FINGERS, _FINGER_WIDTHS, strict=True):
            self._lines(picture, hand[finger], edge, (width + 0.028) * size)
            self._lines(picture, hand[finger], skin, width * size)

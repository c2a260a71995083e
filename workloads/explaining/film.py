"""An explanation as a film: the clip with what counts in it, the answer beside it, the timeline with a hand that moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from models.errors import SignrayError
from models.explanation import Explanation
from workloads.explaining.overlay import Painter
from workloads.explaining.timeline import INK, SOFT, clock, draw_timeline, sign_colours, source_line

SIZE = (1280, 720)
DPI = 80
PICTURE = (40, 60, 660, 430)  # left, top, width, height of the place for the picture
TIMELINE = (0.07, 0.1, 0.9, 0.2)  # as matplotlib wants it
HAND = (31, 36, 48)
LONGEST_RATE = 1000  # denominator of the frame rate
USUAL_FPS = 25.0


def check_film() -> None:
    """Raises SignrayError that names the extra where PyAV isn't installed."""
    if find_spec("av") is None:
        raise SignrayError("writing the film needs the extra 'video': pip install 'signray[video]' (or --no-film)")


def write_film(explanation: Explanation, path: Path, *, about: str) -> None:
    """Write the MP4 (H.264), at the clip's frames per second."""
    import av

    rate = Fraction(explanation.clip.fps or USUAL_FPS).limit_denominator(LONGEST_RATE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast", "movflags": "+faststart"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for picture in film_frames(explanation, about=about):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def film_frames(explanation: Explanation, *, about: str) -> Iterator[np.ndarray]:
    """uint8 RGB pictures of SIZE, one a frame of the clip."""
    stage = _Stage(explanation=explanation, about=about)
    for frame in range(explanation.clip.num_frames):
        yield stage.picture(frame)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stage:
    """What stands still, drawn once for each sign that is signed now."""

    explanation: Explanation
    about: str

    @cached_property
    def painter(self) -> Painter:
        return Painter(explanation=self.explanation)

    @cached_property
    def drawn(self) -> dict[int | None, np.ndarray]:
        return {}

    def picture(self, frame: int) -> np.ndarray:
        active = self._active(frame)
        if active not in self.drawn:
            self.drawn[active] = self._ground(active)
        out = self.drawn[active].copy()
        left, top, width, height = PICTURE
        shown = self.painter.paint(frame)
        scale = min(width / shown.shape[1], height / shown.shape[0])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        shown = cv2.resize(shown, (round(shown.shape[1] * scale), round(shown.shape[0] * scale)), interpolation=method)
        x, y = left + (width - shown.shape[1]) // 2, top + (height - shown.shape[0]) // 2
        out[y : y + shown.shape[0], x : x + shown.shape[1]] = shown
        if not self.explanation.isolated:
            hand = round(SIZE[0] * (TIMELINE[0] + TIMELINE[2] * (frame + 0.5) / self.explanation.clip.num_frames))
            top, bottom = round(SIZE[1] * (1 - TIMELINE[1] - TIMELINE[3])), round(SIZE[1] * (1 - TIMELINE[1]))
            cv2.line(out, (hand, top), (hand, bottom), HAND, 2, cv2.LINE_AA)
        return out

    def _active(self, frame: int) -> int | None:
        """The sign whose span holds the frame; between two, and for an isolated one, none."""
        if self.explanation.isolated:
            return None
        middles = self.explanation.step_frames
        step = int(np.abs(middles - frame).argmin())
        return next((position for position, sign in enumerate(self.explanation.signs) if sign.steps[0] <= step < sign.steps[1]), None)

    def _ground(self, active: int | None) -> np.ndarray:
        figure = plt.figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), dpi=DPI, facecolor="white")
        figure.text(PICTURE[0] / SIZE[0], 0.955, source_line(self.explanation), fontsize=16, fontweight="bold", color=INK, va="center")
        if self.explanation.isolated:
            draw_timeline(figure.add_axes((0.66, 0.3, 0.31, 0.5)), self.explanation)
            figure.text(PICTURE[0] / SIZE[0], 0.06, self.about, fontsize=11, color=SOFT)
        else:
            draw_timeline(figure.add_axes(TIMELINE), self.explanation, active=active)
            self._sentence(figure, active)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        plt.close(figure)
        return pixels

    def _sentence(self, figure: plt.Figure, active: int | None) -> None:
        """The answer, a gloss a line, the one that is signed now set off."""
        per_unit, _ = clock(self.explanation)
        signs, colours = self.explanation.signs, sign_colours(self.explanation)
        figure.text(0.58, 0.9, self.about, fontsize=11, color=SOFT, va="center")
        line = min(0.07, 0.42 / max(len(signs), 1))
        for position, sign in enumerate(signs):
            on = active == position
            moment = self.explanation.peak_frame(sign) / per_unit
            time = f"{moment:.2f} s" if self.explanation.clip.fps else f"frame {moment:.0f}"
            y = 0.83 - line * position
            size = min(18, 390 * line)  # three quarters of the line, in points
            figure.text(0.58, y, f"{'▶ ' if on else ''}{sign.name}", fontsize=size, fontweight="bold" if on else "normal", color=colours[position], va="center")
            figure.text(0.97, y, f"{time}   {sign.confidence:.0%}", fontsize=0.7 * size, color=SOFT, va="center", ha="right")

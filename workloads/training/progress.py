"""What a person sees of a run: one live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workloads.training.events import Event


class Progress:
    """Shows the events of a run as they come. A step window is `log_steps` steps."""

    def __init__(self, *, total_steps: int, epochs: int, log_steps: int, console: Console | None = None) -> None:
        self._total, self._epochs, self._window = total_steps, epochs, log_steps
        self._console = console or Console(stderr=False, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        self._seconds: list[float] = []
        self._frames: list[float] = []

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        match event["kind"]:
            case "step":
                self._step(event)
            case "validation":
                scores = "  ".join(f"{head} {wer:.1f}" for head, wer in event["scores"].items())
                self._say(f"epoch {event['epoch'] + 1}/{self._epochs}  step {event['step']}  dev WER %  {scores}  ({event['seconds']:.1f} s)")
            case "message":
                self._say(event["text"])

    def _step(self, event: Event) -> None:
        self._seconds.append(event["seconds"])
        self._frames.append(event["frames_per_s"])
        if event["step"] % self._window and not (self._live and event["step"] == 1):
            return
        line = self._line(event)
        self._seconds.clear()
        self._frames.clear()
        if self._live:
            self._live.update(Text(line), refresh=True)
        else:
            self._console.print(line)
            sys.stdout.flush()

    def _line(self, event: Event) -> str:
        seconds = sum(self._seconds) / len(self._seconds)
        frames = sum(self._frames) / len(self._frames)
        left = time.strftime("%H:%M:%S", time.gmtime(max(0, self._total - event["step"]) * seconds))
        terms = "  ".join(f"{name} {value:.2f}" for name, value in grouped(event["terms"]).items())
        return f"step {event['step']}/{self._total}  epoch {event['epoch'] + 1}  {1 / seconds:.2f} steps/s  {frames:.0f} frames/s  {terms}  lr {event['lr']:.1e}  ETA {left}"

    def _say(self, text: str) -> None:
        (self._live.console if self._live else self._console).print(text)
        sys.stdout.flush()


def grouped(terms: dict[str, float]) -> dict[str, float]:
    """Loss terms for one line: the total, and the sum over heads of each kind."""
    sums: dict[str, float] = {}
    for name, value in terms.items():
        kind = name.split("_")[0]
        sums[kind] = sums.get(kind, 0.0) + value
    return sums

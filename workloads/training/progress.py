"""What a person sees of a run: one live line on a terminal, plain lines in a log."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workloads.training.events import Event
from workloads.training.tasks import TITLES

WORTH_TELLING = 0.05  # share of a step's time that waits for data, from which on it is worth a word


class Progress:
    """Shows the events of a run as they come: one line per window of `log_steps` steps; `label` begins each where several runs go on at once."""

    def __init__(self, *, total_steps: int, epochs: int, log_steps: int, label: str = "", console: Console | None = None) -> None:
        self._total, self._epochs, self._window = total_steps, epochs, log_steps
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._label = f"{label}: " if label else ""
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal and not label else None
        self._steps: list[Event] = []

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
                scores = "  ".join(f"{head} {score:.1f}" for head, score in event["scores"].items())
                title = TITLES[event["metric"]]
                scores += "".join(f"  {name} {value:.1f}" for name, value in event.get("beside", {}).items())
                self._say(f"epoch {event['epoch'] + 1}/{self._epochs}  step {event['step']}  dev {title} %  {scores}  ({event['seconds']:.1f} s)")
            case "message":
                self._say(event["text"])
            case "resumed" if event.get("steps_lost") or event.get("seconds_lost"):
                self._say(f"{event.get('steps_lost', 0)} steps are taken again, {duration(event.get('seconds_lost', 0.0))} after the last one")

    def _step(self, event: Event) -> None:
        self._steps.append(event)
        first_on_terminal = self._live is not None and event["step"] == 1  # something to look at from the first step on
        if event["step"] % self._window and not first_on_terminal:
            return
        line = self._line(event)
        self._steps.clear()
        if self._live:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            self._say(line)

    def _line(self, event: Event) -> str:
        seconds = sum(step["seconds"] for step in self._steps) / len(self._steps)
        frames = sum(step["frames_per_s"] for step in self._steps) / len(self._steps)
        parts = [f"step {event['step']}/{self._total}", f"epoch {event['epoch'] + 1}", f"{1 / seconds:.2f} steps/s", f"{frames:.0f} frames/s"]
        waits = sum(step.get("data_wait_s", 0.0) for step in self._steps) / sum(step["seconds"] for step in self._steps)
        parts += [f"waits for data {waits:.0%}"] if waits >= WORTH_TELLING else []
        parts += [f"{name} {value:.2f}" for name, value in grouped(event["terms"]).items()]
        parts += [f"lr {event['lr']:.1e}", f"ETA {duration(max(0, self._total - event['step']) * seconds)}"]
        return "  ".join(parts)

    def _say(self, text: str) -> None:
        # Names of recordings may hold brackets, which are markup to rich.
        self._console.print(self._label + text, markup=False)
        self._console.file.flush()


def grouped(terms: dict[str, float]) -> dict[str, float]:
    """Loss terms for one line: the total, and the sum over heads of each kind."""
    sums: dict[str, float] = {}
    for name, value in terms.items():
        kind = name.split("_")[0]
        sums[kind] = sums.get(kind, 0.0) + value
    return sums


def duration(seconds: float) -> str:
    """Hours, minutes and seconds; days where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hours:02d}:{minutes:02d}:{rest:02d}"

"""A run's numbers for Prometheus, through Ray's own exporter: every node answers on its metrics port, and these stand beside Ray's.

Names as Prometheus sees them begin with `ray_`; each has the tag `run`. `cluster/grafana/signray.json` shows them.
"""

from collections.abc import Mapping
from typing import Any

GAUGES = {
    "signray_step": "optimiser steps taken",
    "signray_epoch": "epoch that is trained, from 1",
    "signray_loss": "weighted loss of the last step",
    "signray_learning_rate": "learning rate of the last step",
    "signray_step_seconds": "seconds of the last step",
    "signray_data_wait_seconds": "seconds of the last step in which the first worker waited for data",
    "signray_frames_per_second": "frames trained per second in the last step, of all workers",
    "signray_gradient_norm": "global norm of the last step's gradients",
    "signray_dev_score": "score on dev in percent, of each head; `metric` is wer or top1",
    "signray_validation_seconds": "seconds of the last validation",
}
COUNTERS = {
    "signray_checkpoints": "checkpoints written",
    "signray_resumed": "times that the training went on from a checkpoint",
    "signray_worker_failures": "workers that were lost",
    "signray_steps_lost": "steps that were taken again, because they came after the last checkpoint",
}
_OF_STEP = {
    "signray_learning_rate": "lr",
    "signray_step_seconds": "seconds",
    "signray_data_wait_seconds": "data_wait_s",
    "signray_frames_per_second": "frames_per_s",
    "signray_gradient_norm": "gradient_norm",
}
SCORE_TAGS = ("run", "head", "metric")


class RunMetrics:
    """Hears a run's events and sets its metrics; the process must be connected to Ray, which exports them."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._run = {"run": run}
        self._gauges = {name: Gauge(name, text, tag_keys=SCORE_TAGS if name == "signray_dev_score" else ("run",)) for name, text in GAUGES.items()}
        self._counters = {name: Counter(name, text, tag_keys=("run",)) for name, text in COUNTERS.items()}

    def __call__(self, event: Mapping[str, Any]) -> None:
        match event["kind"]:
            case "step":
                self._set("signray_step", event["step"])
                self._set("signray_epoch", event["epoch"] + 1)
                self._set("signray_loss", event["terms"].get("loss"))
                for name, key in _OF_STEP.items():
                    self._set(name, event.get(key))
            case "validation":
                self._set("signray_validation_seconds", event["seconds"])
                for head, score in event["scores"].items():
                    self._gauges["signray_dev_score"].set(score, tags={**self._run, "head": head, "metric": event["metric"]})
            case "checkpoint":
                self._counters["signray_checkpoints"].inc(tags=self._run)
            case "message" if event["text"].startswith("resumed from"):
                self._counters["signray_resumed"].inc(tags=self._run)
            case "resumed" if event.get("steps_lost"):  # a counter doesn't take 0
                self._counters["signray_steps_lost"].inc(event["steps_lost"], tags=self._run)
            case "message" if event["text"].startswith("worker ") and " failed (" in event["text"]:
                self._counters["signray_worker_failures"].inc(tags=self._run)

    def _set(self, name: str, value: float | None) -> None:
        if value is not None:
            self._gauges[name].set(value, tags=self._run)

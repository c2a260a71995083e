"""What the demos share: their stages, the figures that they print and keep, and training that a second run doesn't repeat."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.ensemble import Ensemble
    from workloads.recipe import Recipe

SUMMARY = "summary.json"


@dataclass
class Summary:
    """Every printed figure, kept in the run's folder; a second run keeps the seconds of the stages that it doesn't repeat."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Summary:
        return cls(path, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seconds": {}})

    def update(self, **values: Any) -> None:
        self.values |= values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announces a stage and keeps its seconds."""
        print(f"\n== {name}", flush=True)
        began = time.perf_counter()
        try:
            yield
        finally:
            before = self.values["seconds"].get(name, 0.0) if name == "training" else 0.0  # a training may take several starts
            self.update(seconds=self.values["seconds"] | {name: round(before + time.perf_counter() - began, 1)})


class Demo(Protocol):
    """All stages of a demo below a root folder; returns the exit status and the figures."""

    def __call__(self, root: Path, *, toy: bool) -> tuple[int, Summary]: ...


def run_demo(arguments: Sequence[str] | None, demo: Demo, print_end: Callable[[Summary], None], *, prog: str, about: str | None) -> int:
    """A demo's command line: run it with its peak memory measured, and print its end; returns the exit status."""
    parser = argparse.ArgumentParser(prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--root", type=Path, default=Path("."), help="folder below which data/ and runs/ lie (default: here)")
    options = parser.parse_args(arguments)
    from cluster.memory import PeakMemory

    with PeakMemory() as memory:
        code, summary = demo(options.root.resolve(), toy=options.toy)
    if code == 0:
        peak = max(memory.peak_bytes / 1e9, summary.values.get("peak_memory_gb", 0.0))
        summary.update(peak_memory_gb=round(peak, 2))
        print_end(summary)
    return code


def train_demo(recipe_name: str, root: Path, name: str, overrides: Sequence[str]) -> tuple[int, Summary, Bundle | Ensemble | None]:
    """Shards and training, where they aren't there yet; exit status, the figures so far, and the bundle, or None where training was stopped."""
    from models.ensemble import load
    from workloads.recipe import load_recipe
    from workloads.shards import CORPUS_FILE
    from workloads.training.folders import BUNDLE, RECIPE, ended, old_run
    from workloads.training.preflight import generate_shards
    from workloads.training.run import new_run, train

    shards, folder = root / "data" / name, root / "runs" / name
    summary = Summary.open(folder / SUMMARY)
    begun = (folder / RECIPE).exists()
    settings = [f"data.shards={shards}", f"run.root={root / 'runs'}", f"run.name={name}", *overrides]
    recipe = old_run(str(folder))[0] if begun else load_recipe(recipe_name, settings)
    if not (shards / CORPUS_FILE).exists():
        with summary.stage("shards"):
            generate_shards(recipe)
    if not begun:
        recipe, folder = new_run(recipe)
    if ended(folder):
        print(f"\n== training\nalready done: {folder / BUNDLE}", flush=True)
    else:
        with summary.stage("training"):
            result = train(recipe, folder)
        if result.bundle is None:
            print(f"stopped at step {result.outcome.step}; the same command goes on")
            return result.exit_code, summary, None
    summary.update(registered=_registered(recipe, folder))
    summary.update(run=str(folder), shards=str(shards), glosses=int((recipe.data.synthetic or {})["glosses"]))
    return 0, summary, load(folder / BUNDLE)


def _registered(recipe: Recipe, folder: Path) -> str | None:
    """The registry's name of a run's bundle by what the run has sent, at this start, an earlier one or since then; None where it still waits."""
    from cluster.spool import Spool
    from cluster.tracking import SPOOL_FOLDER

    versions = {int(offset): version for offset, version in Spool(folder / SPOOL_FOLDER).load_state().versions.items()}
    return f"models:/{recipe.tracking.register_as}/{versions[max(versions)]}" if versions else None


def registry_text(summary: Summary) -> str:
    """What the registry calls the demo's bundle, or how it gets there."""
    from cluster.tracking import send_command

    registered = summary.values.get("registered")
    return f"{registered} (alias champion)" if registered else f"not registered yet; send it: .venv/bin/{send_command(Path(summary.values['run']))}"


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {head: round(value, 2) for head, value in scores.items()}

"""A trial against the same training by train.py; and a long sweep of trials that train nothing, for the driver's memory."""

from __future__ import annotations

import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.figure import Figure
from tests.benchmarks.report import told
from tests.benchmarks.stack import SMALLEST, Bench
from tune.proposals import Ledger
from tune.sweep_file import Sweep, parse_sweep
from tune.sweeping import new_sweep, run_sweep
from tune.trial_run import SweepPlace, Told, TrialRun
from tune.trials import Trial, read_record, read_trials
from workloads.recipe import Recipe, load_recipe
from workloads.training.run import new_run, train

SPACE: dict[str, Any] = {"space": {"optim.lr": {"low": 1e-3, "high": 1.1e-3}}, "scheduler": {"name": "none"}}
EARLY, EPOCHS = 20, 8  # trials after which memory is first looked at; epochs of a mock trial
SIZES: list[int] = []  # of the driver after each trial, in bytes; of the module, because Tune pickles who is told of trials


def measure(bench: Bench) -> list[Figure]:
    return [told(memory(bench)), told(overhead(bench))]


def overhead(bench: Bench) -> Figure:
    """Seconds of training, Ray Train's start included, of a trial under Tune over those of train.py with the same recipe; the whole walls are in the note."""
    rounds = 1 if bench.quick else 3
    ratios, walls = [], list[tuple[float, float]]()
    for number in range(rounds):
        recipe = _recipe(bench, f"plain-{number}")
        recipe, folder = new_run(recipe)
        with (folder / "output.log").open("w") as log, redirect_stdout(log):
            began = time.perf_counter()
            plain = train(recipe, folder)
            wall = time.perf_counter() - began
            seconds, swept_wall = _swept(bench, number)
        ratios.append(seconds / plain.seconds)
        walls.append((swept_wall, wall))
    note = f"whole wall clock, cluster and tracking included: {', '.join(f'{swept:.0f} s for {alone:.0f} s' for swept, alone in walls)}"
    return Figure(name="trial of a sweep / train.py, seconds of training", rounds=tuple(ratios), note=note, at_most=1.10)


def _recipe(bench: Bench, name: str) -> Recipe:
    small = (*SMALLEST, "train.num_workers=0") if bench.quick else ()
    where = (f"data.shards={bench.shards()}", f"run.root={bench.folder / 'sweeps'}", f"run.name={name}")
    return load_recipe("mska_slr_small", [*where, "optim.lr=1e-3", "train.epochs=2", *small])


def _swept(bench: Bench, number: int) -> tuple[float, float]:
    """Seconds of training of a sweep's only trial, and the sweep's own wall clock."""
    recipe = _recipe(bench, f"swept-{number}")
    sweep = parse_sweep({**SPACE, "budget": {"trials": 1}}, recipe, where="sweep")
    recipe, folder = new_sweep(sweep, recipe, name="bench")
    began = time.perf_counter()
    if bench.quick:
        place, trial = SweepPlace(sweep=sweep, recipe=recipe, folder=folder), Trial(name="000", values={"optim.lr": 1e-3})
        run = TrialRun(place, trial)
        while run.next():
            pass
        run.end()
    else:
        run_sweep(sweep, recipe, folder)
        (trial,) = read_trials(folder)
    return read_record(sweep, folder, trial).seconds, time.perf_counter() - began


class MockRun:
    """A trial that trains nothing: its loss depends on its values and falls with the epochs."""

    def __init__(self, place: SweepPlace, trial: Trial) -> None:
        self._rate, self._epoch = float(trial.values["optim.lr"]), 0

    def next(self) -> Told | None:
        self._epoch += 1
        return Told(epoch=self._epoch, loss=50.0 / self._epoch + 1e4 * self._rate) if self._epoch <= EPOCHS else None

    def end(self) -> None: ...


def memory(bench: Bench) -> Figure:
    """Resident memory of the driver at the end of 200 trials over that after 20."""
    trials = 60 if bench.quick else 200
    recipe = _recipe(bench, "mock")
    searcher = {"name": "optuna", "seed": 0}
    sweep = parse_sweep({**SPACE, "scheduler": {"name": "asha"}, "searcher": searcher, "budget": {"trials": trials, "at_once": 4}}, recipe, where="sweep")
    recipe, folder = new_sweep(sweep, recipe, name="mock")
    SIZES.clear()
    began = time.perf_counter()
    _by_hand(sweep) if bench.quick else _under_tune(sweep, recipe, folder)
    seconds, early, last = time.perf_counter() - began, SIZES[EARLY - 1], SIZES[-1]
    note = f"{len(SIZES)} mock trials with Optuna and ASHA in {seconds:.0f} s; {early / 1e6:.0f} MB, then {last / 1e6:.0f} MB"
    return Figure(name="driver's memory after a sweep of 200 trials / after 20", rounds=(last / early,), note=note, at_most=1.25)


def _look(text: str) -> None:
    if text.endswith("ended"):
        SIZES.append(psutil.Process().memory_info().rss)


def _by_hand(sweep: Sweep) -> None:
    ledger = Ledger(sweep, [])
    while (found := ledger.next()) is not None:
        ledger.tell(found[0], 1e4 * float(found[0].values["optim.lr"]))
        _look("ended")


def _under_tune(sweep: Sweep, recipe: Recipe, folder: Path) -> None:
    from cluster.ray_cluster import connect
    from tune.on_ray import Placing, make_scheduler, run_trials

    with connect(num_cpus=4, dashboard=True, driver_logs=False):
        place = SweepPlace(sweep=sweep, recipe=recipe, folder=folder)
        run_trials(place, Ledger(sweep, []), make_scheduler(sweep, (), EPOCHS), Placing(at_once=4, resources={"CPU": 0.5}), show=_look, make_run=MockRun)

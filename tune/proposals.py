"""Who proposes the values of trials: at random or by Optuna. A proposer is told what became of each trial; neither knows Ray."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tune.sweep_file import Span, Sweep
from tune.trials import Record, Trial


class Proposer(Protocol):
    """Proposes values one trial after the other."""

    def propose(self, number: int) -> dict[str, Any]:
        """Values of trial `number`."""

    def again(self, trial: Trial) -> None:
        """A trial that was proposed before is trained (on)."""

    def tell(self, trial: Trial, loss: float | None) -> None:
        """A trial ended with this loss; None: it failed."""


class RandomProposer:
    """Draws that depend on the seed, the trial's number and the key alone, not on what else the space holds."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def propose(self, number: int) -> dict[str, Any]:
        seed = self._sweep.searcher.seed
        return {key: span.draw(np.random.default_rng([seed, number, zlib.crc32(key.encode())])) for key, span in self._sweep.space.items()}

    def again(self, trial: Trial) -> None: ...
    def tell(self, trial: Trial, loss: float | None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Known:
    """A trial of another sweep. params: in Optuna's words, by key; loss: in percent."""

    params: Mapping[str, Any]
    loss: float


class OptunaProposer:
    """Optuna's TPE. What it proposes depends on the seed, on what was known before and on which trials had ended by then."""

    def __init__(self, sweep: Sweep, known: Sequence[Known] = ()) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep, self._distributions = sweep, distributions(sweep)
        sampler = optuna.samplers.TPESampler(seed=sweep.searcher.seed, n_startup_trials=sweep.searcher.startup_trials, constant_liar=True)
        self._study = optuna.create_study(sampler=sampler)
        for each in known:
            self._study.add_trial(optuna.trial.create_trial(params=dict(each.params), distributions=self._distributions, value=each.loss))
        self._open: dict[str, Any] = {}

    def propose(self, number: int) -> dict[str, Any]:
        trial = self._study.ask(self._distributions)
        self._open[trial_name(number)] = trial
        return {key: from_optuna(span, trial.params[key]) for key, span in self._sweep.space.items()}

    def again(self, trial: Trial) -> None:
        self._study.enqueue_trial({key: to_optuna(span, trial.values[key]) for key, span in self._sweep.space.items()})
        self._open[trial.name] = self._study.ask(self._distributions)

    def tell(self, trial: Trial, loss: float | None) -> None:
        import optuna

        if trial.name not in self._open:
            self.again(trial)
        state = optuna.trial.TrialState.FAIL if loss is None else optuna.trial.TrialState.COMPLETE
        self._study.tell(self._open.pop(trial.name), loss, state=state)


def make_proposer(sweep: Sweep, known: Sequence[Known] = ()) -> Proposer:
    return OptunaProposer(sweep, known) if sweep.searcher.name == "optuna" else RandomProposer(sweep)


def trial_name(number: int) -> str:
    return f"{number:03d}"


def distribution(span: Span) -> Any:
    """A span in Optuna's words; choices by their place, because Optuna takes no lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if span.choices is not None:
        return CategoricalDistribution(list(range(len(span.choices))))
    low, high = span.bounds
    if span.integer:
        return IntDistribution(int(low), int(high), log=span.log, step=int(span.step or 1))
    if span.step:
        high = low + span.step * int((high - low) / span.step + 1e-9)
    return FloatDistribution(low, high, log=span.log, step=span.step)


def distributions(sweep: Sweep) -> dict[str, Any]:
    """A sweep's space in Optuna's words."""
    return {key: distribution(span) for key, span in sweep.space.items()}


def from_optuna(span: Span, value: Any) -> Any:
    return span.choices[value] if span.choices is not None else span.number(value)


def to_optuna(span: Span, value: Any) -> Any:
    return span.choices.index(value) if span.choices is not None else value


class Ledger:
    """The list of a sweep's trials as they are asked for: first those of the list on disk that haven't ended, then new ones, up to the budget."""

    def __init__(self, sweep: Sweep, records: Sequence[Record], known: Sequence[Known] = ()) -> None:
        self._proposer = make_proposer(sweep, known)
        self._waiting = [record.trial for record in records if not record.ended]
        self._count, self._budget = len(records), sweep.budget.trials
        for record in records:
            if record.ended:
                self._proposer.tell(record.trial, None if record.status == "failed" else record.loss)

    @property
    def remaining(self) -> int:
        return len(self._waiting) + max(0, self._budget - self._count)

    def next(self) -> tuple[Trial, bool] | None:
        """A trial, and whether it is new; None where the budget is spent."""
        if self._waiting:
            trial = self._waiting.pop(0)
            self._proposer.again(trial)
            return trial, False
        if self._count >= self._budget:
            return None
        trial = Trial(name=trial_name(self._count), values=self._proposer.propose(self._count))
        self._count += 1
        return trial, True

    def tell(self, trial: Trial, loss: float | None) -> None:
        self._proposer.tell(trial, loss)


class Repeats:
    """Trials with given values, in the place of a ledger."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials = list(trials)

    @property
    def remaining(self) -> int:
        return len(self._trials)

    def next(self) -> tuple[Trial, bool] | None:
        return (self._trials.pop(0), False) if self._trials else None

    def tell(self, trial: Trial, loss: float | None) -> None: ...

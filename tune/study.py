"""A sweep's trials as a study of Optuna in a database: to look at with optuna-dashboard while it runs, to back up, and for later sweeps to learn from.

The sweep's own list decides, and the database gets a copy, from a thread, until it holds everything. So a database that is away holds nothing up, one that
was restarted in the middle of a write is written to again, and nothing is there twice: a trial is found by its sweep's and its own name.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.storage import Location
from models.errors import RecipeError
from tune.proposals import Known, distributions, to_optuna
from tune.sweep_file import Sweep
from tune.trials import Record, Trial, read_record, read_trials

STORAGE = "OPTUNA_STORAGE"  # Optuna's own variable: what a sweep file that names none takes
INTERVAL_S = 5.0  # between two looks at what has changed
CONNECT_S = 10  # until a database that doesn't answer counts as away
END_S = 30.0  # that the end of a sweep waits for its last write
SWEEP_KEY, TRIAL_KEY, VALUES_KEY = "signray.sweep", "signray.trial", "signray.values"  # attributes of a trial in the database

Show = Callable[[str], None]


class Study:
    """One study and what a sweep wrote to it. Its methods raise what the database raises where it is away, and may then be called again."""

    def __init__(self, sweep: Sweep, place: Location) -> None:
        """place: of the sweep, whose trials are told from others' by it."""
        self._sweep, self._owner = sweep, str(place)
        self.name = sweep.searcher.study or place.name
        self._storage: Any = None
        self._id = 0
        self._ids: dict[str, int] = {}  # the database's, of this sweep's trials by name
        self._written: dict[str, tuple[str, int]] = {}  # state and number of validations that the database has

    def known(self) -> list[Known]:
        """Parameters and losses of other sweeps' trials in this study; those of another space are left out."""
        own = distributions(self._sweep)
        trials = self._opened().get_all_trials(self._id, deepcopy=False)
        return [
            Known(params=dict(trial.params), loss=trial.value)
            for trial in trials
            if trial.user_attrs.get(SWEEP_KEY) != self._owner and trial.distributions == own and trial.value is not None
        ]

    def write(self, records: Iterable[Record]) -> int:
        """Bring the database to what the records say; returns how many trials were written."""
        try:
            self._opened()
            changed = [record for record in records if self._written.get(record.trial.name) != _progress(record)]
            for record in changed:
                self._write(record)
        except BaseException:
            self._storage = None  # what arrived isn't known: it is read again
            raise
        return len(changed)

    def _write(self, record: Record) -> None:
        from optuna.trial import TrialState

        storage, name = self._opened(), record.trial.name
        state = {"finished": TrialState.COMPLETE, "stopped early": TrialState.PRUNED, "failed": TrialState.FAIL}.get(record.status, TrialState.RUNNING)
        if name not in self._ids:
            self._ids[name] = storage.create_new_trial(self._id, self._running(record.trial))
        number = self._ids[name]
        there = storage.get_trial(number)
        if not there.state.is_finished():
            for epoch in sorted(set(record.losses) - set(there.intermediate_values)):
                storage.set_trial_intermediate_value(number, epoch, record.losses[epoch])
            if state.is_finished():
                scored = record.loss is not None and state != TrialState.FAIL
                storage.set_trial_state_values(number, state, [record.loss] if scored else None)
        self._written[name] = _progress(record)

    def _running(self, trial: Trial) -> Any:
        """A trial in Optuna's words."""
        import optuna

        return optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params={key: to_optuna(span, trial.values[key]) for key, span in self._sweep.space.items()},
            distributions=distributions(self._sweep),
            user_attrs={SWEEP_KEY: self._owner, TRIAL_KEY: trial.name, VALUES_KEY: dict(trial.values)},
        )

    def _opened(self) -> Any:
        """Optuna's storage, with the study in it."""
        if self._storage is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            storage = _connected(storage_of(self._sweep) or "")
            study = optuna.create_study(storage=storage, study_name=self.name, load_if_exists=True)
            study.set_user_attr("signray.metric", f"{self._sweep.metric}, as a loss in percent")
            self._id = storage.get_study_id_from_name(self.name)
            trials = [trial for trial in storage.get_all_trials(self._id, deepcopy=False) if trial.user_attrs.get(SWEEP_KEY) == self._owner]
            self._ids = {trial.user_attrs[TRIAL_KEY]: storage.get_trial_id_from_study_id_trial_number(self._id, trial.number) for trial in trials}
            self._written = {}
            self._storage = storage
        return self._storage


def storage_of(sweep: Sweep) -> str | None:
    """URL of the database that keeps a sweep's study: the file's, else OPTUNA_STORAGE; None where there is none."""
    return (sweep.searcher.storage or os.environ.get(STORAGE) or None) if sweep.searcher.name == "optuna" else None


def check_storage(sweep: Sweep) -> None:
    """Raises RecipeError, one line, where the database of a sweep can't be used, before anything has started."""
    url = storage_of(sweep)
    if url is None:
        return
    try:
        _connected(url)
    except Exception as error:
        raise RecipeError(
            f"searcher.storage {_shown(url)}: {_reason(error)}: start the database, or mend the URL "
            "(dialect://user@host/database; a password belongs into PGPASSWORD)"
        ) from None


def earlier_trials(sweep: Sweep, place: Location, show: Show) -> list[Known]:
    """What other sweeps left in the study; nothing without a database, and nothing, with a word, where it is away."""
    if storage_of(sweep) is None:
        return []
    study = Study(sweep, place)
    try:
        known = study.known()
    except Exception as error:
        show(f"the study's database is away ({_reason(error)}): what other sweeps know is left out")
        return []
    if known:
        show(f"study {study.name}: the search knows {len(known)} trials of other sweeps")
    return known


@contextmanager
def copied(sweep: Sweep, folder: Path, show: Show, *, place: Location | None = None, interval_s: float = INTERVAL_S, end_s: float = END_S) -> Iterator[None]:
    """While the block runs, and at its end, keep the study in the database at what the sweep's folder holds; nothing without a database.

    place: of the sweep, where that isn't its folder. A database that is away is told once, and once that it is back; nothing is raised.
    """
    if storage_of(sweep) is None:
        yield
        return
    copying = _Copying(Study(sweep, place or folder), sweep, folder, show, interval_s, end_s)
    thread = threading.Thread(target=copying.run, name="study", daemon=True)
    thread.start()
    try:
        yield
    finally:
        copying.ended.set()
        thread.join(end_s + CONNECT_S)
        if not copying.complete:
            show(f"the study's database is still away: its trials are kept in {folder}, and sent with python tune/sweep.py --resume {place or folder}")


class _Copying:
    """The thread's work."""

    def __init__(self, study: Study, sweep: Sweep, folder: Path, show: Show, interval_s: float, end_s: float) -> None:
        self._sweep, self._folder, self._show, self._interval_s, self._end_s = sweep, folder, show, interval_s, end_s
        self._study = study
        self._ended: dict[str, Record] = {}  # they don't change any more
        self._away = False
        self.ended = threading.Event()
        self.complete = False

    def run(self) -> None:
        while not self.ended.wait(self._interval_s):
            self._copy()
        deadline = time.monotonic() + self._end_s
        while not (complete := self._copy()) and time.monotonic() < deadline:
            time.sleep(min(1.0, self._interval_s))
        self.complete = complete

    def _copy(self) -> bool:
        try:
            count = self._study.write(self._records())
        except Exception as error:  # SQLAlchemy's, the driver's, and what Optuna makes of them
            if not self._away:
                self._show(f"the study's database is away ({_reason(error)}): the sweep goes on, and what is missing there is written when it is back")
            self._away = True
            return False
        if self._away:
            self._show(f"the study's database is back: {count} trials written")
        self._away = False
        return True

    def _records(self) -> list[Record]:
        records = [self._ended.get(trial.name) or read_record(self._sweep, self._folder, trial) for trial in read_trials(self._folder)]
        self._ended = {record.trial.name: record for record in records if record.ended}
        return records


def _progress(record: Record) -> tuple[str, int]:
    return record.status, len(record.losses)


def _connected(url: str) -> Any:
    """Optuna's storage at a URL, for one thread at a time."""
    from optuna.storages import RDBStorage
    from sqlalchemy import make_url
    from sqlalchemy.pool import NullPool

    address = make_url(url)
    if address.drivername == "postgresql" and find_spec("psycopg") is None:
        address = address.set(drivername="postgresql+psycopg2")
    patience = {"connect_timeout": CONNECT_S, "tcp_user_timeout": 1000 * CONNECT_S} if address.drivername.startswith("postgresql") else {}
    # No pool: a connection that was kept over a restart of the database fails at its next use.
    return RDBStorage(address.render_as_string(hide_password=False), engine_kwargs={"poolclass": NullPool, "connect_args": patience})


def _shown(url: str) -> str:
    from sqlalchemy import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except Exception:
        return "(no URL)"


def _reason(error: BaseException) -> str:
    """The first line of an error's own cause: Optuna and SQLAlchemy wrap what the driver says."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""What Tune says of a trial that failed, by its own records."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from models.errors import TrainingError
from tune.on_ray import reason_of


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """On a driver, whose Ray says where its session lies."""
    monkeypatch.setattr("ray.train._internal.storage._get_ray_train_session_dir", lambda: str(tmp_path / "session"))
    storage = StorageContext(storage_path=str(tmp_path / "storage"), experiment_dir_name="sweep", trial_dir_name="trial")
    made = Trial("TrainingTrial", stub=True, storage=storage)
    Path(made.local_path).mkdir(parents=True)
    return made


def test_a_reason_is_known_before_tune_has_copied_it_to_its_storage(trial: Trial) -> None:
    assert reason_of(trial) == "the trial's process died"
    cause = TrainingError("step 2: ctc_body not finite in the batch of a, b")
    trial.handle_error(RayTaskError("train", "Traceback ...", cause))
    assert trial.get_pickled_error() is None, "Tune reads the copy, which isn't there yet"
    assert reason_of(trial) == str(cause)

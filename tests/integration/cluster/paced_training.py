"""train.py with a pause in every step (PACE seconds), so that few steps pass while hosts come and go; all else is as a user starts it."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from cluster.entry import run_entry_point
from models.errors import SignrayError
from workloads import train
from workloads.training import workers
from workloads.training.loop import Outcome, Training

PACE = float(os.environ.get("PACE", "0.3"))
_real = workers._worker


class Paced:
    """The function of a Ray Train worker; stands in for `workers._worker`."""

    def __call__(self, config: dict[str, Any]) -> Outcome:
        step = Training._step

        def slow(training: Training, batches: Any) -> Any:
            time.sleep(PACE)
            return step(training, batches)

        Training._step = slow  # type: ignore[method-assign]
        return _real(config)


if __name__ == "__main__":
    workers._worker = Paced()  # type: ignore[assignment]
    run_entry_point(lambda: train.main(sys.argv[1:]), (SignrayError, ConnectionError, OSError))

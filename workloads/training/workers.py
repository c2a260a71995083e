"""Who runs the training loop: this process, or Ray Train workers on the connected cluster."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.environment import quiet_logging, quiet_ray_data
from cluster.logs import log_as
from cluster.ray_cluster import ClusterInfo, connect, default_num_cpus
from cluster.status import NODES_COME_S
from models.errors import RecipeError, ShardError, TrainingError
from models.inputs.inputs import Modality
from workloads.recipe import Recipe, parse_recipe
from workloads.shard_files import for_ray
from workloads.shards import ShardSet, shard_columns
from workloads.training.events import EVENTS, EventLog
from workloads.training.faults import read_fault
from workloads.training.loop import Outcome, Setting, run_training
from workloads.training.session import LocalSession, RaySession
from workloads.training.shares import files_of_share

RESIZE_S = 10.0  # between looks for workers that an elastic run could have more of
FAILURES = "failures.log"  # tracebacks of workers, in the run's folder


def train_in_process(recipe: Recipe, setting: Setting, shards: ShardSet) -> Outcome:
    """The loop in this process, without Ray."""
    from cluster.deepspeed_engine import single_process_group

    quiet_logging()
    device = "cuda" if recipe.train.gpus_per_worker else "cpu"
    session = LocalSession(shards, train_split=recipe.data.train_split, dev_split=recipe.data.dev_split, modalities=recipe.inputs.modalities, device=device)
    with single_process_group():
        return run_training(recipe, setting, session)


@contextmanager
def ray_cluster(recipe: Recipe, *, at_once: int = 1) -> Iterator[ClusterInfo]:
    """The cluster that RAY_ADDRESS names, or a private one with room for the recipe's workers, `at_once` runs of them.

    Raises RecipeError where a private cluster lacks the GPUs, ConnectionError where RAY_ADDRESS doesn't answer.
    """
    options = recipe.train
    cpus = at_once * math.ceil(options.num_workers * options.cpus_per_worker)
    with connect(num_cpus=default_num_cpus(cpus) + at_once - 1, threads=options.threads, driver_logs=False) as cluster:
        print(f"{'started a private Ray cluster' if cluster.private else 'connected to Ray'} at {cluster.address}", flush=True)
        cpus, gpus = math.ceil(options.num_workers * options.cpus_per_worker), options.num_workers * options.gpus_per_worker
        if gpus > cluster.num_gpus:
            text = f"the recipe's workers need {gpus:g} GPUs, {'this host' if cluster.private else 'the cluster'} has {cluster.num_gpus:g}"
            if cluster.private:
                raise RecipeError(f"{text}: train on CPUs with --set train.gpus_per_worker=0, or set RAY_ADDRESS to a cluster that has them")
            print(f"{text}: waiting until there are more", flush=True)
        if not cluster.private and cpus + 1 > cluster.num_cpus:
            # Ray Data's tasks need one, and without it training waits in silence.
            print(f"the recipe's workers and Ray Data need {cpus + 1} CPUs, the cluster has {cluster.num_cpus:g}: waiting until there are more", flush=True)
        yield cluster


def train_on_ray(recipe: Recipe, setting: Setting, shards: ShardSet) -> Outcome:
    """The loop on Ray Train workers. A worker that is lost is replaced, and all go on from the last checkpoint.

    Raises TrainingError, one line, where that fails too often or can't be; the tracebacks are in the run's folder then.
    """
    import ray.train
    from ray.exceptions import RayError

    quiet_logging()
    quiet_ray_data()
    try:
        # In a thread, because on the main one `fit` puts a handler of its own in the place of ours, and ^C would end the run without a checkpoint.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fit") as pool:
            outcome: Outcome | None = pool.submit(_trainer(recipe, setting, shards).fit).result().return_value
    except RayError as error:  # the controller itself is gone: killed, or its node was
        _append_failure(setting.folder, error)
        raise TrainingError(f"Ray lost the run ({last_line(error)}): see {setting.folder / FAILURES}, then --resume {setting.folder}") from None
    except ray.train.TrainingFailedError as error:
        fault = read_fault(setting.folder)
        if fault is None:
            _append_failure(setting.folder, error)
            raise TrainingError(f"training failed ({last_line(_cause(error))}): see {setting.folder / FAILURES}, then continue with --resume") from None
        return Outcome(step=0, finished=False, fault=fault)
    if outcome is None:
        raise TrainingError(f"the workers ended without a result: look for their logs below Ray's session folder, then --resume {setting.folder}")
    return outcome


def _trainer(recipe: Recipe, setting: Setting, shards: ShardSet) -> Any:
    from ray.data import ExecutionOptions
    from ray.train import DataConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    options = recipe.train
    splits = {"train": recipe.data.train_split, "dev": recipe.data.dev_split}
    gpus = {"GPU": options.gpus_per_worker} if options.gpus_per_worker else {}
    config = {"recipe": recipe.dump(), "setting": setting, "train_clips": shards.corpus.splits[recipe.data.train_split].recordings}
    datasets = {name: _dataset(shards, split, recipe.inputs.modalities) for name, split in splits.items()}
    if options.min_workers:
        del datasets["train"]
        shares, config["skipped"] = _shares(recipe, shards)
        datasets |= shares
    return TorchTrainer(
        _worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=(options.min_workers, options.num_workers) if options.min_workers else options.num_workers,
            elastic_resize_monitor_interval_s=RESIZE_S,
            use_gpu=options.gpus_per_worker > 0,
            resources_per_worker={"CPU": options.cpus_per_worker, **gpus},
        ),
        # A new name for each start of the driver: Ray would resume an old one by its own records, we resume by whole checkpoints.
        run_config=RunConfig(
            name=f"start-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}",
            storage_path=str(setting.folder / "ray"),
            failure_config=FailureConfig(max_failures=options.max_failures, controller_failure_limit=_start_attempts()),
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[_failure_log(setting.folder)],
        ),
        datasets=datasets,
        dataset_config=DataConfig(datasets_to_split=[] if options.min_workers else ["train"], execution_options=ExecutionOptions(preserve_order=True)),
    )


def _start_attempts() -> int:
    """How often the workers' start may fail, each time after Ray's own timeout: a cluster may have to bring nodes up, a private one has what it has."""
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        return 2
    return math.ceil(NODES_COME_S / float(os.environ.get("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "60")))


def _shares(recipe: Recipe, shards: ShardSet) -> tuple[dict[str, Any], list[int]]:
    """A data set for each share, of the files that hold it, and how many clips of another share come first in each."""
    split, modalities = recipe.data.train_split, recipe.inputs.modalities
    recordings = [file.recordings for name, file in shards.corpus.files.items() if name.startswith(f"{split}/")]
    shares = recipe.train.num_workers
    found = [files_of_share(recordings, share, shares) for share in range(shares)]
    return {f"train-{share}": _dataset(shards, split, modalities, files) for share, (files, _, _) in enumerate(found)}, [before for _, before, _ in found]


def _dataset(shards: ShardSet, split: str, modalities: Sequence[Modality], chosen: range | None = None) -> Any:
    """Only what the network looks at is read: pictures are a hundred times the size of keypoints. chosen: of the split's files, all where it isn't given."""
    import ray.data
    from ray.exceptions import RayError

    files = shards.files(split)
    files = files if chosen is None else files[chosen.start : chosen.stop]
    paths, filesystem = for_ray(files)
    try:
        return ray.data.read_parquet(paths, filesystem=filesystem, columns=shard_columns(files[0], modalities))
    except (OSError, RayError) as error:
        raise ShardError(f"Ray Data can't read {shards.path / split} ({last_line(error)}): all nodes must see the shards") from None


def _worker(config: dict[str, Any]) -> Outcome:
    """What each Ray Train worker runs."""
    quiet_logging()
    recipe = parse_recipe(config["recipe"], where="the run's recipe")
    session = RaySession(train_clips=config["train_clips"], skipped=config.get("skipped", ()))
    log_as(run=config["setting"].folder.name, rank=session.rank)
    return run_training(recipe, config["setting"], session)


def _failure_log(folder: Path) -> Any:
    from ray.train import UserCallback

    class FailureLog(UserCallback):  # type: ignore[misc]
        """Tells of lost workers as they are lost: in an event, and with the traceback in a file."""

        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            if read_fault(folder) is not None:  # it ends the run, in a line of its own
                return
            with suppress(OSError), closing(EventLog(folder / EVENTS)) as log:
                for rank, error in worker_exceptions.items():
                    _append_failure(folder, error)
                    log.write("message", text=f"worker {rank} failed ({last_line(error)}): see {FAILURES} in the run's folder")

    return FailureLog()


def _append_failure(folder: Path, error: BaseException) -> None:
    with suppress(OSError), (folder / FAILURES).open("a", encoding="utf-8") as stream:
        stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}\n")


def _cause(error: Any) -> BaseException:
    """The first worker's error, or the controller's, below Ray Train's own."""
    failures = getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}
    cause: BaseException = failures[min(failures)]
    return cause


def last_line(error: BaseException) -> str:
    """What an error says in its last line, where Ray puts the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]

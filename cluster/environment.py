"""The environment variables that Ray, DeepSpeed and MLflow need, in one place, each with its reason.

`set_defaults` must run before ray, mlflow or deepspeed is imported: some of them read their variables at import.
What the user has set wins everywhere.
"""

import ctypes
import logging
import os
import warnings
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent

_DEFAULTS = {
    # No usage report leaves the machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A late call of one of Ray's threads would otherwise connect again, after `ray.shutdown`, and the next `ray.init` fails.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray's newer Parquet reader opens a thread per file and yields its first batch only after some 100 MB.
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    # Otherwise each `print` of a Train worker appears twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Workers that Ray starts in advance lack the environment that ours ask for: they cost seconds, and are never used.
    "RAY_prestart_worker_first_driver": "0",
    # Workers would otherwise run in the session's artifact folder, where relative paths of the user mean nothing.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # One report is consumed per controller poll, and the end of `fit()` waits for one: 5 s at the default of 2 s, 1 s at 0.2.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A rank that misses a `report()` would hang the others for ever.
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",
    # Ray announces a change of its defaults at every start; we ask for the new behaviour, which is to leave devices as they are.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune would print a table and a traceback for each failed trial, whatever its verbosity; the sweep tells them in a line.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Telemetry of MLflow posts to a public host.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # With the default of seven retries, doubling, a refused connection blocks the caller for 245 s. Our spool retries by itself.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # A link and a progress bar of MLflow between our own lines.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that accepts and never answers is away, too.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

# glibc returns large blocks to the kernel at each free and faults them in again at the next allocation: every activation of
# every step. Keeping them costs no more than the step's peak and saved 10-15 % of a convolution step on a CPU (8,900 page
# faults a step became 400). They act only on processes that start with them, hence the workers' environment.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),  # blocks below 1 GiB come from the heap, not from a mapping of their own
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),  # the heap's free top stays with the process
    "MALLOC_TOP_PAD_": str(1 << 26),  # the heap grows by 64 MiB at once
}

# The same as numbers of mallopt, whose values are 32-bit ones.
_MALLOPT = {-3: 1 << 30, -1: (1 << 31) - 1, -2: 1 << 26}

# Hand-over of the driver's settings to workers, which on another host inherit nothing from the driver.
_FORWARDED = (
    "RAY_DATA_USE_DATASOURCE_V2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH",
    "RAY_CHDIR_TO_TRIAL_DIR",
    "MLFLOW_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE",
    "GLOO_SOCKET_IFNAME",
    "NCCL_SOCKET_IFNAME",
    # Where the store is; who may read it stands in each node's own environment, because Ray writes what is handed over here into its logs.
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "AWS_EC2_METADATA_DISABLED",
    "SIGNRAY_STORE_PATIENCE_S",
)

_NOISY_LOGGERS = ("ray.data", "ray.train", "ray.tune", "alembic", "mlflow", "urllib3.connectionpool", "DeepSpeed", "torch.distributed")


def set_defaults() -> None:
    """Set what is unset of the variables above; call it before ray, mlflow or deepspeed is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def keep_memory() -> None:
    """Let this process, too, keep what it frees, for a training without workers; call it from a program of its own. Nothing happens without glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


def worker_environment(*, threads: int | None = None) -> dict[str, str]:
    """Environment of the workers, for `runtime_env={"env_vars": ...}`.

    `threads` is the number of OpenMP threads per worker (default: OMP_NUM_THREADS of this process, else what Ray sets: the
    CPUs of the task). Variables of a `ray job` that the submitter has set are left out: Ray refuses to see them twice.
    """
    variables = {
        # The same import works in driver and workers; a job's working directory is on the path by itself.
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(REPOSITORY_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])),
        # Threads that spin while they wait take the cores from the other workers.
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        **_MALLOC,
    }
    count = str(threads) if threads is not None else os.environ.get("OMP_NUM_THREADS")
    if count:
        variables["OMP_NUM_THREADS"] = count
    # "@": a user and password in a URL, which stay where they are, as all credentials do.
    variables.update({name: os.environ[name] for name in _FORWARDED if name in os.environ and "@" not in os.environ[name]})
    return variables


def quiet_logging(level: int = logging.ERROR) -> None:
    """Raise the threshold of the libraries' loggers, and drop the warnings that only their authors can mend."""
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(ray|torch|deepspeed|mlflow)\.")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(ray|torch|deepspeed|mlflow)\.")


def quiet_ray_data() -> None:
    """Turn off the progress bars and start messages of Ray Data in this process (imports ray.data)."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False

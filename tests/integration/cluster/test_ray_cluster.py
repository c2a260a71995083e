"""Private clusters beside a running one, connections to it, and jobs on it.

Slow: a private cluster takes some 4 s to start, a Train run 8 s.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import connect
from tests.integration.head_node import HeadNode

pytestmark = pytest.mark.slow

PRIVATE = """
import os, sys, time
from pathlib import Path
from cluster.ray_cluster import connect
from cluster.signals import StopRequest

with connect(num_cpus=2, object_store_bytes=100_000_000) as info, StopRequest(Path(sys.argv[1])) as stop:
    import ray
    variables = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    assert info.private and info.num_cpus == 2, info
    assert variables["RAY_ADDRESS"] == info.address, (variables["RAY_ADDRESS"], info)
    assert variables["MALLOC_TOP_PAD_"] and variables["RAY_AUTH_MODE"] == "token"
    print("ready", os.environ["RAY_AUTH_MODE"], flush=True)
    while not stop.path.exists():
        time.sleep(0.05)
with connect(num_cpus=1, object_store_bytes=100_000_000) as info:  # a second one in the same process
    assert ray.get(ray.remote(lambda: 3).remote()) == 3
sys.exit(stop.exit_code)
"""


def start_private(tmp_path: Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A driver with a private cluster that runs until it is told to stop, and all its processes."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_AUTH_MODE", "RAY_ADDRESS")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY_ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", PRIVATE, str(tmp_path / "stop")], env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready token\n"
    family = psutil.Process(driver.pid).children(recursive=True)
    assert {"gcs_server", "raylet"} <= {member.name() for member in family}
    return driver, family


def answers(node: HeadNode) -> bool:
    with urllib.request.urlopen(f"{node.dashboard_url}/api/version", timeout=5) as response:
        return bool(response.status == 200)


def test_private_cluster_beside_another_leaves_nothing(head_node: HeadNode, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("ray*"))
    driver, family = start_private(tmp_path)
    with driver:
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == 143
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert set(Path("/tmp").glob("ray*")) <= before
    assert not (tmp_path / ".ray").exists()
    assert answers(head_node)


def test_private_cluster_ends_with_its_killed_driver(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("ray*"))
    driver, family = start_private(tmp_path)
    with driver:
        driver.kill()
    deadline = time.monotonic() + 20
    while not set(Path("/tmp").glob("ray*")) <= before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert set(Path("/tmp").glob("ray*")) <= before
    assert not [(member.name(), member.cmdline()[:3]) for member in psutil.wait_procs(family, timeout=20)[1]]


def test_running_cluster_is_used_and_left_running(ray_cluster: HeadNode) -> None:
    import ray

    with connect(driver_logs=False) as info:
        assert (info.private, info.address.split(":")[1], info.num_cpus) == (False, ray_cluster.address.split(":")[1], 4)
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
    assert not ray.is_initialized()
    assert answers(ray_cluster)


def test_training_finds_its_cluster(ray_cluster: HeadNode, tmp_path: Path) -> None:
    """Two workers with a process group; their environment is ours."""
    with connect(threads=1, driver_logs=False):
        from ray.train import LoggingConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        def loop(_: dict) -> dict[str, str | int]:
            import ray.train
            import torch.distributed

            import cluster.memory  # the repository is on the path

            assert cluster.memory.process_tree_pss() > 0
            ray.train.report({"x": 1})
            return {"world": torch.distributed.get_world_size(), **{name: os.environ[name] for name in ("RAY_ADDRESS", "OMP_NUM_THREADS", "MALLOC_TOP_PAD_")}}

        run = RunConfig(name="t", storage_path=str(tmp_path), logging_config=LoggingConfig(log_level="ERROR"))
        result = TorchTrainer(loop, train_loop_config={}, scaling_config=ScalingConfig(num_workers=2), run_config=run).fit()
    assert result.return_value == {"world": 2, "RAY_ADDRESS": ray_cluster.address, "OMP_NUM_THREADS": "1", "MALLOC_TOP_PAD_": str(1 << 26)}


def test_job_connects_to_the_cluster_it_runs_on(head_node: HeadNode, tmp_path: Path) -> None:
    """The submitter's own variables don't collide with ours."""
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "job.py").write_text(
        "import os\nfrom cluster.ray_cluster import connect\nwith connect(threads=1) as info:\n"
        "    import ray\n    print('RESULT', info.private, ray.get(ray.remote(lambda: os.environ['OMP_NUM_THREADS']).remote()))\n"
    )
    variables = f'{{"env_vars": {{"PYTHONPATH": "{REPOSITORY_ROOT}", "OMP_NUM_THREADS": "7"}}}}'
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", head_node.dashboard_url, "--working-dir", str(tmp_path)]
    done = subprocess.run([*command, "--runtime-env-json", variables, "--", "python", "workloads/job.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "RESULT False 7" in done.stdout


def test_cluster_that_has_ended_is_said_at_once(head_node: HeadNode) -> None:
    began = time.monotonic()
    host, port = head_node.address.split(":")
    with pytest.raises(ConnectionError), connect(address=f"{host}:{int(port) + 1 if int(port) < 65535 else 1}"):
        pass
    assert time.monotonic() - began < 10

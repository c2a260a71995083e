"""Is this cluster fit for a training? One table, each red line with what to do.

python -m cluster.doctor                                              the cluster of RAY_ADDRESS, or this host; SIGNRAY_SHARED and MLFLOW_TRACKING_URI
python -m cluster.doctor --shared /shared/runs --shards data/mine --tracking-uri http://mlflow:5000
python -m cluster.doctor --json                                       the same for programs; exits with 1 where a line is red
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from cluster import checks
from cluster.checks import Check
from cluster.entry import run_entry_point
from cluster.environment import quiet_logging, quiet_ray_data
from cluster.node_probe import NodeFacts, NodeProbe, reach
from cluster.ray_cluster import asks_for_token, connect
from cluster.storage import Location, Place, location
from cluster.store_access import filesystem

ANSWER_S = 90.0  # a node that takes longer is silent; importing torch takes its time
VALUES = 4_000_000  # of the tensor that is reduced: 16 MB
MARK = "signray-doctor-"

T = TypeVar("T")


def diagnose(*, shared: str | None = None, shards: str | None = None, tracking_uri: str | None = None) -> list[Check]:
    """Every check on the connected cluster; what is ill, or gone meanwhile, is a line like the others."""
    import ray

    quiet_logging()
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    probes = {_label(node): _probe_on(node_id) for node_id, node in nodes.items()}
    resources = {_label(node): node["Resources"] for node in nodes.values()}
    answers, lines = _ask(probes, lambda probe: probe.facts.remote())
    probes = {where: probe for where, probe in probes.items() if where in answers}
    lines += [checks.silent(_label(node), "Ray counts it as dead") for node in ray.nodes() if not node["Alive"]]
    here: NodeFacts = NodeProbe().facts()
    lines += checks.versions(here, answers)
    lines += checks.gpus(answers, {where: found.get("GPU", 0.0) for where, found in resources.items()})
    lines += checks.disks(answers)
    lines += checks.stores(answers, {where: found.get("object_store_memory", 0.0) for where, found in resources.items()})
    lines += checks.names(answers)
    skews, gone = _skews(probes)
    lines += [*checks.clocks(skews), *gone]
    probes = {where: probe for where, probe in probes.items() if where in skews}
    lines.append(checks.authentication(asks_for_token(ray.get_runtime_context().gcs_address), len(nodes)))
    lines += _storage(probes, shared) if shared else [checks.not_looked_at("storage", "--shared FOLDER, or set SIGNRAY_SHARED")]
    if tracking_uri:
        lines.append(checks.tracking(tracking_uri, reach(tracking_uri)))
    lines.append(_all_reduce(probes, nodes))
    for probe in probes.values():
        ray.kill(probe)
    lines.append(_first_batch(location(shards)) if shards else checks.not_looked_at("first batch", "--shards FOLDER"))
    return lines


def _label(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"


def _probe_on(node_id: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return ray.remote(NodeProbe).options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote()


def _ask(probes: Mapping[str, Any], question: Callable[[Any], Any]) -> tuple[dict[str, Any], list[Check]]:
    """The answer of each node, and a line for each that gave none."""
    import ray
    from ray.exceptions import RayError

    asked = {where: question(probe) for where, probe in probes.items()}
    answers, lines, deadline = {}, [], time.monotonic() + ANSWER_S
    for where, reference in asked.items():
        try:
            answers[where] = ray.get(reference, timeout=max(0.1, deadline - time.monotonic()))
        except RayError as error:
            lines.append(checks.silent(where, _first_line(error)))
    return answers, lines


def _skews(probes: Mapping[str, Any]) -> tuple[dict[str, tuple[float, float]], list[Check]]:
    """Of each node, and a line for each that is gone since it told its facts."""
    from ray.exceptions import RayError

    skews, lines = {}, []
    for where, probe in probes.items():
        try:
            skews[where] = _skew(probe)
        except RayError as error:
            lines.append(checks.silent(where, _first_line(error)))
    return skews, lines


def _skew(probe: Any) -> tuple[float, float]:
    """Seconds that a node's clock is ahead, and their uncertainty: half the shortest of some round trips."""
    import ray

    tries = []
    for _ in range(5):
        before = time.time()
        there = ray.get(probe.clock.remote(), timeout=ANSWER_S)
        after = time.time()
        tries.append((after - before, there - (before + after) / 2))
    trip, ahead = min(tries)
    return ahead, trip / 2


def _storage(probes: Mapping[str, Any], folder: str) -> list[Check]:
    """Each node writes a file, and reads those of all."""
    folder, mark = str(location(folder).resolve()), f"{MARK}{uuid.uuid4().hex[:8]}"
    files = {where: f"{mark}-{number}" for number, where in enumerate(probes)}
    written, lines = _ask(probes, lambda probe: probe.write.remote(folder, next(files[where] for where, each in probes.items() if each is probe)))
    names = [files[where] for where, reason in written.items() if reason is None]
    missing, more = _ask(probes, lambda probe: probe.unread.remote(folder, names))
    owners = {name: where for where, name in files.items()}
    for name in files.values():
        with suppress(OSError):
            (location(folder) / name).unlink(missing_ok=True)
    return [*checks.storage(folder, written, {where: [owners[name] for name in unread] for where, unread in missing.items()}), *lines, *more]


def _all_reduce(probes: Mapping[str, Any], nodes: Mapping[str, Any]) -> Check:
    """One worker per node; two on the only one."""
    import ray
    from ray.exceptions import RayError

    workers = list(probes.values())
    extra = [_probe_on(next(iter(nodes)))] if len(workers) == 1 else []
    workers += extra
    if not workers:
        return checks.bandwidth(0, VALUES, None, "no node answers")
    try:
        address, port = ray.get(workers[0].meeting_point.remote(), timeout=ANSWER_S)
        asked = [worker.all_reduce.remote(rank, len(workers), address, port, VALUES) for rank, worker in enumerate(workers)]
        return checks.bandwidth(len(workers), VALUES, max(ray.get(asked, timeout=ANSWER_S)))
    except RayError as error:
        return checks.bandwidth(len(workers), VALUES, None, _last_line(error))
    finally:
        for worker in extra:
            ray.kill(worker)


def _first_batch(folder: Location) -> Check:
    """Seconds until Ray Data hands out rows of a folder of Parquet files."""
    import ray.data
    from pyarrow import ArrowException
    from ray.exceptions import RayError

    files: list[str] = []
    try:
        files, store = _parquet_files(folder)
        if not files:
            return checks.first_batch(str(folder), 0, None, "no Parquet files there")
        quiet_ray_data()
        began = time.perf_counter()
        batches = iter(ray.data.read_parquet(files, filesystem=store).limit(16).iter_batches(batch_size=16, batch_format="pyarrow"))
        first = next(batches, None)
        seconds = time.perf_counter() - began
        for _ in batches:
            pass  # to the end, so that the thread that reads has ended, too
    except (OSError, ArrowException, RayError) as error:
        return checks.first_batch(str(folder), len(files), None, _last_line(error))
    return checks.first_batch(str(folder), len(files), None if first is None else seconds, "no rows in its Parquet files")


def _parquet_files(folder: Location) -> tuple[list[str], Any]:
    """Paths for Ray Data, and the file system of those that lie in a store."""
    if isinstance(folder, Place):
        return [f"{folder.key}/{name}" for name in folder.sizes() if name.endswith(".parquet")], filesystem(folder.bucket, patient=True)
    return sorted(str(path.resolve()) for path in folder.rglob("*.parquet")), None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:160]


def table(lines: Sequence[Check], *, colour: bool) -> str:
    """The checks under one another; what to do stands below each line that isn't well."""
    colours = {"ok": "32", "warn": "33", "FAIL": "31"}
    width = max((len(line.what) for line in lines), default=0)
    rows = []
    for line in lines:
        verdict = f"\033[{colours[line.verdict]}m{line.verdict:4}\033[0m" if colour else f"{line.verdict:4}"
        rows.append(f"{verdict}  {line.what:{width}}  {f'{line.where}: ' if line.where else ''}{line.found}")
        if line.advice:
            rows.append(f"{'':{width + 8}}→ {line.advice}")
    failed, warned = (sum(line.verdict == verdict for line in lines) for verdict in ("FAIL", "warn"))
    return "\n".join([*rows, f"{len(lines)} checks, {failed} failed, {warned} to look at"])


def _named(place: str) -> str:
    """A folder or s3:// URI as the user gave it. Raises ArgumentTypeError, which argparse prints, for any other URI."""
    try:
        location(place)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return place


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cluster.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("SIGNRAY_SHARED") or None
    parser.add_argument("--shared", type=_named, metavar="FOLDER", default=shared, help="folder or s3:// URI that all nodes share (default: SIGNRAY_SHARED)")
    parser.add_argument("--shards", type=_named, metavar="FOLDER", help="shards, a folder or s3:// URI, whose first batch is waited for")
    parser.add_argument("--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI"), help="MLflow's URI (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    given = parser.parse_args(arguments)
    with connect(num_cpus=2, driver_logs=False) as cluster:
        lines = diagnose(shared=given.shared, shards=given.shards, tracking_uri=given.tracking_uri)
    if given.json:
        print(json.dumps({"address": cluster.address, "checks": [asdict(line) for line in lines]}, ensure_ascii=False, indent=1))
    else:
        print(f"cluster at {cluster.address}\n{table(lines, colour=sys.stdout.isatty())}")
    return int(any(line.verdict == "FAIL" for line in lines))


if __name__ == "__main__":
    run_entry_point(lambda: main(), (ConnectionError,))

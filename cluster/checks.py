"""From facts to a table: each line says what was looked at, whether it is well, and what to do where it isn't. Nothing here asks a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.node_probe import NodeFacts
from cluster.storage import is_uri

Verdict = Literal["ok", "warn", "FAIL"]
GIB = 1 << 30
LARGEST_SKEW_S = 2.0
FULL = 0.05  # share of a disk below which Ray stops writing to it
LITTLE_DISK = 10 * GIB
SMALLEST_STORE = 75 << 20
FIRST_BATCH_S = 5.0
SLOW_MB_S = 50.0  # below it the all-reduce of 10 million gradients takes a second


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line. where: a node, or "" for the cluster; advice: what to do, where it isn't well."""

    what: str
    where: str
    verdict: Verdict
    found: str
    advice: str = ""


def versions(here: NodeFacts, nodes: Mapping[str, NodeFacts]) -> list[Check]:
    """Each node runs what the driver runs: Ray refuses other versions of itself, and a checkpoint of one torch is read by another only by luck."""
    checks = []
    for where, facts in nodes.items():
        other = [name for name, found in facts.versions.items() if _same_build(name, found) != _same_build(name, here.versions.get(name))]
        found = ", ".join(f"{name} {value}" for name, value in facts.versions.items())
        advice = f"the driver has {', '.join(f'{name} {here.versions.get(name)}' for name in other)}: install requirements.lock there" if other else ""
        checks.append(Check(what="versions", where=where, verdict="FAIL" if other else "ok", found=found, advice=advice))
        if facts.commit != here.commit:
            text = f"the driver runs {(here.commit or 'unknown')[:10]}: bring the node to the same commit, or submit by `ray job submit --working-dir .`"
            checks.append(Check(what="code", where=where, verdict="warn", found=f"commit {(facts.commit or 'unknown')[:10]}", advice=text))
    return checks


def _same_build(name: str, found: str | None) -> str | None:
    """torch names its build behind a plus: a head on CPUs (2.13.0+cpu) and workers with GPUs (2.13.0) have the same one."""
    return found.partition("+")[0] if found and name == "torch" else found


def gpus(nodes: Mapping[str, NodeFacts], counted: Mapping[str, float]) -> list[Check]:
    """counted: GPUs that Ray knows of, by node."""
    checks = []
    for where, facts in nodes.items():
        known = counted.get(where, 0.0)
        found = "; ".join(dict.fromkeys(facts.gpus)) or "none"
        if len(facts.gpus) == known:
            checks.append(Check(what="GPUs", where=where, verdict="ok", found=f"{len(facts.gpus)}: {found}" if facts.gpus else found))
        else:
            text = "start the node with --num-gpus, or give the container its GPUs"
            checks.append(Check(what="GPUs", where=where, verdict="warn", found=f"Ray counts {known:g}, the driver shows {len(facts.gpus)}", advice=text))
    return checks


def disks(nodes: Mapping[str, NodeFacts]) -> list[Check]:
    checks = []
    for where, facts in nodes.items():
        found = f"{facts.disk_free / GIB:.1f} GiB free below {facts.disk_folder}"
        text = "make room there, or start Ray with --temp-dir elsewhere (Slurm's script: SIGNRAY_TMP)"
        verdict: Verdict = "FAIL" if facts.disk_free < FULL * facts.disk_total else "warn" if facts.disk_free < LITTLE_DISK else "ok"
        checks.append(Check(what="disk", where=where, verdict=verdict, found=found, advice="" if verdict == "ok" else text))
    return checks


def stores(nodes: Mapping[str, NodeFacts], sizes: Mapping[str, float]) -> list[Check]:
    """sizes: bytes of each node's object store. A store that doesn't fit into /dev/shm lies on disk."""
    checks = []
    for where, facts in nodes.items():
        size = sizes.get(where, 0.0)
        found = f"{size / GIB:.2f} GiB, /dev/shm has {facts.shm_free / GIB:.2f} GiB free"
        if size < SMALLEST_STORE:
            check = Check(
                what="object store", where=where, verdict="FAIL", found=found, advice="Ray Data needs 75 MiB: start the node with --object-store-memory"
            )
        elif facts.shm_free < min(size, GIB) / 2:
            text = "give the container a larger /dev/shm (Docker: --shm-size; Kubernetes: an emptyDir in memory)"
            check = Check(what="object store", where=where, verdict="warn", found=found, advice=text)
        else:
            check = Check(what="object store", where=where, verdict="ok", found=found)
        checks.append(check)
    return checks


def names(nodes: Mapping[str, NodeFacts]) -> list[Check]:
    """Several hosts whose names lead to 127.x don't find one another in gloo."""
    if len({facts.host for facts in nodes.values()}) < 2:
        return []
    text = "remove the line `127.0.1.1 NAME` from /etc/hosts, or set GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME) to the interface between the hosts"
    return [
        Check(what="host name", where=where, verdict="FAIL", found=f"{facts.host} leads to a loopback address", advice=text)
        for where, facts in nodes.items()
        if facts.resolves_to_loopback
    ]


def clocks(skews: Mapping[str, tuple[float, float]]) -> list[Check]:
    """skews: of each node, seconds ahead of the driver and how uncertain that is."""
    checks = []
    for where, (ahead, uncertain) in skews.items():
        bad = abs(ahead) - uncertain > LARGEST_SKEW_S
        found = f"{ahead:+.3f} s ± {uncertain:.3f} s to the driver's"
        checks.append(
            Check(what="clock", where=where, verdict="FAIL" if bad else "ok", found=found, advice="run an NTP client (chrony) on every node" if bad else "")
        )
    return checks


def storage(folder: str, failed: Mapping[str, str | None], unread: Mapping[str, Sequence[str]]) -> list[Check]:
    """failed: of each node, why it can't write; unread: whose files it doesn't see."""
    checks = []
    for where, reason in failed.items():
        missing = unread.get(where, ())
        if reason:
            text = f"mount it there, writable by the user that runs Ray: {folder}"
            if is_uri(folder):
                text = "every node needs the way and the credentials: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where `ray start` runs"
            checks.append(Check(what="storage", where=where, verdict="FAIL", found=f"{folder} can't be written ({reason})", advice=text))
        elif missing:
            text = "every node must mount the same file system there"
            checks.append(Check(what="storage", where=where, verdict="FAIL", found=f"doesn't see the files of {', '.join(missing)}", advice=text))
        else:
            checks.append(Check(what="storage", where=where, verdict="ok", found=f"{folder} is written and read"))
    return checks


def not_looked_at(what: str, option: str) -> Check:
    """Of what nobody has named: that it is left out must be seen."""
    return Check(what=what, where="", verdict="warn", found="not looked at", advice=f"give {option}")


def tracking(uri: str, problem: str | None) -> Check:
    if problem is None:
        return Check(what="MLflow", where="", verdict="ok", found=uri)
    text = "start it, or set MLFLOW_TRACKING_URI; a training goes on without it, and sends later"
    return Check(what="MLflow", where="", verdict="FAIL", found=f"{uri}: {problem}", advice=text)


def bandwidth(ranks: int, values: int, seconds: float | None, problem: str = "") -> Check:
    """What an all-reduce moves over each rank's link: 2·(n − 1)/n of the tensor."""
    if seconds is None:
        text = "open the ports between the nodes, and set GLOO_SOCKET_IFNAME to the interface between them"
        return Check(what="all-reduce", where="", verdict="FAIL", found=f"{ranks} workers don't find one another ({problem})", advice=text)
    rate = 2 * (ranks - 1) / ranks * values * 4 / 1e6 / max(seconds, 1e-9)
    found = f"{ranks} workers, {values * 4 / 1e6:.0f} MB in {seconds * 1000:.0f} ms: {rate:.0f} MB/s (gloo)"
    slow = rate < SLOW_MB_S
    return Check(
        what="all-reduce", where="", verdict="warn" if slow else "ok", found=found, advice="use a faster interface: GLOO_SOCKET_IFNAME" if slow else ""
    )


def first_batch(folder: str, files: int, seconds: float | None, problem: str = "") -> Check:
    if seconds is None:
        return Check(what="first batch", where="", verdict="FAIL", found=f"{folder}: {problem}", advice="every node must see the shards under the same path")
    slow = seconds > FIRST_BATCH_S
    text = "make fewer, larger shards (16 to 64 MB each), and set RAY_DATA_USE_DATASOURCE_V2=0 on every node" if slow else ""
    return Check(what="first batch", where="", verdict="warn" if slow else "ok", found=f"after {seconds:.1f} s, of {files} files of {folder}", advice=text)


def authentication(asked: bool | None, nodes: int) -> Check:
    """asked: whether the head asks for a token, None where it can't be told."""
    if asked is None:
        text = "look at RAY_AUTH_MODE of each `ray start`: it should be token"
        return Check(what="token", where="", verdict="warn", found="the head's answer to a call without one can't be told", advice=text)
    if asked:
        return Check(what="token", where="", verdict="ok", found="a call without one is refused")
    verdict: Verdict = "FAIL" if nodes > 1 else "warn"
    text = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH for every `ray start` and driver: whoever reaches the ports runs code here"
    return Check(what="token", where="", verdict=verdict, found="the cluster asks for none", advice=text)


def silent(where: str, problem: str) -> Check:
    text = "look at its log below Ray's session folder, then restart its `ray start`"
    return Check(what="node", where=where, verdict="FAIL", found=f"doesn't answer ({problem})", advice=text)

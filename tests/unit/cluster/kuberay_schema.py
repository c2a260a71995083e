"""The manifests of cluster/kuberay, and what is wrong with one of KubeRay's kinds.

By the closed schema of `kuberay_schema.yaml` (its head says where that comes from), with Kubernetes' own types where KubeRay uses them; then by what no
schema says: how the counts of replicas lie, which start parameters Ray's command takes, and what the operator refuses of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema
import yaml
from ray.scripts.scripts import start as ray_start
from referencing import Registry, Resource

from cluster.environment import REPOSITORY_ROOT

KUBERAY = sorted((REPOSITORY_ROOT / "cluster" / "kuberay").glob("*.yaml"))
KUBERNETES = "1.33"
KINDS = ("RayCluster", "RayJob", "RayService")
SCHEMA: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
START_PARAMETERS = {name.lstrip("-"): parameter for parameter in ray_start.params for name in parameter.opts}
RESOURCES = {"num-cpus", "num-gpus", "memory", "resources"}


def documents() -> list[dict[str, Any]]:
    return [document for path in KUBERAY for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def ray_documents() -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] in KINDS]


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    """The cluster in a manifest of any of the kinds."""
    spec: dict[str, Any] = document["spec"]
    key = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}[document["kind"]]
    return spec.get(key, {}) if key else spec


def pod_specs(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod specs of a manifest of KubeRay, the head's first."""
    cluster = cluster_of(document)
    yield cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster.get("workerGroupSpecs", []):
        yield group["template"]["spec"]


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Of one of KubeRay's kinds, the types of Kubernetes closed, too."""
    types = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict" / "_definitions.json"
    registry: Registry = Resource.from_contents(json.loads(types.read_text(encoding="utf-8"))) @ Registry()
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}, registry=registry)


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest of KubeRay, a line each. What no schema says is looked at once the schema holds."""
    errors = validator(document["kind"]).iter_errors(document)
    lines = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[-160:]}" for error in errors]  # a message begins with the value, however long
    return lines or list(cluster_problems(cluster_of(document)))


def cluster_problems(cluster: dict[str, Any]) -> Iterator[str]:
    groups = cluster.get("workerGroupSpecs", [])
    for name, group in (("head", cluster.get("headGroupSpec", {})), *((group["groupName"], group) for group in groups)):
        for problem in start_problems(group):
            yield f"{name}: {problem}"
    for group in groups:
        counts = [0, *(group[key] for key in ("minReplicas", "replicas", "maxReplicas") if key in group)]
        if counts != sorted(counts):
            yield f"{group['groupName']}: 0 ≤ minReplicas ≤ replicas ≤ maxReplicas doesn't hold"
    if cluster.get("authOptions", {}).get("mode") == "token" and "rayVersion" not in cluster:
        yield "the operator refuses a token without a rayVersion"


def start_problems(group: dict[str, Any]) -> Iterator[str]:
    """Of a group's `rayStartParams`: KubeRay takes any text, the pod's `ray start` doesn't."""
    parameters = group.get("rayStartParams", {})
    for name, value in parameters.items():
        problem = start_problem(name, value)
        if problem:
            yield f"rayStartParams: {problem}"
    if "labels" in parameters:
        yield "rayStartParams: the operator refuses labels here, the group's own `labels` take them"
    if group.get("resources") and RESOURCES & set(parameters):
        yield "rayStartParams: the operator refuses resources both here and in the group's `resources`"


def start_problem(name: str, value: str) -> str | None:
    """KubeRay writes `--name` for a switch that is "true", nothing for "false", and `--name=value` for the rest."""
    parameter = START_PARAMETERS.get(name)
    if parameter is None:
        return f"`ray start` has no --{name}"
    if parameter.is_flag:
        return None if value in ("true", "false") else f'--{name} is a switch: "true" or "false"'
    try:
        parameter.type.convert(value, parameter, None)
    except click.BadParameter as error:
        return f"--{name}: {error.message}"
    return None

"""The schema by which KubeRay's manifests are checked: closed at every level, and as strict as KubeRay's types."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.unit.cluster.kuberay_schema import SCHEMA, cluster_of, problems, ray_documents


def manifest(kind: str) -> dict[str, Any]:
    """A copy of ours, to be spoilt."""
    [document] = [document for document in ray_documents() if document["kind"] == kind]
    return copy.deepcopy(document)


def levels(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each mapping in a document, with its place."""
    if isinstance(value, dict):
        yield where, value
        for key, inner in value.items():
            yield from levels(inner, f"{where}/{key}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from levels(inner, f"{where}/{position}")


def test_it_is_a_schema_and_closed_wherever_it_names_fields() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [(where, level) for where, level in levels(SCHEMA["$defs"]) if level.get("type") == "object"]
    assert len(objects) > 20
    for where, level in objects:
        assert level["additionalProperties"] is False or level["additionalProperties"] == {"type": "string"}, where
        assert set(level.get("required", [])) <= set(level.get("properties", {})), where


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob", "RayService"])
def test_a_key_that_nobody_knows_is_refused_at_every_level(kind: str) -> None:
    """Of the pods, too. A mapping with names of one's own (labels, limits) refuses the value."""
    document = manifest(kind)
    for where, level in list(levels(document)):
        level["unknown"] = {}
        assert problems(document), where
        del level["unknown"]
    assert problems(document) == []


def auth(cluster: dict[str, Any]) -> Any:
    return cluster["authOptions"]


def head(cluster: dict[str, Any]) -> Any:
    return cluster["headGroupSpec"]


def worker(cluster: dict[str, Any]) -> Any:
    return cluster["workerGroupSpecs"][0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cluster: cluster.update(rayversion="2"), "('rayversion' was unexpected)"),
        (lambda cluster: cluster.update(rayVersion=2.6), "2.6 is not of type 'string'"),
        (lambda cluster: cluster.update(suspend=None), "None is not of type 'boolean'"),
        (lambda cluster: cluster.update(managedBy="us"), "'us' is not one of"),
        (lambda cluster: cluster.update(upgradeStrategy={"type": "NewCluster"}), "'NewCluster' is not one of ['Recreate', 'None']"),
        (lambda cluster: cluster.update(networkPolicy={"mode": "Deny"}), "'Deny' is not one of"),
        (lambda cluster: cluster.update(networkPolicy={"workerGroups": [{}]}), "'groupName' is a required property"),
        (lambda cluster: cluster.update(gcsFaultToleranceOptions={"backend": "etcd"}), "'etcd' is not one of ['redis', 'rocksdb']"),
        (lambda cluster: cluster.update(gcsFaultToleranceOptions={"redisPassword": {"valueFrom": {"secret": {}}}}), "('secret' was unexpected)"),
        (lambda cluster: cluster.pop("headGroupSpec"), "'headGroupSpec' is a required property"),
        (lambda cluster: cluster["autoscalerOptions"].update(version="v3"), "'v3' is not one of ['v1', 'v2']"),
        (lambda cluster: cluster["autoscalerOptions"].update(upscalingMode="Fast"), "'Fast' is not one of"),
        (lambda cluster: auth(cluster).update(mode="password"), "'password' is not one of ['disabled', 'token']"),
        (lambda cluster: head(cluster).update(serviceType="Ingress"), "'Ingress' is not one of"),
        (lambda cluster: head(cluster).update(replicas=1), "('replicas' was unexpected)"),
        (lambda cluster: head(cluster).pop("template"), "'template' is a required property"),
        (lambda cluster: head(cluster)["template"]["spec"].pop("containers"), "'containers' is a required property"),
        (lambda cluster: head(cluster)["rayStartParams"].update({"num-cpus": 0}), "0 is not of type 'string'"),
        (lambda cluster: worker(cluster).update(replicas="0"), "'0' is not of type 'integer'"),
        (lambda cluster: worker(cluster).update(maxReplicas=2**31), "is greater than the maximum of 2147483647"),
        *(
            (lambda cluster, key=key: worker(cluster).pop(key), f"'{key}' is a required property")
            for key in ("groupName", "minReplicas", "maxReplicas", "template")
        ),
    ],
)
@pytest.mark.parametrize("kind", ["RayCluster", "RayService"])
def test_a_cluster_is_held_to_kuberays_types(kind: str, change: Any, problem: str) -> None:
    document = manifest(kind)
    change(cluster_of(document))
    assert any(problem in line for line in problems(document)), problems(document)


BOTH = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}
RULE = {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": 60}}


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("RayJob", {"submissionMode": "Http"}, "'Http' is not one of"),
        ("RayJob", {"preRunningDeadlineSeconds": 0}, "0 is less than the minimum of 1"),
        ("RayJob", {"submitterPodTemplate": {"spec": {}}}, "'containers' is a required property"),
        ("RayJob", {"deletionStrategy": {}}, "is not valid under any of the given schemas"),
        ("RayJob", {"deletionStrategy": {"onSuccess": BOTH["onSuccess"]}}, "'onFailure' is a dependency of 'onSuccess'"),
        ("RayJob", {"deletionStrategy": {**BOTH, "deletionRules": [RULE]}}, "is valid under each of"),
        ("RayJob", {"deletionStrategy": {"onSuccess": {"policy": "Keep"}, "onFailure": {}}}, "'Keep' is not one of"),
        ("RayJob", {"deletionStrategy": {"deletionRules": []}}, "should be non-empty"),
        ("RayJob", {"deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf"}]}}, "'condition' is a required property"),
        ("RayJob", {"deletionStrategy": {"deletionRules": [{**RULE, "condition": {"ttlSeconds": 1}}]}}, "is not valid under any of the given schemas"),
        ("RayJob", {"deletionStrategy": {"deletionRules": [{**RULE, "condition": {"jobStatus": "STOPPED"}}]}}, "'STOPPED' is not one of"),
        ("RayService", {"upgradeStrategy": {"type": "Recreate"}}, "'Recreate' is not one of"),
        ("RayService", {"upgradeStrategy": {"clusterUpgradeOptions": {"maxSurgePercent": 50}}}, "'gatewayClassName' is a required property"),
        ("RayService", {"serveConfigV2": {"applications": []}}, "is not of type 'string'"),
        ("RayService", {"rayClusterDeletionDelaySeconds": -1}, "-1 is less than the minimum of 0"),
        ("RayService", {"rayClusterSpec": {}}, "('rayClusterSpec' was unexpected)"),
    ],
)
def test_jobs_and_services_are_held_to_kuberays_types(kind: str, changes: dict[str, Any], problem: str) -> None:
    document = manifest(kind)
    document["spec"].update(changes)
    assert any(problem in line for line in problems(document)), problems(document)


@pytest.mark.parametrize("changes", [{"deletionStrategy": BOTH}, {"deletionStrategy": {"deletionRules": [RULE]}}, {"managedBy": "kueue.x-k8s.io/multikueue"}])
def test_what_kuberay_takes_is_taken(changes: dict[str, Any]) -> None:
    document = manifest("RayJob")
    document["spec"].update(changes)
    assert problems(document) == []


def test_a_service_without_a_cluster_is_refused() -> None:
    document = manifest("RayService")
    del document["spec"]["rayClusterConfig"]
    assert problems(document) == ["spec: 'rayClusterConfig' is a required property"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cluster: worker(cluster).update(minReplicas=9), "gpu: 0 ≤ minReplicas ≤ replicas ≤ maxReplicas doesn't hold"),
        (lambda cluster: worker(cluster).update(replicas=9), "gpu: 0 ≤ minReplicas ≤ replicas ≤ maxReplicas doesn't hold"),
        (lambda cluster: worker(cluster).update(minReplicas=-1), "gpu: 0 ≤ minReplicas ≤ replicas ≤ maxReplicas doesn't hold"),
        (lambda cluster: head(cluster)["rayStartParams"].update({"num_cpus": "0"}), "head: rayStartParams: `ray start` has no --num_cpus"),
        (lambda cluster: head(cluster)["rayStartParams"].update({"num-cpus": "two"}), "head: rayStartParams: --num-cpus: 'two' is not a valid integer."),
        (lambda cluster: head(cluster)["rayStartParams"].update(block="yes"), 'head: rayStartParams: --block is a switch: "true" or "false"'),
        (lambda cluster: worker(cluster)["rayStartParams"].update(labels="a=b"), "gpu: rayStartParams: the operator refuses labels here"),
        (lambda cluster: head(cluster).update(resources={"CPU": "0"}), "head: rayStartParams: the operator refuses resources both here"),
        (lambda cluster: cluster.pop("rayVersion"), "the operator refuses a token without a rayVersion"),
    ],
)
def test_what_no_schema_says_is_checked(change: Any, problem: str) -> None:
    document = manifest("RayCluster")
    change(cluster_of(document))
    [line] = problems(document)
    assert line.startswith(problem)

"""Closed schemas of KubeRay's kinds, written by us from the fields that its documentation lists (ray.io/v1, operator 1.6 and 1.7): what isn't here is refused.

Kubernetes drops unknown keys in silence. Pod templates are checked apart, by Kubernetes' own schemas (`kubernetes-validate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema

TEXT, WHOLE, FLAG, ANY = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "object"}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def mapping(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


# What `ray start` takes, as KubeRay hands it on: values are text. Those that a file of ours may use.
START_PARAMS = closed(
    dict.fromkeys(("dashboard-host", "num-cpus", "num-gpus", "metrics-export-port", "object-store-memory", "resources", "block", "labels", "memory"), TEXT)
)
TEMPLATE = closed({"metadata": ANY, "spec": ANY}, "spec")
HEAD = closed(
    {
        "template": TEMPLATE,
        "rayStartParams": START_PARAMS,
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "headService": ANY,
        "enableIngress": FLAG,
        "ingressOptions": ANY,
        "labels": mapping(TEXT),
        "resources": mapping(TEXT),
    },
    "template",
)
WORKERS = closed(
    {
        "groupName": TEXT,
        "replicas": WHOLE,
        "minReplicas": WHOLE,
        "maxReplicas": WHOLE,
        "idleTimeoutSeconds": WHOLE,
        "template": TEMPLATE,
        "rayStartParams": START_PARAMS,
        "numOfHosts": WHOLE,
        "priority": WHOLE,
        "labels": mapping(TEXT),
        "resources": mapping(TEXT),
        "scaleStrategy": ANY,
        "suspend": FLAG,
    },
    "groupName",
    "minReplicas",
    "maxReplicas",
    "template",
)
AUTOSCALER = closed(
    {
        "version": {"enum": ["v1", "v2"]},
        "idleTimeoutSeconds": WHOLE,
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
        "image": TEXT,
        "imagePullPolicy": TEXT,
        "resources": ANY,
        "env": {"type": "array"},
        "envFrom": {"type": "array"},
        "securityContext": ANY,
        "volumeMounts": {"type": "array"},
    }
)
SECRET = closed({"value": TEXT, "valueFrom": ANY})
REDIS = closed({"redisAddress": TEXT, "redisUsername": SECRET, "redisPassword": SECRET, "externalStorageNamespace": TEXT}, "redisAddress")
CLUSTER = closed(
    {
        "rayVersion": TEXT,
        "authOptions": closed({"mode": {"enum": ["token", "disabled"]}, "secretName": TEXT, "enableK8sTokenAuth": FLAG}, "mode"),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": AUTOSCALER,
        "gcsFaultToleranceOptions": REDIS,
        "headGroupSpec": HEAD,
        "headServiceAnnotations": mapping(TEXT),
        "managedBy": TEXT,
        "networkPolicy": ANY,
        "suspend": FLAG,
        "tlsOptions": ANY,
        "upgradeStrategy": ANY,
        "workerGroupSpecs": {"type": "array", "items": WORKERS},
    },
    "rayVersion",
    "authOptions",
    "headGroupSpec",
)
JOB = closed(
    {
        "entrypoint": TEXT,
        "rayClusterSpec": CLUSTER,
        "clusterSelector": mapping(TEXT),
        "runtimeEnvYAML": TEXT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "shutdownAfterJobFinishes": FLAG,
        "ttlSecondsAfterFinished": WHOLE,
        "activeDeadlineSeconds": WHOLE,
        "preRunningDeadlineSeconds": WHOLE,
        "backoffLimit": WHOLE,
        "deletionStrategy": ANY,
        "suspend": FLAG,
        "metadata": mapping(TEXT),
        "entrypointNumCpus": {"type": "number"},
        "entrypointNumGpus": {"type": "number"},
        "entrypointResources": TEXT,
        "submitterPodTemplate": TEMPLATE,
        "submitterConfig": ANY,
        "jobId": TEXT,
        "managedBy": TEXT,
    },
    "entrypoint",
)
SERVICE = closed(
    {
        "rayClusterConfig": CLUSTER,
        "serveConfigV2": TEXT,
        "upgradeStrategy": closed({"type": {"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}, "clusterUpgradeOptions": ANY}, "type"),
        "serveService": ANY,
        "excludeHeadPodFromServeSvc": FLAG,
        "rayClusterDeletionDelaySeconds": WHOLE,
        "suspend": FLAG,
        "managedBy": TEXT,
    },
    "rayClusterConfig",
    "serveConfigV2",
)
KINDS = {"RayCluster": CLUSTER, "RayJob": JOB, "RayService": SERVICE}


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest of KubeRay, a line each."""
    schema = closed({"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": document["kind"]}, "metadata": ANY, "spec": KINDS[document["kind"]]}, "spec")
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    lines = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:160]}" for error in errors]
    for group in cluster_of(document).get("workerGroupSpecs", []):
        counts = [group.get(key) for key in ("minReplicas", "replicas", "maxReplicas") if isinstance(group.get(key), int)]
        if counts != sorted(counts):
            lines.append(f"{group.get('groupName')}: minReplicas ≤ replicas ≤ maxReplicas doesn't hold")
    return lines


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

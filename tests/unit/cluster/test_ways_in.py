"""The files by which a cluster is started: sound by the schemas of those who read them, of one version, locked, and reading one site file."""

from __future__ import annotations

import copy
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from cluster.container_requirements import requirements
from cluster.environment import REPOSITORY_ROOT
from models.version import VERSION
from serve.settings import ServeSettings
from tests.unit.cluster.kuberay_schema import KINDS, KUBERAY, KUBERNETES, cluster_of, documents, pod_specs, problems, ray_documents

ROOM = REPOSITORY_ROOT / "cluster"
LAUNCHERS = sorted(ROOM.glob("launcher*.yaml"))
SCRIPTS = [ROOM / "slurm" / "train.sbatch", ROOM / "mlflow_server.sh", ROOM / "node.sh"]
BIN = Path(sys.executable).parent


def env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


SITE, VERSIONS = env_file(ROOM / "site.env"), env_file(ROOM / "versions.env")


def locked(package: str) -> str:
    name = package.replace("-", "[-_.]")
    (found,) = re.findall(rf"^{name}==(\S+)(?: *;.*)?$", (REPOSITORY_ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return str(found)


# Kubernetes


@pytest.mark.parametrize("document", [pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}") for each in documents()])
def test_manifests_hold_what_kubernetes_and_kuberay_know_and_nothing_else(document: dict[str, Any]) -> None:
    if document["kind"] in KINDS:
        assert problems(document) == []
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_pod_reads_the_site_file_and_no_secret_is_written_down() -> None:
    for document in ray_documents():
        assert cluster_of(document)["authOptions"] == {"mode": "token"}
        for spec in pod_specs(document):
            assert spec["securityContext"]["runAsNonRoot"]
            assert {"configMapRef": {"name": "signray-site"}} in spec["containers"][0]["envFrom"]
    for document in documents():
        if document["kind"] == "Service":
            assert document["spec"]["type"] == "ClusterIP"
        assert document["kind"] not in ("Secret", "Ingress")


def own_templates() -> list[dict[str, Any]]:
    """The pods of what isn't Ray's."""
    return [document["spec"]["template"] for document in documents() if document["kind"] in ("Deployment", "StatefulSet")]


def test_kubernetes_sets_no_variables_of_its_own_and_ray_reads_the_store() -> None:
    """Of a Service `mlflow` it would set MLFLOW_PORT=tcp://…, which `mlflow_server.sh` would take for a port."""
    specs = [spec for document in ray_documents() for spec in pod_specs(document)]
    assert len(specs) == 6
    for spec in (*specs, *(template["spec"] for template in own_templates())):
        assert spec["enableServiceLinks"] is False
    for spec in specs:
        assert {"secretRef": {"name": "signray-store", "optional": True}} in spec["containers"][0]["envFrom"]


def test_who_must_reach_the_pods_may() -> None:
    """KubeRay submits a job from a pod whose labels it chooses, and looks at dashboards from the namespace where it was installed."""
    [policy] = [document["spec"] for document in documents() if document["kind"] == "NetworkPolicy"]
    labels = policy["podSelector"]["matchLabels"].items()
    assert all(labels <= template["metadata"]["labels"].items() for template in own_templates())
    inside, scraping = policy["ingress"]
    assert inside["from"][0] == {"podSelector": {}}
    assert inside["from"][1] == {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}}}
    ports = {entry["containerPort"] for document in ray_documents() for spec in pod_specs(document) for entry in spec["containers"][0].get("ports", [])}
    assert {entry["port"] for entry in scraping["ports"]} == {8080}
    assert 8080 in ports


def test_no_two_clusters_own_one_service() -> None:
    """KubeRay names the Service of a head after RayCluster and RayService alike."""
    names = [document["metadata"]["name"] for document in ray_documents()]
    assert len(set(names)) == len(names)


def test_the_services_head_survives_by_a_redis_that_is_here() -> None:
    [service] = [document for document in ray_documents() if document["kind"] == "RayService"]
    host, port = cluster_of(service)["gcsFaultToleranceOptions"]["redisAddress"].split(":")
    [redis] = [document for document in documents() if document["kind"] == "Service" and document["metadata"]["name"] == host]
    assert [entry["port"] for entry in redis["spec"]["ports"]] == [int(port)]


def test_the_jobs_entrypoint_is_in_the_image_and_its_recipe_is_there() -> None:
    [job] = [document for document in ray_documents() if document["kind"] == "RayJob"]
    _, script, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (REPOSITORY_ROOT / Path(script).relative_to("/opt/signray")).is_file()
    assert (REPOSITORY_ROOT / "workloads" / "recipes" / f"{arguments[arguments.index('--recipe') + 1]}.yaml").is_file()


def serve_configs() -> list[dict[str, Any]]:
    texts = [document["spec"]["serveConfigV2"] for document in documents() if document["kind"] == "RayService"]
    return [yaml.safe_load(text) for text in (*texts, (REPOSITORY_ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))]


def unknown_keys(values: Any, model: type[BaseModel], where: str = "") -> list[str]:
    """Keys that a pydantic model accepts and drops in silence."""
    found = []
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is None:
            found.append(f"{where}{key}")
            continue
        inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for entry in (value if isinstance(value, list) else [value]) if inner else ():
            if isinstance(entry, dict):
                found += unknown_keys(entry, inner[0], f"{where}{key}.")
    return found


@pytest.mark.parametrize("config", serve_configs())
def test_serve_configurations_are_serves_own_and_our_settings(config: dict[str, Any]) -> None:
    ServeDeploySchema.model_validate(config)
    assert unknown_keys(config, ServeDeploySchema) == []
    for application in config["applications"]:
        ServeSettings.model_validate(application["args"])
        module, _, name = application["import_path"].partition(":")
        assert importlib.util.find_spec(module) is not None
        assert f"def {name}(" in (REPOSITORY_ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        for deployment in application["deployments"]:
            scaling = deployment["autoscaling_config"]
            AutoscalingConfig.model_validate(scaling)  # Serve's schema takes any mapping here, and reads it when it deploys
            assert scaling["min_replicas"] <= scaling["max_replicas"]


def test_a_misspelt_key_of_serve_is_seen() -> None:
    assert unknown_keys({"applications": [{"import_pth": "x"}], "http_options": {"hst": ""}}, ServeDeploySchema) == [
        "applications.import_pth",
        "http_options.hst",
    ]


@pytest.mark.parametrize("config", serve_configs())
def test_a_key_that_serve_does_not_know_is_seen_at_every_level(config: dict[str, Any]) -> None:
    [application] = config["applications"]
    [deployment] = application["deployments"]
    for level in (config, config["http_options"], config["logging_config"], application, deployment, deployment["autoscaling_config"]):
        level["unknown"] = 1
        assert [key.rpartition(".")[2] for key in unknown_keys(config, ServeDeploySchema)] == ["unknown"]
        del level["unknown"]


# Launcher, Compose, image, scripts


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_launchers_are_rays_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.chdir(REPOSITORY_ROOT)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    validate_config(prepare_config(copy.deepcopy(config)))
    assert config.get("min_workers", 0) <= config["max_workers"]
    for kind in config.get("available_node_types", {}).values():
        assert kind.get("min_workers", 0) <= kind.get("max_workers", config["max_workers"]) <= config["max_workers"]
    assert ("available_node_types" in config) == (config["provider"]["type"] != "local")
    assert set(config["provider"]) <= {"type", "head_ip", "worker_ips", "region", "availability_zone", "use_internal_ips", "cache_stopped_nodes"}
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all(". ~/site.env" in command for command in commands if "ray start" in command)
    assert config["file_mounts"]["/home/signray/site.env"] == "cluster/site.env"
    if config["provider"]["type"] != "local":
        assert config["provider"]["use_internal_ips"], "no node with a public address unless somebody asks for it"


def test_compose_publishes_on_the_loopback_address_only_and_takes_secrets_from_files() -> None:
    config = yaml.safe_load((ROOM / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in config["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert set(service.get("secrets", [])) <= set(config["secrets"])
        assert set(service.get("depends_on", [])) <= set(config["services"])
        known = {"image", "command", "environment", "env_file", "secrets", "volumes", "healthcheck", "restart", "ports", "depends_on", "shm_size"}
        assert set(service) <= known, "a key that Compose doesn't know, or this test"
        for key, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY", key) or key.endswith(("_FILE", "_PATH")), f"{name}: {key}={value}"
    assert config["services"]["head"]["env_file"] == ["site.env"]
    assert set(re.findall(r"\$\{(\w+)\}", (ROOM / "compose.yaml").read_text(encoding="utf-8"))) <= set(VERSIONS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(path: Path) -> None:
    done = subprocess.run([BIN / "shellcheck", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_file_passes_hadolint() -> None:
    done = subprocess.run([BIN / "hadolint", "--no-color", ROOM / "Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_a_user_and_installs_the_lock_files_versions() -> None:
    text = (ROOM / "Containerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "1000"
    assert "-c requirements.lock" in text
    for line in requirements(REPOSITORY_ROOT / "pyproject.toml"):
        assert locked(re.split(r"[\[=<>; ]", line)[0])


def test_what_is_copied_into_the_image_is_the_same_for_docker_and_podman() -> None:
    assert (REPOSITORY_ROOT / ".containerignore").read_text() == (REPOSITORY_ROOT / ".dockerignore").read_text()


def test_mlflows_server_names_the_driver_that_the_image_has() -> None:
    """SQLAlchemy would take psycopg 3 by itself."""
    assert "postgresql+psycopg2://" in (ROOM / "mlflow_server.sh").read_text(encoding="utf-8")
    assert any(line.startswith("psycopg2-binary") for line in requirements(REPOSITORY_ROOT / "pyproject.toml"))


def test_mlflows_server_listens_on_a_public_address_only_where_it_is_told_to() -> None:
    """In a container, whose network is its own."""
    assert '--host "${MLFLOW_HOST:-127.0.0.1}"' in (ROOM / "mlflow_server.sh").read_text(encoding="utf-8")
    compose = yaml.safe_load((ROOM / "compose.yaml").read_text(encoding="utf-8"))["services"]["mlflow"]["environment"]
    [pod] = [document for document in documents() if document["kind"] == "Deployment" and document["metadata"]["name"] == "mlflow"]
    variables = {entry["name"]: entry["value"] for entry in pod["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert compose["MLFLOW_HOST"] == variables["MLFLOW_HOST"] == "0.0.0.0"


# One place for versions, one for the site


def test_versions_stand_in_one_place() -> None:
    """requirements.lock for packages, versions.env for the rest; a file that can't read them is held to them."""
    assert VERSIONS["SIGNRAY_VERSION"] == VERSION
    files = [path for path in ROOM.rglob("*") if path.suffix in (".yaml", ".md", ".env", ".sbatch", ".sh") or path.name == "Containerfile"]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"signray:(\d[\w.]*)", text)) <= {VERSION}, path
        assert set(re.findall(r"rayVersion: \"?([\d.]+)", text)) <= {locked("ray")}, path
        for image in ("POSTGRES_IMAGE", "OBJECT_STORE_IMAGE", "PYTHON_IMAGE", "REDIS_IMAGE"):
            name = re.escape(VERSIONS[image].split(":")[0])
            assert set(re.findall(rf"\b({name}:\d+\.[\w.-]+|{name}:[A-Z][\w.-]+)", text)) <= {VERSIONS[image]}, path
    allowed = {value for name, value in VERSIONS.items() if name.endswith("_IMAGE")} | {f"signray:{VERSION}", f"signray:{VERSION}-cuda"}
    assert {image for path in files if path.suffix != ".md" for image in images_in(path.read_text(encoding="utf-8"))} == allowed
    for document in ray_documents():
        assert cluster_of(document)["rayVersion"] == locked("ray")


def images_in(text: str) -> set[str]:
    """Every image that a manifest or an image file names, versions.env's variables filled in."""
    filled = re.sub(r"\$\{(\w+)\}", lambda name: VERSIONS.get(name[1], ""), text)
    return set(re.findall(r"(?:\bimage:|^FROM|_IMAGE=)\s*[\"']?([^\s\"']+)", filled, re.MULTILINE))


@pytest.mark.parametrize("line", ["image: {}", "  - image: '{}'", "FROM {}", 'ARG PYTHON_IMAGE="{}"'])
def test_an_image_is_seen_wherever_it_is_named(line: str) -> None:
    assert images_in(f"services:\n{line.format('redis:latest')}\n") == {"redis:latest"}


def test_login_shells_of_the_image_find_its_python() -> None:
    """`ray up` runs every command in one, and Debian's /etc/profile sets the path anew."""
    image = (ROOM / "Containerfile").read_text(encoding="utf-8")
    assert 'echo "export PATH=/opt/venv/bin:\\$PATH" > /etc/profile.d/signray.sh' in image


def test_the_site_file_is_read_by_every_way_in() -> None:
    readers = {
        ROOM / "slurm" / "train.sbatch": "cluster/site.env",
        ROOM / "compose.yaml": "site.env",
        ROOM / "node.sh": "site.env",
        ROOM / "README.md": "--from-env-file=cluster/site.env",
        **dict.fromkeys(LAUNCHERS, "cluster/site.env"),
    }
    for path, reference in readers.items():
        assert reference in path.read_text(encoding="utf-8"), path
    assert SITE["RAY_AUTH_MODE"] == "token"
    for name, value in SITE.items():
        assert re.fullmatch(r"[A-Za-z_]\w*", name)
        assert not re.search(r"[\s\"'#]", value), f"{name}: the shell, Compose and kubectl would read it differently"
        assert not re.search("PASSWORD|SECRET|KEY", name), "secrets don't belong here"
    elsewhere = [
        path
        for path in (*KUBERAY, *LAUNCHERS, ROOM / "compose.yaml", *SCRIPTS)
        if re.search(rf"^\s*(export )?({'|'.join(SITE)})=", path.read_text(), re.MULTILINE)
    ]
    assert elsewhere == [], "what the site file says, no other file says"


def test_the_site_file_says_the_same_to_the_shell() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = f"set -a; . {ROOM / 'site.env'}; env"
    told = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}).stdout
    assert set(told.splitlines()) >= {f"{name}={value}" for name, value in SITE.items()}

"""What benchmarks of the service share: bundles with random weights, a registry, services on a connected Ray, bodies of requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.ray_cluster import free_port
from cluster.registry import set_alias
from cluster.sender import embedded_uri
from cluster.tracking import MlflowTracker
from models.bundle import Bundle, CorpusCard, DecodingOptions, save_bundle
from models.inputs.clip import Clip
from models.systems import SYSTEMS
from models.vocabulary import SPECIALS, Vocabulary
from serve.bodies import Facts, open_body, read_clip
from serve.settings import ServeSettings
from workloads.recipe import load_recipe

VOCABULARY = Vocabulary(entries=(*SPECIALS, *(f"GLOSS{number}" for number in range(24))))
NO_FACTS = Facts(name=None, frame_size=None, fps=None)
Deploy = Callable[..., str]


def random_bundle(folder: Path, recipe_name: str, seed: int = 0, overrides: Sequence[str] = ()) -> Bundle:
    """The network of a recipe as it is before training."""
    recipe = load_recipe(recipe_name, list(overrides))
    torch.manual_seed(seed)
    network = SYSTEMS[recipe.system].build(recipe.network, len(VOCABULARY))
    return save_bundle(
        folder,
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        state_dict=network.state_dict(),
        classes=VOCABULARY,
        decoding=DecodingOptions(),
        corpus=CorpusCard(name="synthetic"),
        metrics={},
        provenance={},
    )


def registry_of(folder: Path, bundles: Sequence[Bundle]) -> Path:
    """A store whose registry has the bundles as versions of `tiny`, the first of them its champion."""
    store = folder / "store"
    for bundle in bundles:
        tracker = MlflowTracker(folder / f"run_{bundle.folder.name}", experiment="serve", store=store)
        tracker.register(bundle.folder, name="tiny")
        tracker.close()
    set_alias("tiny", "champion", "1", tracking_uri=embedded_uri(store))
    return store


@contextmanager
def serving() -> Iterator[Deploy]:
    """A function that deploys the service under a name, by `ServeSettings`, and returns its URL; `logging=` changes `serve.run`'s own settings."""
    from ray import serve

    from serve.app import build
    from serve.run import QUIET

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)

    def deploy(name: str, *, logging: Mapping[str, Any] | None = None, **settings: Any) -> str:
        application = build(ServeSettings(device="cpu", cpus_per_replica=0.5, timeout_s=600, **settings))  # a slow machine is no failure
        serve.run(application, name=name, route_prefix=f"/{name}", logging_config={**QUIET, **(logging or {})})
        return f"http://127.0.0.1:{port}/{name}"

    yield deploy


def points_of(num_frames: int, seed: int = 0) -> dict[str, Any]:
    """Arrays of a keypoint file: 133 points as float32."""
    places = np.random.default_rng(seed).uniform(0, 200, (num_frames, 133, 3)).astype(np.float32)
    return {"keypoints": places, "frame_size": np.array([210, 260]), "fps": np.float32(25)}


def npz_body(num_frames: int, seed: int = 0, dtype: Any = np.float32) -> bytes:
    """A clip of 133 points as `.npz`."""
    file, arrays = io.BytesIO(), points_of(num_frames, seed)
    np.savez(file, **{**arrays, "keypoints": arrays["keypoints"].astype(dtype)})
    return file.getvalue()


def clip_of(body: bytes, settings: ServeSettings) -> Clip:
    """What the service reads of it."""
    return read_clip(open_body("application/x-npz", body, NO_FACTS, settings), NO_FACTS, settings)


def replica_pids(application: str, deployment: str) -> list[int]:
    """Processes of a deployment."""
    from ray.serve.context import _get_global_client  # what the dashboard's REST API shows, and this cluster has no dashboard

    details = _get_global_client().get_serve_details()["applications"][application]["deployments"][deployment]
    return [replica["pid"] for replica in details["replicas"] if replica["state"] == "RUNNING"]

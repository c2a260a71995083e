"""Small invented corpora in the formats that users bring."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

GLOSS2IDS = {"<si>": 0, "<unk>": 1, "<pad>": 2, "</s>": 3, "haus": 4, "baum": 5, "gehen": 6}


def keypoints(num_frames: int, seed: int = 0, *, num_points: int = 133) -> np.ndarray:
    """Random points inside a 210 × 260 picture, confidences below 1."""
    return (np.random.default_rng(seed).random((num_frames, num_points, 3)) * [210, 260, 1]).astype(np.float32)


def sample(name: str, gloss: str, num_frames: int = 12, seed: int = 0, **changes: Any) -> dict[str, Any]:
    points = torch.from_numpy(keypoints(num_frames, seed))
    return {"name": name, "gloss": gloss, "text": f"{gloss.lower()} .", "num_frames": num_frames, "keypoint": points, "signer": "Signer01", **changes}


def write_release(folder: Path, splits: Mapping[str, Sequence[dict[str, Any]]] | None = None, *, stem: str = "Phoenix-2014T", vocabulary: bool = True) -> Path:
    """Three pickles and `gloss2ids.pkl` in the published keypoint format."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = splits or {
        "train": [sample(f"train/{i}", "HAUS BAUM" if i % 2 else "GEHEN", 8 + i, seed=i) for i in range(5)],
        "dev": [sample("dev/0", "BAUM GEHEN", seed=10)],
        "test": [sample("test/0", "HAUS HAUS", 8, seed=11), sample("test/1", "WOLKE BAUM", seed=12)],
    }
    for split, samples in splits.items():
        (folder / f"{stem}.{split}").write_bytes(pickle.dumps({entry["name"]: entry for entry in samples}))
    if vocabulary:
        (folder / "gloss2ids.pkl").write_bytes(pickle.dumps(GLOSS2IDS))
    return folder


def write_npz(path: Path, points: np.ndarray, *, size: tuple[int, int] | None = (210, 260), fps: float | None = 25.0) -> Path:
    arrays: dict[str, Any] = {"keypoints": points}
    if size is not None:
        arrays["frame_size"] = np.array(size)
    if fps is not None:
        arrays["fps"] = np.float32(fps)
    np.savez(path, **arrays)
    return path


def write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, fieldnames=list(dict.fromkeys(column for row in rows for column in row)), delimiter="\t" if path.suffix == ".tsv" else ","
        )
        writer.writeheader()
        writer.writerows(rows)
    return path

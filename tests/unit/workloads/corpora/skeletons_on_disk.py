"""Small invented corpora of isolated signs in the published layout of skeleton arrays."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NUM_FRAMES = 12


def skeletons(num_clips: int, seed: int = 0, *, num_frames: int = NUM_FRAMES, num_joints: int = 27) -> np.ndarray:
    """Random joints [N, 3, T, V, 1] in a picture 512 wide, confidences below 1."""
    scale = np.array([512, 512, 1]).reshape(3, 1, 1, 1)
    return (np.random.default_rng(seed).random((num_clips, 3, num_frames, num_joints, 1)) * scale).astype(np.float32)


def write_split(folder: Path, stem: str, labels: Sequence[int], *, names: Sequence[str] | None = None, seed: int = 0) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    data = skeletons(len(labels), seed)
    np.save(folder / f"{stem}_data_joint.npy", data)
    (folder / f"{stem}_label.pkl").write_bytes(pickle.dumps((list(names or (f"{stem}{i:05d}" for i in range(len(labels)))), list(labels))))
    return data


def write_skeletons(folder: Path, *, train: Sequence[int] = (0, 1, 2, 1, 0, 150, 99), val: Sequence[int] = (1, 0, 120)) -> Path:
    write_split(folder, "train", train, seed=1)
    write_split(folder, "val", val, seed=2)
    return folder

"""Load on any signray service by Locust: each user sends a clip, waits for the answer, and sends the next one.

locust -f tests/benchmarks/locustfile.py --host http://127.0.0.1:8000 --headless -u 16 -r 16 -t 30s
"""

from __future__ import annotations

import io

import numpy as np
from locust import FastHttpUser, constant, task

NUM_FRAMES, NUM_POINTS, NUM_CLIPS = 64, 133, 4


def clip(seed: int) -> bytes:
    """A clip as float32 `.npz`; imports nothing of signray, so that it runs on machines without it."""
    file = io.BytesIO()
    places = np.random.default_rng(seed).uniform(0, 200, (NUM_FRAMES, NUM_POINTS, 3)).astype(np.float32)
    np.savez(file, keypoints=places, frame_size=np.array([210, 260]), fps=np.float32(25))
    return file.getvalue()


CLIPS = [clip(seed) for seed in range(NUM_CLIPS)]


class Caller(FastHttpUser):
    """503 is a failure here, as everything but 200 is."""

    wait_time = constant(0)
    count = 0

    @task
    def recognise(self) -> None:
        self.count += 1
        self.client.post("/v1/recognize", data=CLIPS[self.count % NUM_CLIPS], headers={"Content-Type": "application/x-npz"}, name="recognize")

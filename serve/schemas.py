"""What goes over the wire, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Strict(BaseModel):
    """The base: what isn't known is refused."""

    model_config = ConfigDict(extra="forbid")


class KeypointFacts(Strict):
    """What a JSON document says beside its keypoints."""

    frame_size: tuple[PositiveInt, PositiveInt] | None = Field(None, description="width and height of the source in pixels")
    fps: float | None = Field(None, gt=0, allow_inf_nan=False, description="frames per second of the source; without it answers have no seconds")


class KeypointDocument(KeypointFacts):
    """Keypoints as JSON. A fourth channel (depth) may stand before the confidence; it is left out."""

    keypoints: list[list[list[float]]] = Field(description="(frames, points, 3): x, y in pixels of the source, confidence")


class Gloss(Strict):
    """A gloss and the half-open interval of source frames (and seconds, where fps is known) at which it was signed."""

    gloss: str
    confidence: float
    start_frame: int
    end_frame: int
    start_s: float | None
    end_s: float | None


class Candidate(Strict):
    """An isolated sign and the network's own probability of it."""

    label: str
    probability: float


class Hypothesis(Strict):
    """One of the likeliest sentences."""

    sentence: str
    glosses: list[Gloss]
    score: float
    confidence: float


class HeadResult(Strict):
    """What one head recognised: sentence, glosses and score of signed sentences; label and candidates of an isolated sign."""

    sentence: str | None = None
    glosses: list[Gloss] | None = None
    score: float | None = None
    label: str | None = None
    candidates: list[Candidate] | None = None
    confidence: float


class Model(Strict):
    """The model that answers."""

    name: str = Field(description="the bundle as the service was told of it, without folders")
    version: str | None = Field(None, description="in the registry, where the service follows an alias")
    task: str = Field(description="slr: signed sentences; islr: isolated signs")
    system: str
    corpus: str
    checksum: str = Field(description="SHA-256 of the weights: equal for equal networks")
    signray: str = Field(description="version of signray that wrote the bundle")
    head: str = Field(description="the head that answers unless another is asked for")
    heads: list[str] = Field(description="all that can answer")
    num_classes: int
    takes: list[str] = Field(description="what clips it reads: keypoints, video")
    translates: bool = Field(description="whether answers hold a text, too")
    modalities: list[str] = Field(description="what its networks read: frames, keypoints")
    num_keypoints: list[int] = Field(description="numbers of points a frame may have; empty where it reads none")
    max_frames: int | None = Field(description="longest clip that the network sees whole; of a longer one it sees the middle")
    members: list[str] = Field(description="of an ensemble, those that vote; a request may choose among them")
    metrics: dict[str, Any] = Field(description="scores that were recorded in training")


class Timings(Strict):
    """Milliseconds: reading the request; waiting for and going through the network and the search; all of it."""

    read_ms: float
    recognise_ms: float
    network_ms: float = Field(description="of recognise_ms: network and search, for the whole batch")
    total_ms: float
    batch_size: int = Field(description="clips that went through the network together")


class Translation(Strict):
    """One of the likeliest texts. score: of the text search."""

    text: str
    score: float


class Points(Strict):
    """The keypoints that were recognised, for drawing: little-endian float32 (frames, points, 3: x, y in pixels, confidence) in base64."""

    shape: tuple[int, int, int]
    frame_size: tuple[int, int]
    data: str


class Answer(HeadResult):
    """What was recognised in one clip: the members of `predict.py`'s JSON, the model, and each head where it was asked for."""

    name: str
    head: str
    low_confidence: bool = Field(description="below the bundle's threshold: don't rely on it")
    num_frames: int
    fps: float | None
    model: Model
    timings: Timings
    heads: dict[str, HeadResult] | None = Field(None, description="what each head recognised, on request")
    text: str | None = Field(None, description="the translation, where the model translates")
    texts: list[Translation] | None = Field(None, description="the likeliest translations, the best first, where the model translates")
    n_best: list[Hypothesis] | None = Field(None, description="the likeliest sentences by the prefix search, the best first, on request")
    cleaned: str | None = Field(None, description="the sentence by the clean-up rules of the corpus, as it would be scored, on request")
    windows: int | None = Field(None, description="of a job: in how many windows the clip was recognised")
    members: list[str] | None = Field(None, description="members that voted, where the request chose them")
    members_failed: list[str] | None = Field(None, description="members that didn't answer and without which this was answered")
    keypoints: Points | None = Field(None, description="on request")


class Models(Strict):
    """The models of the service."""

    models: list[Model]


class Sample(Strict):
    """A clip that travels with the bundle, with its annotation where it has one."""

    number: int = Field(description="its keypoint file, or video, is at /v1/samples/{number}")
    name: str
    num_frames: int
    fps: float | None
    reference: str | None = Field(description="the glosses, or the sign, that were signed")


class Samples(Strict):
    """The sample clips of the bundle."""

    samples: list[Sample]


class JobState(Strict):
    """A job: queued, running, done, failed or cancelled; progress in [0, 1]; then its answer, or a problem document."""

    id: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float
    num_frames: int
    answer: Answer | None = None
    problem: dict[str, Any] | None = None


class LiveStart(KeypointFacts):
    """The first message to `/v1/live`."""

    frames: Literal["keypoints", "jpeg"] = Field("keypoints", description="what the frames are: keypoints, or a JPEG picture each")
    num_points: PositiveInt | None = Field(None, description="of a frame of keypoints")
    frame_size: tuple[PositiveInt, PositiveInt]
    fps: float = Field(gt=0, le=1000, allow_inf_nan=False)
    head: str | None = Field(None, max_length=100)
    beam_width: int | None = Field(None, ge=1, le=100)
    members: tuple[str, ...] | None = None
    api_key: str | None = Field(None, description="for browsers, which can't send headers with a socket")

    @model_validator(mode="after")
    def _counted(self) -> LiveStart:
        if (self.num_points is None) != (self.frames == "jpeg"):
            raise ValueError("num_points goes with frames of keypoints, and only with them")
        return self


class Health(Strict):
    """That the service lives, or is ready."""

    status: str


MODEL_EXAMPLE = {
    "name": "bundle",
    "version": None,
    "task": "slr",
    "system": "mska_slr",
    "corpus": "synthetic",
    "checksum": "5c0f1d3a9be1c6c4e7e3ad53e4f6bb9f6f0b8a2c9d7e4f1a2b3c4d5e6f708192",
    "signray": "0.1.0",
    "head": "ensemble",
    "heads": ["ensemble", "fuse", "body", "left", "right"],
    "num_classes": 29,
    "takes": ["keypoints"],
    "translates": False,
    "modalities": ["keypoints"],
    "num_keypoints": [133],
    "max_frames": 400,
    "members": [],
    "metrics": {"dev_wer": 10.2},
}
TIMINGS_EXAMPLE = {"read_ms": 1.1, "recognise_ms": 24.9, "network_ms": 21.3, "total_ms": 26.2, "batch_size": 1}
SENTENCE_EXAMPLE = {
    "name": "clip.npz",
    "head": "ensemble",
    "sentence": "MORGEN REGEN",
    "glosses": [
        {"gloss": "MORGEN", "confidence": 0.91, "start_frame": 8, "end_frame": 20, "start_s": 0.32, "end_s": 0.8},
        {"gloss": "REGEN", "confidence": 0.88, "start_frame": 32, "end_frame": 44, "start_s": 1.28, "end_s": 1.76},
    ],
    "confidence": 0.895,
    "low_confidence": False,
    "score": -0.4127,
    "num_frames": 64,
    "fps": 25.0,
    "model": MODEL_EXAMPLE,
    "timings": TIMINGS_EXAMPLE,
}
TRANSLATION_EXAMPLE = {
    **SENTENCE_EXAMPLE,
    "text": "am morgen regnet es .",
    "texts": [{"text": "am morgen regnet es .", "score": -0.81}, {"text": "morgen regnet es .", "score": -1.02}],
    "model": {**MODEL_EXAMPLE, "system": "mska_slt", "translates": True},
}
SIGN_EXAMPLE = {
    "name": "sign.npz",
    "head": "ensemble",
    "label": "REGEN",
    "candidates": [{"label": "REGEN", "probability": 0.93}, {"label": "SCHNEE", "probability": 0.04}],
    "confidence": 0.93,
    "low_confidence": False,
    "num_frames": 40,
    "fps": 25.0,
    "model": {**MODEL_EXAMPLE, "task": "islr", "system": "dsta_slr", "heads": ["ensemble", "joint", "bone"], "metrics": {"dev_top1": 97.0}},
    "timings": TIMINGS_EXAMPLE,
}
SAMPLE_EXAMPLE = {"number": 0, "name": "test_0000", "num_frames": 51, "fps": 12.5, "reference": "ABEND WEST WARM VIEL"}
JOB_EXAMPLE = {"id": "b1Jd8Zk0Qm5cTnXw2yVh3A", "status": "running", "progress": 0.25, "num_frames": 8000, "answer": None, "problem": None}
KEYPOINTS_EXAMPLE = {"keypoints": [[[101.5, 52.0, 0.98], [99.0, 47.25, 0.97]], [[101.0, 52.5, 0.98], [99.5, 47.0, 0.96]]], "frame_size": [210, 260], "fps": 25}

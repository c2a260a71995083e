"""What a service is started with: `serve/run.py` has options for it, `args` of `serve/config.yaml` holds it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class ServeSettings(BaseModel):
    """Settings of the service; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str = Field(
        min_length=1, description="folder of the bundle, s3://BUCKET/PREFIX, or models:/NAME@ALIAS or models:/NAME/VERSION of the model registry"
    )
    tracking_uri: str | None = Field(None, description="MLflow's URI, for models:/ (default: MLFLOW_TRACKING_URI, else the embedded one of store)")
    store: Path = Field(Path("runs"), description="folder of the embedded registry")
    follow_s: float = Field(10.0, gt=0, description="how often a replica looks whether the alias of models:/NAME@ALIAS has moved")
    device: str | None = Field(None, description="device of the networks (default: cuda where there is one)")
    replicas: int = Field(1, ge=1, description="copies of the model, each with its own weights")
    cpus_per_replica: float = Field(1.0, ge=0)
    gpus_per_replica: float = Field(0.0, ge=0)
    split_members: bool = Field(False, description="a deployment for each network of an ensemble, which scale and fail by themselves")
    member_failure: Literal["answer", "refuse"] = Field("answer", description="of split members, when one fails: answer without it, and say so; or answer 503")
    member_timeout_s: float = Field(20.0, gt=0, description="a member that takes longer has failed")
    member_rest_s: float = Field(10.0, ge=0, description="how long a member that failed isn't asked")
    max_batch_size: int = Field(8, ge=1, description="clips of similar length that go through the network at once")
    batch_wait_s: float = Field(0.0, ge=0, description="how long a batch waits for more clips; 0: it takes those that came while the one before ran")
    capacity: int = Field(32, ge=1, description="requests in work or waiting; the next one is answered 503")
    timeout_s: float = Field(60.0, gt=0, description="a recognition that takes longer is answered 503")
    ready_timeout_s: float = Field(5.0, gt=0, description="a model that takes longer to say what it is counts as not ready")
    drain_s: float = Field(30.0, ge=0, description="of requests in work, when the service is ended; what takes longer is cut off")
    body_timeout_s: float = Field(20.0, gt=0, description="a body that takes longer to arrive is answered 408")
    max_body_bytes: int = Field(16 * MIB, ge=1)
    max_frames: int = Field(5000, ge=1, description="of a clip: 200 s at 25 frames per second")
    max_seconds: float = Field(300.0, gt=0, description="of a clip, where its frames per second are known")
    video: bool = Field(False, description="decode videos: of a bundle that reads pictures, or of one that reads keypoints with a pose_model")
    pose_model: Path | None = Field(None, description="ONNX file of a whole-body RTMPose or RTMW, which estimates keypoints in videos")
    pose_detector: Path | None = Field(None, description="ONNX file of a person detector; without one the whole picture is the signer's")
    max_video_bytes: int = Field(64 * MIB, ge=1, description="of a video's file")
    max_pixels: int = Field(1920 * 1088, ge=1, description="of a video's frame")
    max_decoded_bytes: int = Field(512 * MIB, ge=1, description="of a video's pictures, where the network reads them")
    picture_capacity: int = Field(4, ge=1, description="clips whose decoded pictures are held at a time; the next one is answered 503")
    decode_timeout_s: float = Field(30.0, gt=0, description="a video that takes longer is refused, and what decodes it is killed")
    decode_memory_bytes: int = Field(6 * 1024 * MIB, ge=1, description="address space of what decodes")
    max_points: int = Field(600, ge=1, description="of a frame; the largest known layout has 543")
    max_beam_width: int = Field(100, ge=1)
    max_n_best: int = Field(20, ge=1)
    requests_per_minute: float | None = Field(None, gt=0, description="recognitions and jobs of one key, or without keys of one address (default: any number)")
    request_burst: int = Field(10, ge=1, description="of them at once")
    max_jobs: int = Field(8, ge=1, description="jobs that wait or run; the next one is answered 503")
    job_keep_s: float = Field(600.0, gt=0, description="how long a finished job can be asked for")
    max_job_frames: int = Field(30_000, ge=1, description="of a job's clip: 20 minutes at 25 frames per second")
    max_job_body_bytes: int = Field(64 * MIB, ge=1)
    live_sessions: int = Field(4, ge=1, description="sessions of /v1/live at a time")
    live_pace_s: float = Field(0.5, gt=0, description="pause from the start of one recognition of a session to that of the next")
    live_rounds: int = Field(3, ge=1, description="recognitions in a row that must agree on a gloss before it is stable")
    live_depth_s: float = Field(1.0, ge=0, description="how far back a gloss must lie before it is stable")
    live_idle_s: float = Field(30.0, gt=0, description="a session in which nothing comes for so long is ended")
    max_live_frames: int = Field(45000, ge=1, description="of a session: half an hour at 25 frames per second")
    max_live_picture_bytes: int = Field(MIB, ge=1, description="of a JPEG picture of a session")
    max_live_waiting: int = Field(125, ge=1, description="pictures of a session that wait to be decoded; more are not read from its socket")
    max_live_decoded_bytes: int = Field(128 * MIB, ge=1, description="of a session's decoded pictures, where the network reads them: its window is as long")
    api_keys_file: Path | None = Field(None, description="file with one API key a line; without it nobody is asked for one")

    def for_jobs(self) -> "ServeSettings":
        """The same with the limits of jobs."""
        longer = {"max_frames": self.max_job_frames, "max_body_bytes": self.max_job_body_bytes, "max_seconds": float("inf")}
        return self.model_copy(update={**longer, "body_timeout_s": 6 * self.body_timeout_s})

    @property
    def max_array_bytes(self) -> int:
        """Unpacked keypoints of the longest clip that is accepted, at four channels of float64."""
        return self.max_frames * self.max_points * 4 * 8

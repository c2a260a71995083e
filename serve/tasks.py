"""What travels between the front of the service and its model. Imports no torch: the front needs none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.inputs.clip import Clip


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a request asks for. None: as the bundle has it. heads: to be told what each head recognised; members: of an ensemble, those that vote;
    n_best: hypotheses, or candidates of an isolated sign; cleaned: the sentence by the corpus's clean-up rules beside it.
    """

    head: str | None = None
    beam_width: int | None = None
    heads: bool = False
    members: tuple[str, ...] | None = None
    n_best: int | None = None
    cleaned: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """A clip to recognise."""

    clip: Clip
    choice: Choice


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The answer as plain values; or a problem's code and detail. model: who answers; network_ms, batch_size: of its batch."""

    record: Mapping[str, Any] | None = None
    code: str = ""
    detail: str = ""
    model: Mapping[str, Any]
    network_ms: float = 0.0
    batch_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A video as it came, or JPEG pictures. wanted: what the model needs of it, `frames` and `keypoints`; fps: instead of what it says.
    max_frames, max_seconds: instead of the service's own limits.

    pictures: lengths of the pictures, which lie one after the other in content; none: it is a video. frame_size: of each picture.
    box: where the signer is (`models.pose_geometry.Box`), instead of looking for them.
    """

    content: bytes = field(repr=False)
    name: str
    wanted: tuple[str, ...]
    fps: float | None = None
    max_frames: int | None = None
    max_seconds: float | None = None
    pictures: tuple[int, ...] = ()
    frame_size: tuple[int, int] | None = None
    box: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a video has become: a clip, or a problem's code and detail. box: where the signer was seen, of whom keypoints were estimated."""

    clip: Clip | None = None
    box: Mapping[str, float] | None = None
    code: str = ""
    detail: str = ""


class Backend(Protocol):
    """Where clips are recognised."""

    async def prepare(self, upload: Upload) -> Prepared:
        """The clip of a video. Raises ProblemError where what decodes is away."""
        ...

    async def recognise(self, task: Task) -> Reply:
        """The reply to a task. Raises ProblemError where the model is away."""
        ...

    async def describe(self) -> Mapping[str, Any]:
        """What the model is, as `schemas.Model`. Raises ProblemError where the model is away."""
        ...

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        """The sample clips of the bundle, as `schemas.Sample`. Raises ProblemError where the model is away."""
        ...

    async def sample(self, number: int) -> bytes | None:
        """One of them as a keypoint file (`.npz`); None where there is no such. Raises ProblemError where the model is away."""
        ...

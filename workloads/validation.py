"""Looking at recordings before they become shards: what is refused, and what the report says of the rest."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from models.inputs.checks import MIN_FRAMES, keypoint_problem
from models.vocabulary import Vocabulary
from workloads.corpora.corpus import Rejection
from workloads.corpora.recording import Recording
from workloads.shards import SplitCounts

TEMPORAL_STRIDE = MIN_FRAMES


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What the report needs of one accepted recording. The point counts are over all its frames."""

    name: str
    split: str
    signer: str
    n_frames: int
    glosses: tuple[str, ...] | None
    label: str | None
    points: int
    points_outside: int
    points_missing: int
    confidences_above_1: int


def recording_problem(recording: Recording, num_keypoints: int) -> str | None:
    """Why a recording can't become a row of a shard (`kind: detail`, one line); None where it can.

    A training recording needs its glosses or its label; the other splits keep recordings without, which can be recognised but not scored.
    """
    assert recording.keypoints is not None
    problem = keypoint_problem(recording.keypoints, num_keypoints)
    if problem is not None:
        return problem
    if not (recording.width and recording.height):
        return "no frame size: neither the keypoint file nor the corpus says width and height in pixels"
    if recording.split == "train" and not (recording.glosses or recording.label):
        return "empty gloss: a training recording needs glosses or a label"
    return None


def clip_facts(recording: Recording) -> ClipFacts:
    """Facts of an accepted recording. A point is missing where all its numbers are zero, and outside where it is there but beyond the picture."""
    keypoints = recording.keypoints
    assert keypoints is not None
    assert recording.width
    assert recording.height
    x, y, confidence = keypoints[..., 0], keypoints[..., 1], keypoints[..., 2]
    missing = ~keypoints.any(axis=2)
    outside = ((x < 0) | (x > recording.width) | (y < 0) | (y > recording.height)) & ~missing
    return ClipFacts(
        name=recording.name,
        split=recording.split,
        signer=recording.signer,
        n_frames=len(keypoints),
        glosses=recording.glosses,
        label=recording.label,
        points=missing.size,
        points_outside=int(np.count_nonzero(outside)),
        points_missing=int(np.count_nonzero(missing)),
        confidences_above_1=int(np.count_nonzero(confidence > 1)),
    )


def steps_needed(glosses: Sequence[str]) -> int:
    """Time steps that CTC needs for a label: one per gloss, and a blank between adjacent equal ones."""
    return len(glosses) + sum(first == second for first, second in pairwise(glosses))


def split_counts(clips: Sequence[ClipFacts]) -> SplitCounts:
    lengths = [clip.n_frames for clip in clips]
    return SplitCounts(
        recordings=len(clips),
        frames=sum(lengths),
        frames_min=min(lengths),
        frames_median=float(statistics.median(lengths)),
        frames_p95=float(np.percentile(lengths, 95)),
        frames_max=max(lengths),
        glosses=sum(len(clip.glosses or ()) for clip in clips),
        signers=len({clip.signer for clip in clips if clip.signer}),
    )


def validation_report(clips: Iterable[ClipFacts], rejections: Iterable[Rejection], vocabulary: Vocabulary) -> dict[str, Any]:
    """The report as JSON holds it: per split counts, shares and the names concerned; rejections by kind; names that several splits share."""
    by_split: dict[str, list[ClipFacts]] = defaultdict(list)
    splits_of_name: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        by_split[clip.split].append(clip)
        splits_of_name[clip.name].append(clip.split)
    rejected = list(rejections)
    return {
        "splits": {split: _split_report(members, vocabulary) for split, members in by_split.items()},
        "rejected": {"recordings": len(rejected), "kinds": dict(Counter(rejection.reason.split(":")[0] for rejection in rejected))},
        "names_in_several_splits": {name: splits for name, splits in splits_of_name.items() if len(splits) > 1},
    }


def _split_report(clips: Sequence[ClipFacts], vocabulary: Vocabulary) -> dict[str, Any]:
    unknown = {clip.name: vocabulary.unknown(clip.glosses or ()) for clip in clips}
    normalised = {clip.name: [vocabulary.normalise(gloss) for gloss in clip.glosses or ()] for clip in clips}
    return {
        **split_counts(clips).model_dump(),
        "gloss_types": len({gloss for glosses in normalised.values() for gloss in glosses}),
        "unknown_glosses": {
            "tokens": sum(map(len, unknown.values())),
            "types": dict(Counter(gloss for glosses in unknown.values() for gloss in glosses).most_common()),
            "recordings": [name for name, glosses in unknown.items() if glosses],
        },
        "shorter_than_label": [clip.name for clip in clips if clip.n_frames // TEMPORAL_STRIDE < steps_needed(normalised[clip.name])],
        "without_annotation": [clip.name for clip in clips if not (clip.glosses or clip.label)],
        "outside_picture": _point_share(clips, lambda clip: clip.points_outside),
        "confidence_above_1": _point_share(clips, lambda clip: clip.confidences_above_1),
        "missing_points": _point_share(clips, lambda clip: clip.points_missing),
    }


def _point_share(clips: Sequence[ClipFacts], count: Callable[[ClipFacts], int]) -> dict[str, float]:
    total = sum(clip.points for clip in clips)
    return {"share": round(sum(map(count, clips)) / total, 6), "recordings": sum(count(clip) > 0 for clip in clips)}


def report_table(report: dict[str, Any]) -> RenderableType:
    """The report as a table for a terminal: one column per split."""
    splits: dict[str, dict[str, Any]] = report["splits"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for split in splits:
        table.add_column(split.replace("_", " "), justify="right")  # a long name breaks at a blank
    for title, cell in _TABLE_ROWS:
        table.add_row(title, *(cell(entry) for entry in splits.values()))
    return table


def _of_points(entry: dict[str, float]) -> str:
    return f"{entry['share']:.1%} in {entry['recordings']}"


_TABLE_ROWS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("recordings", lambda entry: f"{entry['recordings']:,}"),
    ("signers", lambda entry: f"{entry['signers']:,}"),
    ("frames", lambda entry: f"{entry['frames']:,}"),
    ("frames of the shortest", lambda entry: f"{entry['frames_min']:,}"),
    ("frames of the median", lambda entry: f"{entry['frames_median']:,g}"),
    ("frames of the longest", lambda entry: f"{entry['frames_max']:,}"),
    ("glosses", lambda entry: f"{entry['glosses']:,}"),
    ("different glosses", lambda entry: f"{entry['gloss_types']:,}"),
    ("glosses not in vocabulary", lambda entry: f"{entry['unknown_glosses']['tokens']:,}"),
    ("different ones of them", lambda entry: f"{len(entry['unknown_glosses']['types']):,}"),
    ("shorter than their label", lambda entry: f"{len(entry['shorter_than_label']):,}"),
    ("without glosses or label", lambda entry: f"{len(entry['without_annotation']):,}"),
    ("points outside picture", lambda entry: _of_points(entry["outside_picture"])),
    ("confidences above 1", lambda entry: _of_points(entry["confidence_above_1"])),
    ("points missing (zeros)", lambda entry: _of_points(entry["missing_points"])),
)

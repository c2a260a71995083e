"""Looking at recordings before they become shards: what is refused, and what the report says of the rest."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
Entry = dict[str, Any]  # what the report says of one split


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What the report needs of one accepted recording. The point counts are over all its frames; zeroed: numbers that were infinite at the source."""

    name: str
    split: str
    signer: str
    n_frames: int
    glosses: tuple[str, ...] | None
    label: str | None
    has_keypoints: bool
    has_pictures: bool
    extractor: str | None
    points: int
    zeroed: int
    points_outside: int
    points_missing: int
    confidences_above_1: int


def recording_problem(recording: Recording, num_keypoints: int, num_frames: int) -> str | None:
    """Why a recording of `num_frames` frames can't become a row of a shard (`kind: detail`, one line); None where it can.

    A training recording needs its glosses or its label; the other splits keep recordings without, which can be recognised but not scored.
    """
    problem = None if recording.keypoints is None else keypoint_problem(recording.keypoints, num_keypoints)
    if problem is None and recording.keypoints is None and num_frames == 0:
        problem = "nothing to see: the recording has neither keypoints nor pictures that are kept"
    if problem is None and num_frames < MIN_FRAMES:
        problem = f"too short: {num_frames} frames found, at least {MIN_FRAMES} needed"
    if problem is not None:
        return problem
    if not (recording.width and recording.height):
        return "no frame size: neither the keypoint file nor the corpus says width and height in pixels"
    return None


def clip_facts(recording: Recording, num_frames: int, *, has_pictures: bool = False) -> ClipFacts:
    """Facts of an accepted recording. A point is missing where all its numbers are zero, and outside where it is there but beyond the picture."""
    points = np.zeros((0, 0, 3), np.float32) if recording.keypoints is None else recording.keypoints
    assert recording.width
    assert recording.height
    x, y, confidence = points[..., 0], points[..., 1], points[..., 2]
    missing = ~points.any(axis=2)
    outside = ((x < 0) | (x > recording.width) | (y < 0) | (y > recording.height)) & ~missing
    return ClipFacts(
        name=recording.name,
        split=recording.split,
        signer=recording.signer,
        n_frames=num_frames,
        glosses=recording.glosses,
        label=recording.label,
        has_keypoints=recording.keypoints is not None,
        has_pictures=has_pictures,
        extractor=recording.extractor,
        points=missing.size,
        zeroed=recording.num_zeroed,
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


def class_labels(clips: Iterable[ClipFacts]) -> tuple[str, ...]:
    """The class map of recordings whose corpus brings none: the labels of the train split, sorted by code point."""
    return tuple(sorted({clip.label for clip in clips if clip.label and clip.split == "train"}))


def validation_report(clips: Iterable[ClipFacts], rejections: Iterable[Rejection], vocabulary: Vocabulary, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The report as JSON holds it: per split counts, shares and the names concerned; rejections by kind; names that several splits share.

    labels: the class map of isolated signs; empty for continuous signing.
    """
    by_split: dict[str, list[ClipFacts]] = defaultdict(list)
    splits_of_name: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        by_split[clip.split].append(clip)
        splits_of_name[clip.name].append(clip.split)
    rejected = list(rejections)
    return {
        "splits": {split: _split_report(members, vocabulary, labels) for split, members in by_split.items()},
        "rejected": {"recordings": len(rejected), "kinds": dict(Counter(rejection.reason.split(":")[0] for rejection in rejected))},
        "names_in_several_splits": {name: splits for name, splits in splits_of_name.items() if len(splits) > 1},
    }


def _split_report(clips: Sequence[ClipFacts], vocabulary: Vocabulary, labels: Sequence[str]) -> dict[str, Any]:
    unknown = {clip.name: vocabulary.unknown(clip.glosses or ()) for clip in clips}
    normalised = {clip.name: [vocabulary.normalise(gloss) for gloss in clip.glosses or ()] for clip in clips}
    return {
        **split_counts(clips).model_dump(),
        "continuous": sum(clip.glosses is not None for clip in clips),
        "isolated": sum(clip.label is not None for clip in clips),
        "with_keypoints": sum(clip.has_keypoints for clip in clips),
        "with_pictures": sum(clip.has_pictures for clip in clips),
        "classes": _class_report(clips, labels),
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
        "infinite_numbers": {"numbers": sum(clip.zeroed for clip in clips), "recordings": sum(clip.zeroed > 0 for clip in clips)},
    }


def _class_report(clips: Sequence[ClipFacts], labels: Sequence[str]) -> dict[str, Any]:
    """Clips per class of a split: over the classes that occur in it; which classes of the map have none; labels that the map doesn't have."""
    clips_of = Counter(clip.label for clip in clips if clip.label)
    known = set(labels)
    counts = [count for label, count in clips_of.items() if label in known]
    return {
        "types": len(counts),
        "clips_min": min(counts, default=0),
        "clips_median": float(statistics.median(counts)) if counts else 0.0,
        "clips_max": max(counts, default=0),
        "without_clips": [label for label in labels if label not in clips_of],
        "unknown": {label: count for label, count in clips_of.most_common() if label not in known},
    }


def _point_share(clips: Sequence[ClipFacts], count: Callable[[ClipFacts], int]) -> dict[str, float]:
    total = sum(clip.points for clip in clips)
    return {"share": round(sum(map(count, clips)) / total, 6) if total else 0.0, "recordings": sum(count(clip) > 0 for clip in clips)}


def report_table(report: dict[str, Any]) -> RenderableType:
    """The report as a table for a terminal: one column per split, and of the rows those that say something of this corpus."""
    splits: dict[str, dict[str, Any]] = report["splits"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for split in splits:
        table.add_column(split.replace("_", " "), justify="right")  # a long name breaks at a blank
    for applies, title, cell in _TABLE_ROWS:
        if any(map(applies, splits.values())):
            table.add_row(title, *(cell(entry) for entry in splits.values()))
    return table


def warnings(report: dict[str, Any], labels: Sequence[str]) -> Iterator[str]:
    """What the user should look at before training, one line each; the names are in the report."""
    splits: dict[str, dict[str, Any]] = report["splits"]
    shared = report["names_in_several_splits"]
    if shared:
        yield f"{len(shared):,} names occur in several splits"
    train = splits.get("train")
    if train and train["continuous"] and train["isolated"]:
        yield (
            f"train mixes {train['continuous']:,} recordings with glosses and {train['isolated']:,} with a label: "
            "continuous systems learn glosses, isolated ones labels; make shards of one kind each"
        )
    if train and train["isolated"] and train["classes"]["without_clips"]:
        yield f"{len(train['classes']['without_clips']):,} of {len(labels):,} classes have no training clip, such as {train['classes']['without_clips'][0]!r}"
    spellings = Counter(label.casefold() for label in labels)
    alike = [label for label in labels if spellings[label.casefold()] > 1]
    if alike:
        yield f"{len(alike):,} classes differ from another in upper and lower case only, such as {alike[0]!r}"
    for split, entry in splits.items():
        unknown = entry["classes"]["unknown"]
        if unknown and train:  # without a train split the classes are those of the bundle that the recordings are for
            yield f"{sum(unknown.values()):,} recordings of {split} have labels that train doesn't ({len(unknown):,} labels, such as {next(iter(unknown))!r})"


def _always(_entry: Entry) -> bool:
    return True


def _continuous(entry: Entry) -> bool:
    return bool(entry["continuous"])


def _isolated(entry: Entry) -> bool:
    return bool(entry["isolated"])


def _has_points(entry: Entry) -> bool:
    return bool(entry["with_keypoints"])


def _has_pictures(entry: Entry) -> bool:
    return bool(entry["with_pictures"])


def _has_infinite(entry: Entry) -> bool:
    return bool(entry["infinite_numbers"]["numbers"])


def _of_points(entry: dict[str, float]) -> str:
    return f"{entry['share']:.1%} in {entry['recordings']}"


_TABLE_ROWS: tuple[tuple[Callable[[Entry], bool], str, Callable[[Entry], str]], ...] = (
    (_always, "recordings", lambda entry: f"{entry['recordings']:,}"),
    (_has_pictures, "with pictures", lambda entry: f"{entry['with_pictures']:,}"),
    (_has_pictures, "with keypoints", lambda entry: f"{entry['with_keypoints']:,}"),
    (_always, "signers", lambda entry: f"{entry['signers']:,}"),
    (_always, "frames", lambda entry: f"{entry['frames']:,}"),
    (_always, "frames of the shortest", lambda entry: f"{entry['frames_min']:,}"),
    (_always, "frames of the median", lambda entry: f"{entry['frames_median']:,g}"),
    (_always, "frames of the longest", lambda entry: f"{entry['frames_max']:,}"),
    (_continuous, "glosses", lambda entry: f"{entry['glosses']:,}"),
    (_continuous, "different glosses", lambda entry: f"{entry['gloss_types']:,}"),
    (_continuous, "glosses not in vocabulary", lambda entry: f"{entry['unknown_glosses']['tokens']:,}"),
    (_continuous, "different ones of them", lambda entry: f"{len(entry['unknown_glosses']['types']):,}"),
    (_continuous, "shorter than their label", lambda entry: f"{len(entry['shorter_than_label']):,}"),
    (_isolated, "classes", lambda entry: f"{entry['classes']['types']:,}"),
    (_isolated, "classes without a clip", lambda entry: f"{len(entry['classes']['without_clips']):,}"),
    (_isolated, "clips of the rarest class", lambda entry: f"{entry['classes']['clips_min']:,}"),
    (_isolated, "clips of the median class", lambda entry: f"{entry['classes']['clips_median']:,g}"),
    (_isolated, "clips of the commonest class", lambda entry: f"{entry['classes']['clips_max']:,}"),
    (_isolated, "recordings of unknown classes", lambda entry: f"{sum(entry['classes']['unknown'].values()):,}"),
    (_always, "without glosses or label", lambda entry: f"{len(entry['without_annotation']):,}"),
    (_has_points, "points outside picture", lambda entry: _of_points(entry["outside_picture"])),
    (_has_points, "confidences above 1", lambda entry: _of_points(entry["confidence_above_1"])),
    (_has_points, "points missing (zeros)", lambda entry: _of_points(entry["missing_points"])),
    (_has_infinite, "infinite numbers set to 0", lambda entry: f"{entry['infinite_numbers']['numbers']:,} in {entry['infinite_numbers']['recordings']:,}"),
)

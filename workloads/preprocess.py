"""Turn a corpus into shards: `python workloads/preprocess.py --corpus phoenix2014t --source DIR --out SHARDS`.

`python workloads/preprocess.py verify SHARDS` compares finished shards, copied ones say, with the checksums that were taken when they were written.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import track

from cluster.storage import Location
from models.errors import CorpusError, ShardError
from models.inputs.inputs import Modality
from models.pose import PoseEstimator
from models.published.vocabularies import import_vocabulary
from models.vocabulary import SPECIALS, Vocabulary, build_vocabulary
from workloads.corpora import CORPORA
from workloads.corpora.corpus import Corpus, file_digest, limited
from workloads.entry import run_entry_point
from workloads.estimation import add_pose_arguments, chosen_pose, to_stderr
from workloads.frame_arguments import add_frame_arguments, frame_options
from workloads.frame_encoding import AS_THEY_ARE, FrameOptions
from workloads.part_runners import RunParts, in_this_process, with_ray
from workloads.shard_files import shard_location, store_errors
from workloads.shard_writer import (
    LEASE,
    REJECTED_FILE,
    REPORT_FILE,
    ROWS_PER_SHARD,
    STAGING,
    PartSummary,
    alone,
    clear,
    finish,
    place_shards,
    write_errors,
    write_json,
    write_part,
    write_rejections,
)
from workloads.shards import CORPUS_FILE, FORMAT, CorpusFile, ShardSet, corpus_checksum, read_corpus_file
from workloads.space import Notify, check_space
from workloads.validation import ClipFacts, class_labels, report_table, split_counts, validation_report, warnings

BUILT = "built from the train split"
NUMBERED = "class ids, for want of a class list"
SPECIALS_ONLY = "specials only: no training recording has glosses"
REWRITE = "choose another --out, or rewrite them with --force"
Finished = tuple[int, PartSummary]
LITTLE_WORK_BYTES = 512 << 20  # starting a private Ray costs about as long as this much takes to write


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """What to make. settings: the corpus's own options. lower_case: None takes the corpus's.

    num_keypoints: points per frame that a recording must have; None takes the corpus's. frames: what pictures become; None leaves them out.
    pose: estimates the keypoints of recordings that are only filmed; None leaves these without. limit: only the first recordings of each split, for a trial.
    """

    corpus: str
    out: Location
    source: Path | None = None
    vocabulary: Path | None = None
    lower_case: bool | None = None
    num_keypoints: int | None = None
    frames: FrameOptions | None = AS_THEY_ARE
    pose: PoseEstimator | None = None
    limit: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The shards; the report and rejections of this run, or None where the shards were up to date and nothing was written."""

    shards: ShardSet
    corpus: Corpus
    report: dict[str, Any] | None


def nobody(_: str) -> None:
    """Where lines go that nobody reads."""


def preprocess(options: PreprocessOptions, run_parts: RunParts | None = None, *, notify: Notify = nobody) -> Outcome:
    """Write the shards of a corpus, unless `options.out` holds them already.

    `run_parts` says where the work is done (None: Ray where one is running or the work is worth it, else this process); the bytes are the same.
    `notify` gets lines about the work: the room that it needs, and, where stderr is no terminal, how far it is.
    Errors: CorpusError for an unreadable corpus or a folder of other things, VocabularyError for the vocabulary file,
    ShardError where `out` holds shards made otherwise and `force` isn't set.
    """
    corpus = limited(CORPORA[options.corpus](options.source, options.settings), options.limit)
    vocabulary_file = options.vocabulary or corpus.vocabulary
    lower_case = corpus.lower_case if options.lower_case is None else options.lower_case
    vocabulary = import_vocabulary(vocabulary_file, lower_case) if vocabulary_file else None
    num_keypoints = options.num_keypoints or corpus.num_keypoints
    record = _options_record(options, corpus, vocabulary_file, lower_case, num_keypoints)
    with store_errors():
        up_to_date = _up_to_date(options, record)
    if up_to_date:
        return Outcome(shards=ShardSet.open(options.out), corpus=corpus, report=None)
    check_space(options.out, corpus.parts, options.frames, notify)
    with alone(options.out):
        summaries = _write_parts(options, corpus, num_keypoints, record, run_parts or _default_runner(corpus), notify)
        clips = [clip for summary in summaries for clip in summary.clips]
        rejections = [*corpus.rejections, *(rejection for summary in summaries for rejection in summary.rejections)]
        with write_errors(options.out):
            write_rejections(options.out, rejections)
            if not clips:
                first = f", the first because of {rejections[0].reason!r}: see {options.out / REJECTED_FILE}" if rejections else ": the corpus is empty"
                raise CorpusError(f"none of {len(rejections)} recordings can be used{first}")
            vocabulary = vocabulary or _train_vocabulary(clips, lower_case)
            labels = class_labels(clips) if corpus.classes is None else corpus.classes
            report = {**validation_report(clips, rejections, vocabulary, labels), "notes": list(corpus.notes)}
            write_json(options.out / REPORT_FILE, report)
            files = place_shards(options.out, summaries)
            finish(
                options.out,
                CorpusFile(
                    format=FORMAT,
                    corpus=corpus.name,
                    licence=corpus.licence,
                    num_keypoints=num_keypoints if any(clip.has_keypoints for clip in clips) else 0,
                    modalities=_modalities(clips),
                    splits={split: split_counts([clip for clip in clips if clip.split == split]) for split in dict.fromkeys(clip.split for clip in clips)},
                    vocabulary=vocabulary.to_dict(),
                    vocabulary_source=vocabulary_file.name if vocabulary_file else BUILT if len(vocabulary) > len(SPECIALS) else SPECIALS_ONLY,
                    labels=labels,
                    labels_source=_labels_source(corpus, labels),
                    extractors=dict(sorted(Counter(clip.extractor for clip in clips if clip.extractor).items())),
                    files=files,
                    checksum=corpus_checksum(files, vocabulary.to_dict(), labels),
                    options=record,
                ),
            )
    return Outcome(shards=ShardSet.open(options.out), corpus=corpus, report=report)


def _modalities(clips: Sequence[ClipFacts]) -> tuple[Modality, ...]:
    """What every recording has."""
    having: dict[Modality, bool] = {"frames": all(clip.has_pictures for clip in clips), "keypoints": all(clip.has_keypoints for clip in clips)}
    return tuple(modality for modality, everywhere in having.items() if everywhere)


def _labels_source(corpus: Corpus, labels: Sequence[str]) -> str:
    if corpus.classes is not None:
        return corpus.classes_source or NUMBERED
    return BUILT if labels else ""


def _options_record(options: PreprocessOptions, corpus: Corpus, vocabulary_file: Path | None, lower_case: bool, num_keypoints: int) -> dict[str, Any]:
    """What the shards depend on; free of paths and times, so that equal corpora give equal files."""
    return {
        "corpus": options.corpus,
        "source": corpus.fingerprint,
        "vocabulary": file_digest(vocabulary_file) if vocabulary_file else None,
        "lower_case": lower_case,
        "num_keypoints": num_keypoints,
        "recordings_per_shard": ROWS_PER_SHARD,
        "frames": None if options.frames is None else options.frames.record(),
        "pose": None if options.pose is None else options.pose.extractor,
        "limit": options.limit,
        "settings": dict(options.settings),
    }


def _up_to_date(options: PreprocessOptions, record: Mapping[str, Any]) -> bool:
    """Whether `out` holds exactly these shards, undamaged; ShardError where it holds others, which only `force` replaces."""
    out = options.out
    if out.exists() and not out.is_dir():
        raise CorpusError(f"{out} is a file: --out must be a folder")
    finished = (out / CORPUS_FILE).exists()
    if out.is_dir() and any(entry.name != LEASE for entry in out.iterdir()) and not (finished or (out / STAGING).exists()):
        raise CorpusError(f"{out} is not empty and holds no shards: choose another --out")
    if not finished or options.force:
        return False
    made = read_corpus_file(out).options
    different = [name for name, value in record.items() if made.get(name) != value]
    if different:
        raise ShardError(f"{out} holds shards made with other values of {', '.join(different)}: {REWRITE}")
    try:
        ShardSet.open(out)
    except ShardError:
        return False
    return True


def _default_runner(corpus: Corpus) -> RunParts:
    much = sum(part.num_bytes for part in corpus.parts) > LITTLE_WORK_BYTES
    return with_ray if os.environ.get("RAY_ADDRESS") or much else in_this_process


def _write_parts(
    options: PreprocessOptions, corpus: Corpus, num_keypoints: int, record: Mapping[str, Any], run_parts: RunParts, notify: Notify
) -> list[PartSummary]:
    with write_errors(options.out):
        staging = clear(options.out, None if options.force else record)
    write = partial(write_part, staging=staging, num_keypoints=num_keypoints, frames=options.frames, pose=options.pose)
    numbered = dict(watched(run_parts(write, corpus.parts), len(corpus.parts), notify))
    return [numbered[number] for number in sorted(numbered)]


def watched(finished: Iterable[Finished], num_parts: int, notify: Notify) -> Iterator[Finished]:
    """The finished parts, with a bar on a terminal, else a line each tenth of them: the log of a job keeps those."""
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        yield from track(finished, description="shards", total=num_parts, console=terminal, transient=True)
        return
    started = time.monotonic()
    for count, part in enumerate(finished, start=1):
        if 10 * count // num_parts > 10 * (count - 1) // num_parts:
            notify(f"shards: {count:,} of {num_parts:,} parts after {time.monotonic() - started:,.0f} s")
        yield part


def _train_vocabulary(clips: Sequence[ClipFacts], lower_case: bool) -> Vocabulary:
    return build_vocabulary((clip.glosses or () for clip in clips if clip.split == "train"), lower_case=lower_case)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["verify"]:
        verify(given[1:])
        return
    options, run_parts = _parsed(given)
    console = Console(soft_wrap=True, highlight=False)
    started = time.monotonic()
    outcome = preprocess(options, run_parts, notify=to_stderr)
    for note in outcome.corpus.notes:
        print(f"note: {note}", file=sys.stderr)
    if outcome.report is None:
        console.print(f"{options.out} is up to date")
        return
    described = outcome.shards.corpus
    console.print(report_table(outcome.report))
    if described.labels:
        console.print(f"classes: {len(described.labels):,}, {described.labels_source}", markup=False)
    if described.vocabulary_source != SPECIALS_ONLY or not described.labels:
        console.print(f"vocabulary: {len(outcome.shards.vocabulary):,} entries, {described.vocabulary_source}", markup=False)
    for kind, count in outcome.report["rejected"]["kinds"].items():
        console.print(f"rejected: {count:,} ({kind}), see {options.out / REJECTED_FILE}", markup=False)
    for warning in warnings(outcome.report, described.labels):
        console.print(f"warning: {warning}, see {options.out / REPORT_FILE}", markup=False)
    for warning in extractor_warnings(described, options.pose):
        console.print(f"warning: {warning}", markup=False)
    console.print(
        f"{options.out}: {sum(split.recordings for split in described.splits.values()):,} recordings in {time.monotonic() - started:.1f} s", markup=False
    )


def extractor_warnings(corpus: CorpusFile, pose: PoseEstimator | None) -> Iterator[str]:
    """What the user should know of who estimated the keypoints, one line each."""
    if pose is not None and pose.extractor not in corpus.extractors:
        yield f"--pose was not used: no recording is filmed without keypoints, {pose.extractor} estimated none"
    if len(corpus.extractors) > 1:
        yield f"keypoints of {len(corpus.extractors)} estimators are mixed: {', '.join(f'{name} ({count:,})' for name, count in corpus.extractors.items())}"


def verify(arguments: Sequence[str]) -> None:
    """The command line of `verify`: every byte of finished shards against the checksums that were taken when they were written."""
    parser = argparse.ArgumentParser(prog="preprocess.py verify", description="Read finished shards and compare every checksum.")
    parser.add_argument("shards", help="folder or s3:// URI that preprocess.py wrote")
    shards = ShardSet.open(parser.parse_args(arguments).shards)
    shards.verify()
    print(f"{shards.path}: {len(shards.corpus.files):,} files as they were written, checksum {shards.checksum}")


def _parsed(arguments: Sequence[str] | None) -> tuple[PreprocessOptions, RunParts | None]:
    parser = argparse.ArgumentParser(prog="preprocess.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, choices=list(CORPORA), help="which reader takes the source")
    parser.add_argument("--source", type=Path, help="folder of the corpus, or the manifest's file (.csv, .tsv, .jsonl, .parquet)")
    parser.add_argument("--out", required=True, help="folder of the shards, which every node must see, or s3://BUCKET/PREFIX")
    parser.add_argument(
        "--vocabulary", type=Path, help="gloss vocabulary: gloss2ids.pkl, .tsv, .tsv.gz or .json (default: the corpus's, else built from train)"
    )
    parser.add_argument("--keypoints", type=int, help="points per frame; recordings with another number are rejected (default: the corpus's, 133 or 27)")
    parser.add_argument("--lower-case", action=argparse.BooleanOptionalAction, default=None, help="look glosses up in lower case (default: as the corpus does)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the corpus, such as glosses=20 of synthetic, classes=100 of wlasl"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N recordings of each split only, for a trial")
    add_frame_arguments(parser)
    add_pose_arguments(parser)
    parser.add_argument("--force", action="store_true", help="write the shards again, whatever --out holds")
    parser.add_argument("--workers", choices=["auto", "local", "ray"], default="auto", help="this process, or tasks of Ray Data (auto: Ray for much work)")
    parser.add_argument("--in-process", dest="workers", action="store_const", const="local", help="the same as --workers local")
    given = parser.parse_args(arguments)
    if given.keypoints is not None and given.keypoints < 1:
        parser.error(f"--keypoints {given.keypoints}: a number above zero is expected")
    if given.limit is not None and given.limit < 1:
        parser.error(f"--limit {given.limit}: at least 1 is expected")
    options = PreprocessOptions(
        corpus=given.corpus,
        out=shard_location(given.out),
        source=given.source,
        vocabulary=given.vocabulary,
        lower_case=given.lower_case,
        num_keypoints=given.keypoints,
        frames=frame_options(parser, given),
        pose=chosen_pose(given),
        limit=given.limit,
        settings=_settings(given.set),
        force=given.force,
    )
    return options, {"auto": None, "local": in_this_process, "ray": with_ray}[given.workers]


def _settings(assignments: Sequence[str]) -> dict[str, str]:
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise CorpusError(f"--set {assignment}: OPTION=VALUE is expected")
        settings[name] = value
    return settings


if __name__ == "__main__":
    run_entry_point(main)

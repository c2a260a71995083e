"""Recognise the signs in keypoint files, videos or folders of pictures: which glosses, when, or which isolated sign, and how sure the network is.

    python workloads/predict.py --bundle runs/demo/bundle clip.npz other.pose
    python workloads/predict.py --bundle runs/demo/bundle --pose rtmw.onnx clip.mp4 frames/
    python workloads/predict.py --bundle runs/demo/bundle --manifest clips.csv --format jsonl --out answers.jsonl
    python workloads/predict.py --bundle models:/mska_slr_phoenix2014t@candidate clip.npz --format json | jq '.clips[0].sentence'

A bundle that looks at pictures takes videos and folders of pictures, one that looks at keypoints takes keypoint files, one that looks at both takes a manifest
whose rows name both (columns path and keypoints). With --pose keypoints are estimated where there are none, so that videos will do for all.
A keypoint file is .npz (arrays keypoints (frames, points, 3: x, y in pixels, confidence), frame_size (width, height), fps) or .pose.
A file that can't be used is answered by its error, the others are recognised all the same, and the exit status is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TextIO

import torch
from rich.console import Console

from models.answer_records import outcome_record
from models.answering import Unanswered
from models.bundle import Bundle
from models.classification import Classification
from models.ensemble import Ensemble
from models.errors import CorpusError
from models.inputs.clip import Clip
from models.recognition import Recognition
from workloads.bundles import BUNDLE_HELP, TRACKING_HELP, on_disk, open_bundle, positive
from workloads.corpora.manifest import TABLE_READERS
from workloads.decoding_arguments import ChosenDecoding, add_decoding_arguments, chosen_decoding, chosen_recogniser, decoding_choice
from workloads.entry import run_entry_point
from workloads.estimation import ExtractorCheck, add_pose_arguments, pose_for
from workloads.recorded_clips import listed, read_clips
from workloads.reports import outcome_tables

SOME_FAILED = 1
Outcome = Recognition | Classification | Unanswered


def predict(bundle: Bundle | Ensemble, clips: Iterable[Clip | Unanswered], decoding: ChosenDecoding, *, batch_size: int = 8) -> Iterator[Outcome]:
    """Outcomes in the order of `clips`, by the head that `decoding` chooses; the clips are read as they are needed."""
    recogniser = chosen_recogniser(bundle, "cuda" if torch.cuda.is_available() else "cpu", decoding.options, decoding.fusion)
    return recogniser.attempt(clips, batch_size=batch_size, heads=[decoding.options.head])


def write_outcomes(outcomes: Iterable[Outcome], bundle: Bundle | Ensemble, form: str, out: TextIO) -> bool:
    """Print outcomes as `table`, `json` or `jsonl` (one line as soon as it is known); whether every clip was recognised."""
    kept: list[Outcome] = []
    complete = True
    for outcome in outcomes:
        complete = complete and not isinstance(outcome, Unanswered)
        if form == "jsonl":
            print(json.dumps(outcome_record(outcome), ensure_ascii=False), file=out, flush=True)
        else:
            kept.append(outcome)
    if form == "json":
        about = {"system": bundle.system, "corpus": bundle.corpus.name, "weights": bundle.checksum}
        print(json.dumps({"bundle": about, "clips": [outcome_record(outcome) for outcome in kept]}, ensure_ascii=False, indent=1), file=out)
    elif form == "table":
        console = Console(file=out, highlight=False)
        for part in outcome_tables(kept):
            console.print(part, soft_wrap=isinstance(part, str))
    return complete


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    if not given.inputs and given.manifest is None:
        raise CorpusError("nothing to recognise: give files, or --manifest FILE")
    tables = [path for path in given.inputs if path.suffix.lower() in TABLE_READERS]
    if tables:
        raise CorpusError(f"{tables[0]}: a table of clips is given by --manifest {tables[0]}")
    recordings = listed(given.inputs, given.manifest, size=given.frame_size, fps=given.fps)
    bundle = open_bundle(given.bundle, tracking_uri=given.tracking_uri)
    clips = read_clips(recordings, bundle.modalities, pose=pose_for(bundle, given), check=ExtractorCheck(trained_on=bundle.corpus.extractors))
    outcomes = predict(bundle, clips, chosen_decoding(bundle, decoding_choice(given)), batch_size=given.batch_size)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8") if given.out else nullcontext(sys.stdout) as out:
        complete = write_outcomes(outcomes, bundle, given.format, out)
    return 0 if complete else SOME_FAILED


def frame_size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` in pixels, for argparse."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 640x480")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", type=Path, metavar="FILE", help="keypoint file (.npz, .pose), video, or folder of pictures")
    parser.add_argument("--bundle", required=True, help=BUNDLE_HELP)
    parser.add_argument("--manifest", type=Path, help="table of clips with the columns name and path, as preprocess.py takes it (.csv, .tsv, .jsonl, .parquet)")
    parser.add_argument("--format", choices=["table", "json", "jsonl"], default="table", help="a table for people, JSON for programs (default: table)")
    parser.add_argument("--out", type=on_disk, metavar="FILE", help="write there instead of printing")
    add_pose_arguments(parser)
    add_decoding_arguments(parser)
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N", help="clips per forward pass; changes nothing but the time (default: 8)")
    parser.add_argument(
        "--frame-size", type=frame_size, metavar="WxH", help="width and height in pixels of the keypoint files' pictures, instead of what they say"
    )
    parser.add_argument("--fps", type=float, help="frames per second of the given files, instead of what they say")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))

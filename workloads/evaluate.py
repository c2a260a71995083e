"""Evaluate a bundle on a split of shards: word error rate, or accuracy of isolated signs, of every head, by signer, and what was confused with what.

    python workloads/evaluate.py --bundle runs/demo/bundle --shards data/demo --split test
    python workloads/evaluate.py --bundle models:/mska_slr_phoenix2014t@candidate --shards data/phoenix2014t --split dev --num-workers 4
    python workloads/evaluate.py --bundle runs/demo/bundle --shards data/demo --split dev --format json | jq .wer
    python workloads/evaluate.py --bundle runs/demo/bundle --shards data/demo --split dev --lm glosses.arpa.gz --alpha 0.5 --hot-word REGEN=2
    python workloads/evaluate.py --published best.pth --recipe mska_slr_phoenix2014t --vocabulary gloss2ids.pkl --shards data/phoenix2014t --split test
    python workloads/evaluate.py --published s2t.ckpt --features s2g.ckpt --recipe singlestream_slt_phoenix2014t --shards data/phoenix2014t_twostream
    python workloads/evaluate.py score --hyp out.ctm --ref test.stm --corpus phoenix2014t      two files, no bundle: score --help says more

Writes evaluation.json, predictions.jsonl (each clip with what every head recognised) and a plot, wer.png or accuracy.png, into --out;
with --published the released checkpoint is kept there as a bundle, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__" and sys.argv[1:2] == ["score"]:  # done in a second, as it needs none of the imports below
    from workloads import score as score_command
    from workloads.entry import run_entry_point

    run_entry_point(lambda: score_command.main(sys.argv[2:]), (OSError,))

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from models.bundle import Bundle
from models.class_map import ClassMap
from models.decoding.options import DecodingOptions
from models.decoding.shallow_fusion import NO_SHALLOW_FUSION, ShallowFusion
from models.ensemble import Ensemble
from models.errors import VocabularyError
from models.options import AnswerOptions
from models.published.vocabularies import import_vocabulary
from models.system import FEATURES, RECOGNISER
from models.systems import SYSTEMS
from models.vocabulary import Vocabulary
from workloads import sign_reports
from workloads.bundles import BUNDLE_HELP, TRACKING_HELP, bundle_from_published, corpus_card, on_disk, open_bundle, positive
from workloads.decoding_arguments import add_decoding_arguments, chosen_decoding, chosen_recogniser, decoding_choice
from workloads.entry import run_entry_point
from workloads.estimation import extractor_warning, to_stderr
from workloads.evaluation_runners import Piece, RunPieces, in_this_process, pieces, with_ray
from workloads.recipe import Recipe, load_recipe
from workloads.reports import clip_record, draw_wer, evaluation_tables, write_json, write_jsonl
from workloads.score import main as score_main
from workloads.scoring import Answer, Evaluation, score
from workloads.shards import ShardSet
from workloads.sign_scoring import SignEvaluation, score_signs
from workloads.training.translator_start import completed, tokens_of

EVALUATION_FILE, PREDICTIONS_FILE = "evaluation.json", "predictions.jsonl"
MUCH_WORK_FRAMES = 50_000  # below, starting a private Ray costs more than it saves


def evaluate(
    bundle: Bundle | Ensemble,
    shards: ShardSet,
    split: str,
    *,
    decoding: AnswerOptions | None = None,
    fusion: ShallowFusion = NO_SHALLOW_FUSION,
    batch_size: int = 8,
    run_pieces: RunPieces | None = None,
    out: Path | None = None,
) -> Evaluation | SignEvaluation:
    """Recognise a split with all that can answer, and score it: sentences by the clean-up rules of the bundle's corpus, isolated signs by their labels.

    `run_pieces` says where (None: Ray where one is running or the work is worth it, else this process); the result is the same.
    `fusion` is for sentences decoded by prefix_beam. The files of `write_evaluation` go to `out`, where it is given.
    Errors: ShardError for an unknown split or a damaged shard, CorpusError where no clip can be scored, BundleError for weights that don't fit.
    """
    decoding = decoding or bundle.decoding
    if message := extractor_warning(shards.corpus.extractors, bundle.corpus.extractors, where=str(shards.path)):
        to_stderr(message)
    run_pieces = run_pieces or _default_runner(shards, split)
    device = "cuda" if run_pieces is in_this_process and torch.cuda.is_available() else "cpu"
    recogniser = chosen_recogniser(bundle, device, decoding, fusion)
    work = pieces(shards, split)
    numbered: dict[int, list[Answer]] = dict(_watched(run_pieces(recogniser, work, batch_size), work))
    answers = [answer for number in sorted(numbered) for answer in numbered[number]]
    facts: dict[str, Any] = {
        "corpus": bundle.corpus,
        "split": split,
        "scored_corpus": shards.corpus.corpus,
        "shards_checksum": shards.checksum,
        "weights_checksum": bundle.checksum,
    }
    evaluation: Evaluation | SignEvaluation
    if isinstance(bundle.classes, ClassMap):
        evaluation = score_signs(answers, classes=bundle.classes, decoding=decoding, **facts)
    else:
        assert isinstance(decoding, DecodingOptions)
        evaluation = score(answers, vocabulary=bundle.classes, decoding=decoding, fusion=fusion.card, **facts)
    if out is not None:
        write_evaluation(evaluation, out)
    return evaluation


def write_evaluation(evaluation: Evaluation | SignEvaluation, folder: Path) -> None:
    """`evaluation.json`, `predictions.jsonl` and the plot in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / EVALUATION_FILE, evaluation.record())
    if isinstance(evaluation, SignEvaluation):
        write_jsonl(folder / PREDICTIONS_FILE, map(sign_reports.clip_record, evaluation.clips))
        sign_reports.draw_accuracy(folder / plot_file(evaluation), evaluation)
    else:
        texts = evaluation.texts.clip_records() if evaluation.texts else {}
        write_jsonl(folder / PREDICTIONS_FILE, ({**clip_record(clip), **texts.get(clip.name, {})} for clip in evaluation.clips))
        draw_wer(folder / plot_file(evaluation), evaluation)


def plot_file(evaluation: Evaluation | SignEvaluation) -> str:
    return "accuracy.png" if isinstance(evaluation, SignEvaluation) else "wer.png"


def _default_runner(shards: ShardSet, split: str) -> RunPieces:
    counts = shards.corpus.splits.get(split)
    much = counts is not None and counts.frames > MUCH_WORK_FRAMES
    return with_ray() if os.environ.get("RAY_ADDRESS") or much else in_this_process


def _watched(results: Iterator[tuple[int, list[Answer]]], work: Sequence[Piece]) -> Iterator[tuple[int, list[Answer]]]:
    """The results, with a bar of clips on a terminal."""
    terminal = Console(stderr=True)
    with Progress(console=terminal, disable=not terminal.is_terminal, transient=True) as progress:
        task = progress.add_task("clips", total=sum(piece.num_clips for piece in work))
        for number, answers in results:
            progress.advance(task, len(answers))
            yield number, answers


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command line. Returns the status of `score`, None for an evaluation that was done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["score"]:
        return score_main(arguments[1:])
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.published) != bool(given.recipe):
        parser.error("--published and --recipe go together: the recipe describes the checkpoint's network")
    of_released = ("vocabulary", "member", "any_stream", "features", "set")
    ignored = [f"--{name.replace('_', '-')}" for name in of_released if getattr(given, name) and not given.published]
    if ignored:
        parser.error(f"{', '.join(ignored)} goes with --published: a bundle has its own")
    if given.workers == "local" and given.num_workers:
        parser.error("--num-workers is of Ray Data, and --workers local works in this process")
    started = time.monotonic()
    shards = ShardSet.open(given.shards)
    folder = given.out or _folder(given)
    if folder.exists() and not folder.is_dir():
        parser.error(f"--out {folder} is a file, and a folder is expected")
    bundle = released_bundle(given, shards, folder / "bundle") if given.published else open_bundle(given.bundle, tracking_uri=given.tracking_uri)
    chosen = chosen_decoding(bundle, decoding_choice(given))
    evaluation = evaluate(
        bundle,
        shards,
        given.split,
        decoding=chosen.options,
        fusion=chosen.fusion,
        batch_size=given.batch_size,
        run_pieces=with_ray(given.num_workers) if given.workers == "ray" or given.num_workers else {"auto": None, "local": in_this_process}[given.workers],
        out=folder,
    )
    if given.format == "json":
        print(json.dumps(evaluation.record(), ensure_ascii=False, indent=1))
        return None
    console = Console(soft_wrap=True, highlight=False)
    for part in sign_reports.evaluation_tables(evaluation) if isinstance(evaluation, SignEvaluation) else evaluation_tables(evaluation):
        console.print(part)
    console.print(f"{folder}: {EVALUATION_FILE}, {PREDICTIONS_FILE} and {plot_file(evaluation)} written, {time.monotonic() - started:.1f} s", markup=False)
    return None


def released_bundle(given: argparse.Namespace, shards: ShardSet, folder: Path) -> Bundle:
    """The released checkpoint of `--published` as a bundle. Raises RecipeError, VocabularyError or CheckpointError for what doesn't fit."""
    recipe = load_recipe(given.recipe, given.set)
    if recipe.ensemble is not None or given.member:
        recipe = recipe.member(given.member or next(iter(recipe.ensemble.members if recipe.ensemble else ()), ""))
    translates = SYSTEMS[recipe.system].translates
    if translates:  # the language model's folder says sizes and tokens; the recogniser is in the checkpoint
        recipe = completed(recipe.model_copy(update={"init": {name: path for name, path in recipe.init.items() if name not in (RECOGNISER, FEATURES)}}))
    return bundle_from_published(
        given.published,
        folder,
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        classes=_published_classes(given, recipe, shards),
        decoding=recipe.decoding,
        corpus=corpus_card(shards),
        tokens=tokens_of(recipe) if translates else None,
        features=given.features,
        unchecked=given.any_stream,
    )


def _published_classes(given: argparse.Namespace, recipe: Recipe, shards: ShardSet) -> Vocabulary | ClassMap:
    """What the checkpoint's outputs are: the shards' classes, or those of --vocabulary."""
    if SYSTEMS[recipe.system].task == "islr":
        if given.vocabulary:
            raise VocabularyError(f"--vocabulary {given.vocabulary}: isolated signs have a class map, which is the shards' own: preprocess with classes_file")
        return shards.classes
    return import_vocabulary(given.vocabulary, shards.vocabulary.lower_case) if given.vocabulary else shards.vocabulary


def _folder(given: argparse.Namespace) -> Path:
    """Where results go by default: each bundle, or released checkpoint, has a place of its own."""
    split = str(given.split)
    if given.bundle and Path(given.bundle).is_dir():
        return Path(given.bundle).resolve().parent / "evaluation" / split
    name = re.sub(r"[^\w.-]+", "_", str(given.bundle or given.published).removeprefix("models:/"))
    return Path("runs") / "evaluations" / name / split


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", help=BUNDLE_HELP)
    what.add_argument("--published", type=Path, metavar="CHECKPOINT", help="a released checkpoint (.pth) instead, with --recipe and --vocabulary")
    parser.add_argument("--recipe", help="recipe that describes the network of --published")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="with --published: override a value of the recipe")
    parser.add_argument("--member", metavar="NAME", help="with --published: the member of the recipe's ensemble, such as bone (default: the first)")
    parser.add_argument("--any-stream", action="store_true", help="with --published: evaluate weights on a stream that they don't seem to belong to")
    parser.add_argument("--features", type=Path, metavar="CHECKPOINT", help="with --published of singlestream_slt, twostream_slt: their released recogniser")
    parser.add_argument(
        "--vocabulary", type=Path, help="vocabulary of --published: gloss2ids.pkl, gloss_dict.npy, .tsv, .tsv.gz or .json (default: the shards')"
    )
    parser.add_argument("--shards", required=True, help="folder that workloads/preprocess.py wrote, which every node must see, or its s3:// URI")
    parser.add_argument("--split", default="test", help="a split of the shards: dev, test, ... (default: test)")
    add_decoding_arguments(parser)
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N", help="clips per forward pass; changes nothing but the time (default: 8)")
    parser.add_argument(
        "--out", type=on_disk, help="folder of the results (default: evaluation/SPLIT beside a bundle's folder, else runs/evaluations/MODEL/SPLIT)"
    )
    parser.add_argument("--format", choices=["table", "json"], default="table", help="what is printed (default: table)")
    parser.add_argument("--workers", choices=["auto", "local", "ray"], default="auto", help="this process, or actors of Ray Data (auto: Ray for much work)")
    parser.add_argument("--in-process", dest="workers", action="store_const", const="local", help="the same as --workers local")
    parser.add_argument("--num-workers", type=positive, metavar="N", help="actors of Ray Data (default: one per GPU, or per CPU but one)")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))

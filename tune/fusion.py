"""Search the fusion weights of an ensemble: members in, weights chosen on dev, an ensemble bundle out.

    python tune/fusion.py --shards data/demo --member runs/a/bundle --member runs/b/bundle --out runs/fused
    python tune/fusion.py --shards data/demo --member runs/a/bundle --heads --search coordinate --out runs/fused_heads
    python tune/fusion.py --shards data/wlasl100 --member runs/wlasl100/bundle --out runs/fused_streams --register dsta_slr_wlasl100
    python tune/fusion.py promote models:/dsta_slr_wlasl100/3          promote --help says more

Members are bundles of isolated signs, of sentences with one vocabulary, or of translators with one tokenizer, whose next tokens are weighed.
An ensemble stands for its members, --heads for the heads inside.
Their posteriors are computed once and kept in --cache, so that a run that was killed, or has another search, begins with the search.
Test is looked at when the weights are chosen. Writes fusion.json and bundle/ (the ensemble, for evaluate.py and predict.py) into --out.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from rich.console import Console

from cluster.provenance import provenance
from cluster.tracking import MlflowTracker
from models.batch import ENSEMBLE
from models.bundle import Bundle
from models.ensemble import Ensemble, save_ensemble
from models.errors import BundleError
from models.fusion import FusionRule
from tune import promote
from tune.fusing import Cost, Fusion, fuse_members
from tune.fusion_report import fusion_tables
from tune.members import open_members, parameters
from tune.posteriors import Table, read_posteriors
from tune.problems import Problem, TextMetric, build_problem
from tune.search import Search, coordinate_search, optuna_search, random_search
from workloads.bundles import BUNDLE_HELP, RUNS, TRACKING_HELP, on_disk, positive
from workloads.entry import run_entry_point
from workloads.evaluation_runners import RunPieces, in_this_process, with_ray
from workloads.reports import write_json
from workloads.shards import ShardSet
from workloads.training.tracked import log_shards

FUSION_FILE, BUNDLE_FOLDER = "fusion.json", "bundle"
SEARCHES = ("random", "coordinate", "optuna")
EQUAL_SEARCH = "equal"
Metric = Literal["bleu4", "rouge_l", "wer"]


def fuse_bundles(
    members: Mapping[str, Bundle],
    shards: ShardSet,
    *,
    dev: str,
    test: str,
    out: Path,
    search: Search | None,
    rule: FusionRule = "logits",
    num_folds: int = 5,
    seed: int = 0,
    cache: Path,
    run_pieces: RunPieces = in_this_process,
    batch_size: int = 8,
    metric: Metric | None = None,
) -> tuple[Fusion, Ensemble]:
    """Search weights on `dev`, report `test`, write `fusion.json` and the ensemble bundle into `out`; members without weight stay out of it.

    search: None weighs all members alike, as published ensembles do. metric: by which translators are fused, BLEU-4 where none is given; `wer`
    counts their glosses. Others have one metric.

    Equal arguments give equal weights and figures, whatever `run_pieces` (latencies are measured). Errors: BundleError for members that don't
    fit together, ShardError for an unknown split, CorpusError where no clip of a split can be scored.
    """
    if dev == test:
        raise BundleError(f"--split and --test are both {dev!r}: weights are chosen on one split and reported on another")
    shards.files(test)
    text_metric = _text_metric(members, metric)
    how: dict[str, Any] = {"cache": cache, "run_pieces": run_pieces, "batch_size": batch_size, "texts": text_metric is not None}
    computed = {split: read_posteriors(members, shards, split, **how) for split in (dev, test)}
    dev_problem, test_problem = (_problem(members, tables, shards, split, rule, text_metric) for split, tables in computed.items())
    fusion = fuse_members(dev_problem, test_problem, search, cost=_cost(members, computed[dev]), num_folds=num_folds, seed=seed)
    weights = {name: weight for name, weight in fusion.weights.items() if weight > 0}
    facts = {"split": dev, "test_split": test, "shards": shards.checksum, "rule": rule, "seed": seed, "unscored": dict(test_problem.unscored)}
    out.mkdir(parents=True, exist_ok=True)
    ensemble = save_ensemble(
        out / BUNDLE_FOLDER,
        {name: members[name] for name in weights},
        weights,
        metrics=_metrics(fusion, dev, test, weights),
        provenance={**provenance(), **{f"fusion.{key}": value for key, value in facts.items() if key != "unscored"}},
        fuse=rule,
    )
    write_json(out / FUSION_FILE, {**facts, **fusion.record(), "bundle": ensemble.checksum})
    return fusion, ensemble


def _text_metric(members: Mapping[str, Bundle], metric: Metric | None) -> TextMetric | None:
    """The metric of the members' texts; None where their glosses or signs are scored, as of heads of one network, which share its translator.

    Raises BundleError for members that don't translate, or recognise no glosses.
    """
    silent = [name for name, bundle in members.items() if not bundle.translates]
    reading = [name for name, bundle in members.items() if not bundle.modalities]
    shared = len({bundle.folder for bundle in members.values()}) < len(members)
    if metric == "wer" and reading:
        raise BundleError(f"--metric wer: {reading[0]} is given glosses and recognises none; leave --metric out")
    if metric is None or metric == "wer":
        return None if silent or shared or metric else "bleu4"
    if silent or shared:
        why = f"{silent[0]} doesn't translate" if silent else "heads of one network have one translator"
        raise BundleError(f"--metric {metric}: {why}, and the metric is of texts")
    return metric


def _problem(
    members: Mapping[str, Bundle], tables: Mapping[str, Table], shards: ShardSet, split: str, rule: FusionRule, text_metric: TextMetric | None
) -> Problem:
    if text_metric is None:
        return build_problem(members, tables, shards, split, rule)
    from tune.texts import build_text_problem  # with transformers, which takes seconds to import

    return build_text_problem(members, tables, shards, split, text_metric)


def _metrics(fusion: Fusion, dev: str, test: str, weights: Mapping[str, float]) -> dict[str, object]:
    """Scores by what answers in the bundle, named as those of a training."""
    answering = (ENSEMBLE, *weights)
    scores = {f"{split}_{fusion.metric}": {name: by[name] for name in answering} for split, by in ((dev, fusion.dev), (test, fusion.test))}
    held = {f"{dev}_{fusion.metric}_cross_validated": fusion.held.fused} if fusion.held else {}
    return {**scores, **held, f"{test}_interval": [fusion.test_interval.low, fusion.test_interval.high]}


def _cost(members: Mapping[str, Bundle], tables: Mapping[str, Table]) -> Cost:
    def cost(chosen: Sequence[str]) -> tuple[int, float]:
        networks = {members[name].folder: name for name in chosen}
        return parameters(members, chosen), sum(tables[name].latency_ms for name in networks.values())

    return cost


def register(
    ensemble: Ensemble, fusion: Fusion, folder: Path, *, shards: ShardSet, name: str, tracking_uri: str | None, params: Mapping[str, object]
) -> int | None:
    """The ensemble as the next version of a model, from a run with its figures; None where the server is away (the run's folder keeps it to be sent)."""
    tracker = MlflowTracker(folder, experiment="fusion", tracking_uri=tracking_uri, store=RUNS, tags={"signray.system": ensemble.system})
    try:
        tracker.log_params({**params, **{f"weight.{member}": weight for member, weight in fusion.weights.items()}})
        for split, scores in (("dev", fusion.dev), ("test", fusion.test)):
            tracker.log_metrics({f"{split}_{fusion.metric}/{answer}": value for answer, value in scores.items()}, step=0)
        log_shards(tracker, shards)
        tracker.log_artifact(folder / FUSION_FILE)
        version = tracker.register(ensemble.folder, name=name)
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close("FINISHED")
    return version


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["promote"]:
        promote.main(arguments[1:])
        return
    given = parser().parse_args(arguments)
    began, shards = time.monotonic(), ShardSet.open(given.shards)
    members = open_members(given.member, heads=given.heads, tracking_uri=given.tracking_uri)
    searches: dict[str, Search] = {
        "random": partial(random_search, trials=given.trials, seed=given.seed),
        "coordinate": partial(coordinate_search, trials=given.trials),
        "optuna": partial(optuna_search, trials=given.trials, seed=given.seed),
    }
    fusion, ensemble = fuse_bundles(
        members,
        shards,
        dev=given.split,
        test=given.test,
        out=given.out,
        search=searches.get(given.search),
        rule=given.fuse,
        num_folds=given.folds,
        seed=given.seed,
        cache=given.cache,
        run_pieces=with_ray(given.num_workers) if given.num_workers or os.environ.get("RAY_ADDRESS") else in_this_process,
        batch_size=given.batch_size,
        metric=given.metric,
    )
    console = Console(soft_wrap=True, highlight=False)
    for part in fusion_tables(fusion, given.split, given.test):
        console.print(part)
    console.print(f"{given.out}: {FUSION_FILE} and {BUNDLE_FOLDER}/ written, {time.monotonic() - began:.1f} s", markup=False)
    if given.register:
        params = {"search": given.search, "trials": given.trials, "seed": given.seed, "fuse": given.fuse, "shards": shards.checksum}
        version = register(ensemble, fusion, given.out, shards=shards, name=given.register, tracking_uri=given.tracking_uri, params=params)
        uri = f"models:/{given.register}/{version}" if version else f"models:/{given.register}/VERSION, when it is sent"
        console.print(f"registered as {uri}; next: python tune/fusion.py promote {uri}", markup=False)


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="fusion.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True, type=Path, help="folder that workloads/preprocess.py wrote; every node must see it")
    parser.add_argument("--split", default="dev", help="split that weights are chosen on (default: dev)")
    parser.add_argument("--test", default="test", help="split that is reported once (default: test)")
    parser.add_argument("--member", action="append", required=True, metavar="[NAME=]BUNDLE", help=f"{BUNDLE_HELP}; several times")
    parser.add_argument("--heads", action="store_true", help="the heads inside each bundle are members of their own")
    parser.add_argument(
        "--fuse", choices=["logits", "probs"], default="logits", help="what is averaged: logits (as good as log-probabilities) or probabilities"
    )
    parser.add_argument(
        "--metric",
        choices=get_args(Metric),
        help="what translators are fused by: of their texts, or wer of their glosses (default: bleu4)",
    )
    parser.add_argument(
        "--search",
        choices=[*SEARCHES, EQUAL_SEARCH],
        default="random",
        help="draws, one share after the other, or Optuna's TPE; equal: no search, all members weigh alike, as published (default: random)",
    )
    parser.add_argument("--trials", type=positive, default=2000, metavar="N", help="weightings that the search may try (default: 2000)")
    parser.add_argument("--folds", type=positive, default=5, metavar="K", help="folds of the cross-validation over --split; 1: none (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of draws, folds, bootstrap (default: 0)")
    parser.add_argument("--out", required=True, type=on_disk, help="folder of the results")
    parser.add_argument("--cache", type=Path, default=RUNS / "posteriors", help=f"folder of the posteriors (default: {RUNS / 'posteriors'})")
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N", help="clips per forward pass (default: 8)")
    parser.add_argument("--num-workers", type=positive, metavar="N", help="actors of Ray Data (default: this process, or Ray where RAY_ADDRESS is set)")
    parser.add_argument("--register", metavar="NAME", help="model of the MLflow registry that the ensemble becomes a version of")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))

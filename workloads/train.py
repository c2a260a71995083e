"""Train a recogniser by a recipe: `python workloads/train.py --recipe demo`, here or as a Ray job.

python workloads/train.py --recipe mska_slr_phoenix2014t --set data.shards=SHARDS --set optim.lr=5e-4
python workloads/train.py --resume RUN                   continue a run that was stopped or killed
python workloads/train.py --recipe demo --print-recipe   show the resolved recipe and stop
python workloads/train.py --recipe demo --dry-run        say what it needs (memory, hours, disk) and stop; refuse what can't fit
ray job submit --working-dir . -- python workloads/train.py --recipe demo
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from cluster.environment import keep_memory
from workloads.entry import run_entry_point


def parser() -> argparse.ArgumentParser:
    from workloads.recipe_values import recipe_names

    parser = argparse.ArgumentParser(prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--recipe", metavar="NAME", help=f"{', '.join(recipe_names())}, or a path to a .yaml file")
    which.add_argument("--resume", metavar="RUN", help="name, folder or s3:// URI of a run to continue")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe, such as optim.lr=1e-3")
    parser.add_argument("--print-recipe", action="store_true", help="show the resolved recipe and stop")
    parser.add_argument("--or-resume", action="store_true", help="with --recipe: continue the run of run.name where there is one, for jobs that start again")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="measure what the recipe needs, refuse what can't fit with the nearest setting that does (on a cluster: by --worker-memory), and stop",
    )
    parser.add_argument(
        "--worker-memory", type=float, metavar="GIB", help="of --dry-run: memory of a worker (of its GPU, where it has one) on the machines to come"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    import yaml

    from workloads.recipe import load_recipe
    from workloads.shards import ShardSet
    from workloads.training.folders import BUNDLE, ended, named_run, old_run
    from workloads.training.run import new_run, train
    from workloads.training.stored_runs import shown
    from workloads.training.tasks import TITLES

    if options.print_recipe:
        recipe = load_recipe(options.recipe, options.set) if options.recipe is not None else old_run(options.resume, overrides=options.set)[0]
        print(yaml.safe_dump(recipe.dump(), sort_keys=False, allow_unicode=True), end="")
        return 0
    if options.dry_run:
        from workloads.training.dry_run import dry_run

        recipe = load_recipe(options.recipe, options.set) if options.recipe is not None else old_run(options.resume, overrides=options.set)[0]
        dry_run(recipe, worker_gib=options.worker_memory)
        return 0
    if options.recipe is not None:
        recipe = load_recipe(options.recipe, options.set)
        recipe, folder = (named_run(recipe) if options.or_resume else None) or new_run(recipe)
    else:
        recipe, folder = old_run(options.resume, overrides=options.set)
    run = shown(recipe, folder)
    if ended(run):
        print(f"{run} has come to its end; its bundle is {run / BUNDLE}")
        return 0
    print(f"run {run}", flush=True)
    result = train(recipe, folder)
    if result.bundle is None:
        print(f"stopped at step {result.outcome.step}; continue with: python workloads/train.py --resume {shlex.quote(str(run))}")
        return result.exit_code
    scores = ", ".join(f"{head} {score:.1f}" for head, score in (result.dev_scores or {}).items())
    print(f"dev {TITLES[result.metric]} %: {scores}\nbundle: {run / BUNDLE}")
    split = "test" if "test" in ShardSet.open(recipe.data.shards).splits else recipe.data.dev_split
    print(f"evaluate it: python workloads/evaluate.py --bundle {run / BUNDLE} --shards {recipe.data.shards} --split {split}")
    return 0


if __name__ == "__main__":
    keep_memory()
    run_entry_point(main)

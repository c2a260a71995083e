"""Search the values of recipe keys: a sweep file and a recipe in, trials on the cluster, the best recipe out.

    python tune/sweep.py --sweep tune/sweeps/loss_weights.yaml --recipe mska_slr_phoenix2014t
    python tune/sweep.py --resume SWEEP                      continue a sweep that was stopped or killed
    ray job submit --working-dir . -- python tune/sweep.py --sweep tune/sweeps/loss_weights.yaml --recipe mska_slr_phoenix2014t

Each trial is the training that workloads/train.py makes, a run of its own below the sweep's in MLflow, with checkpoints and a bundle. The sweep's
folder gets trials.csv, result.json, plots/ and best.yaml, which train.py takes as a recipe.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workloads.entry import run_entry_point


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--sweep", type=Path, metavar="FILE", help="what is varied, and how: tune/sweep_file.py documents the format")
    which.add_argument("--resume", metavar="SWEEP", help="name or folder of a sweep to continue")
    parser.add_argument("--recipe", metavar="NAME", help="recipe that is varied, by name or path")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe, for all trials")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    from rich.console import Console

    from models.errors import RecipeError
    from tune.sweep_file import load_sweep
    from tune.sweep_report import BEST, PLOTS, sentence, sweep_table
    from tune.sweeping import new_sweep, old_sweep, run_sweep
    from workloads.recipe import load_recipe
    from workloads.training.stored_runs import shown

    if options.resume:
        if options.recipe or options.set:
            raise RecipeError("--resume keeps the sweep's recipe: --recipe and --set go with --sweep alone")
        sweep, recipe, folder = old_sweep(options.resume)
    elif not options.recipe:
        raise RecipeError("--sweep needs --recipe NAME, the recipe that is varied")
    else:
        recipe = load_recipe(options.recipe, options.set)
        sweep = load_sweep(options.sweep, recipe)
        recipe, folder = new_sweep(sweep, recipe, name=options.sweep.stem)
    where = shown(recipe, folder)
    print(f"sweep {where}", flush=True)
    result = run_sweep(sweep, recipe, folder, show=lambda text: print(text, flush=True))
    console = Console(soft_wrap=True, highlight=False)
    console.print(sweep_table(result))
    console.print(sentence(result), markup=False)
    if not result.finished:
        print(f"stopped before its end; continue with: python tune/sweep.py --resume {shlex.quote(str(where))}")
        return result.exit_code or 1
    print(f"plots: {folder / PLOTS}\ntrain the best: python workloads/train.py --recipe {folder / BEST}")
    return 0


if __name__ == "__main__":
    run_entry_point(main)

"""What tuning does, on generated signing: a sweep with early stopping, then ensembles of two systems, of the heads inside one, of four streams.

python tune/demo.py             what `make demo-tune` runs; a second run re-uses what is there
python tune/demo.py --toy       the same with sizes that learn nothing (the tests run it so)
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workloads.demo_stages import SUMMARY, Summary, run_demo
from workloads.entry import run_entry_point

if TYPE_CHECKING:
    from tune.sweeping import SweepResult

# Keypoints for one system, pictures for the other.
SIZES = (
    "data.synthetic={seed: 1, rgb: 1, glosses: 12, num_train: 160, num_dev: 40, num_test: 60, num_signer_independent: 0, num_signers: 3, max_glosses: 4, "
    "fps: 12.5, width: 84, height: 104}"
)
NETWORK = "network={blocks: [[8, 8, 2, 7, 2], [8, 16, 4, 3, 1], [16, 32, 8, 3, 2], [32, 32, 8, 3, 1]], head: {hidden_size: 96, ff_size: 384}}"
SENTENCES = (NETWORK, "train.epochs=10", "train.num_workers=1", "validation.every_epochs=1", "tracking.register_as=null", "samples=0")
PICTURES = ("train.epochs=13", "validation.every_epochs=4", "tracking.register_as=null", "samples=0")
SIGN_SIZES = (
    "data.synthetic={seed: 5, isolated: 1, glosses: 12, tokens_train: 10, tokens_dev: 4, tokens_test: 5, tokens_signer_independent: 0, "
    "num_signers: 3, fps: 12.5}"
)
SIGNS = ("train.epochs=8", "tracking.register_as=null", "samples=0")
TOY_SIZES = (
    "data.synthetic={rgb: 1, glosses: 8, num_train: 12, num_dev: 4, num_test: 4, num_signer_independent: 0, num_signers: 2, max_glosses: 4, fps: 10, "
    "width: 84, height: 104}"
)
TOY_NETWORK = "network={blocks: [[4, 4, 2, 3, 2], [4, 8, 2, 3, 2]], num_subsets: 2, head: {hidden_size: 16, ff_size: 16}}"
TOY_TRIALS = 3
TOY_SENTENCES = (TOY_NETWORK, "train.epochs=3", "train.num_workers=0", "validation.every_epochs=1", "tracking.register_as=null", "samples=0")
TOY_PICTURES = ("network={frame_size: 64, width: 16, hidden_size: 16}", "train.epochs=1", "tracking.register_as=null", "samples=0")
TOY_SIGN_SIZES = (
    "data.synthetic={isolated: 1, glosses: 4, tokens_train: 4, tokens_dev: 2, tokens_test: 2, tokens_signer_independent: 0, num_signers: 2, fps: 10}"
)
TOY_SIGNS = (
    "network={width: 4, depth: 2, num_subsets: 2, drop_blocks: 1, drop_frames: 3}",
    "inputs={window: 8, source_frames: null}",
    "train={epochs: 1, batch_size: 4, num_workers: 0}",
    "validation.every_epochs=1",
    "tracking.register_as=null",
    "samples=0",
)
SWEEP = Path(__file__).resolve().parent / "sweeps" / "demo.yaml"
REGISTERED = "signray-demo-fused"


def main(arguments: list[str] | None = None) -> int:
    return run_demo(arguments, demo, print_end, prog="demo.py", about=__doc__)


def demo(root: Path, *, toy: bool) -> tuple[int, Summary]:
    """All stages; returns the exit status and the summary."""
    name = "demo_tune-toy" if toy else "demo_tune"
    summary = Summary.open(root / "runs" / name / SUMMARY)
    summary.update(toy=toy)
    place = [TOY_SIZES if toy else SIZES, f"data.shards={root / 'data' / name}", f"run.root={root / 'runs'}"]
    with summary.stage("sweep of loss weights"):
        swept = sweep([*place, *(TOY_SENTENCES if toy else SENTENCES)], f"{name}-sweep", trials=TOY_TRIALS if toy else None)
    if not swept.finished or swept.winner is None:
        return swept.exit_code or 1, summary
    winner = swept.winner.trial.folder(swept.folder)
    summary.update(sweep=str(swept.folder), best_trial=swept.winner.trial.name)
    with summary.stage("another system"):
        code, other = train_once("demo_corrnet", [*place, *(TOY_PICTURES if toy else PICTURES)], f"{name}-pictures")
    if code:
        return code, summary
    with summary.stage("four streams of isolated signs"):
        code, streams, sign_shards = four_streams(root, name, toy)
    if code:
        return code, summary
    shards, out = root / "data" / name, root / "runs" / name
    with summary.stage("fusion"):
        networks = [f"mska={winner / 'bundle'}", f"corrnet={other / 'bundle'}"]
        summary.update(
            fusions={
                "two systems": fused(networks, shards, out / "two_systems", registry=f"sqlite:///{root / 'runs' / 'mlflow.db'}"),
                "heads of one network": fused([str(winner / "bundle")], shards, out / "heads", heads=True),
                "four streams": fused([str(streams / "bundle")], sign_shards, out / "streams"),
            },
            shards=str(shards),
        )
    return 0, summary


def sweep(settings: list[str], name: str, *, trials: int | None = None) -> SweepResult:
    """The sweep, or what is left of it to do. trials: so many instead of the file's."""
    from tune.sweep_file import load_sweep
    from tune.sweeping import SWEEP_FILE, new_sweep, old_sweep, run_sweep
    from workloads.recipe import load_recipe

    recipe = load_recipe("demo", [*settings, f"run.name={name}"])
    folder = Path(recipe.run.root) / name
    if (folder / SWEEP_FILE).exists():
        options, recipe, folder = old_sweep(str(folder))
    else:
        options = load_sweep(SWEEP, recipe)
        if trials is not None:
            options = options.model_copy(update={"budget": options.budget.model_copy(update={"trials": trials})})
        recipe, folder = new_sweep(options, recipe, name="demo")
    return run_sweep(options, recipe, folder, show=partial(print, flush=True))


def train_once(recipe_name: str, settings: list[str], name: str) -> tuple[int, Path]:
    """A training, or what is left of it to do; exit status and folder."""
    from workloads.recipe import load_recipe
    from workloads.training.folders import RECIPE, ended, old_run
    from workloads.training.run import new_run, train

    recipe = load_recipe(recipe_name, [*settings, f"run.name={name}"])
    folder = Path(recipe.run.root) / name
    if ended(folder):
        print(f"already done: {folder}")
        return 0, folder
    recipe, folder = old_run(str(folder)) if (folder / RECIPE).exists() else new_run(recipe)
    result = train(recipe, folder)
    return (result.exit_code or 1 if result.bundle is None else 0), folder


def four_streams(root: Path, name: str, toy: bool) -> tuple[int, Path, Path]:
    """The streams of `make demo-isolated` where it has run, smaller ones otherwise; exit status, folder of the run, shards."""
    from workloads.training.folders import ended

    there = root / "runs" / "demo_isolated"
    if not toy and ended(there):
        print(f"those of make demo-isolated: {there}")
        return 0, there, root / "data" / "demo_isolated"
    shards = root / "data" / f"{name}_isolated"
    sizes = [TOY_SIGN_SIZES, *TOY_SIGNS] if toy else [SIGN_SIZES, *SIGNS]
    code, folder = train_once("demo_isolated", [*sizes, f"data.shards={shards}", f"run.root={root / 'runs'}"], f"{name}-streams")
    return code, folder, shards


def fused(members: list[str], shards_folder: Path, out: Path, *, heads: bool = False, registry: str | None = None) -> dict[str, Any]:
    """Weights on dev, figures on test, the ensemble bundle; and its name in the registry. Prints the report."""
    from rich.console import Console

    from tune.fusion import fuse_bundles, register
    from tune.fusion_report import fusion_tables
    from tune.members import open_members
    from tune.promote import promote
    from tune.search import coordinate_search
    from workloads.shards import ShardSet

    shards, opened = ShardSet.open(shards_folder), open_members(members, heads=heads)
    search = partial(coordinate_search, trials=1000)
    fusion, ensemble = fuse_bundles(opened, shards, dev="dev", test="test", out=out, search=search, rule="probs", cache=out.parent / "posteriors")
    console = Console(soft_wrap=True, highlight=False)
    for part in fusion_tables(fusion, "dev", "test"):
        console.print(part)
    lines: list[str] = []
    if registry:
        params = {"search": "coordinate", "fuse": "probs"}
        version = register(ensemble, fusion, out, shards=shards, name=REGISTERED, tracking_uri=registry, params=params)
        lines = promote(f"models:/{REGISTERED}/{version}", tracking_uri=registry)
    best = fusion.best_member
    interval = fusion.test_interval
    return {
        "metric": fusion.metric,
        "weights": dict(fusion.weights),
        "dev": {"ensemble": fusion.dev["ensemble"], "best_member": fusion.dev[best]},
        "test": {"ensemble": fusion.test["ensemble"], "best_member": fusion.test[best], "interval": [interval.low, interval.high]},
        "best_member": best,
        "rover": {"dev": fusion.voted.dev, "test": fusion.voted.test} if fusion.voted else None,
        "bundle": str(ensemble.folder),
        "registry": lines,
    }


def no_worse(figures: dict[str, Any]) -> bool:
    """Whether the ensemble is at least as good as the best member on dev."""
    ours, other = figures["dev"]["ensemble"], figures["dev"]["best_member"]
    return bool(ours <= other if figures["metric"] == "wer" else ours >= other)


def print_end(summary: Summary) -> None:
    """The ensembles against their best members, where things lie, and what to try next."""
    from rich.console import Console
    from rich.table import Table

    values, console = summary.values, Console(highlight=False, soft_wrap=True)
    table = Table("ensemble of", "metric", "dev", "best member, dev", "test", "95 % interval", "best member, test", "no worse on dev")
    for name, figures in values["fusions"].items():
        dev, test = figures["dev"], figures["test"]
        interval = f"{test['interval'][0]:.1f} to {test['interval'][1]:.1f}"
        cells = [f"{dev['ensemble']:.1f}", f"{dev['best_member']:.1f}", f"{test['ensemble']:.1f}", interval, f"{test['best_member']:.1f}"]
        table.add_row(name, figures["metric"], *cells, "yes" if no_worse(figures) else "NO")
    console.print(table)
    sweep_folder = Path(values["sweep"])
    seconds = "  ".join(f"{name} {value:.0f} s" for name, value in values["seconds"].items())
    console.print(f"\ntime: {seconds}; peak memory {values['peak_memory_gb']:.1f} GB")
    console.print(
        f"sweep {sweep_folder}: plots/, trials.csv, best.yaml (trial {values['best_trial']})\n"
        f"registry: {'; '.join(values['fusions']['two systems']['registry'])}\n"
        "next:\n"
        "  make ui    # the sweep's run with its trials below it, their comparison, the registry\n"
        f"  .venv/bin/python workloads/evaluate.py --bundle {values['fusions']['two systems']['bundle']} --shards {values['shards']} --split test\n"
        f"  .venv/bin/python workloads/train.py --recipe {sweep_folder / 'best.yaml'}\n"
    )


if __name__ == "__main__":
    run_entry_point(main)

"""Train in stages, each a recipe that may start from the bundles of earlier ones: recogniser, gloss-to-text, joint translation.

python workloads/chain.py --chain mska_slt_phoenix2014t --set g2t.init.translator=models/mbart_phoenix2014t
python workloads/chain.py --chain mska_slt_phoenix2014t        again: stages that are done are passed over, one that was stopped goes on

A chain is a YAML file: stages with a name, a recipe, and `init` that names stages. Each stage is a run of its own below runs/CHAIN.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pydantic import Field, ValidationError, model_validator

from cluster.storage import Location
from models.errors import RecipeError
from models.options import Options
from workloads.entry import run_entry_point
from workloads.recipe import Recipe, load_recipe
from workloads.recipe_values import read_values
from workloads.training.folders import BUNDLE, RECIPE, ended, old_run, root_location
from workloads.training.run import new_run, train
from workloads.training.tasks import TITLES

CHAINS = Path(__file__).resolve().parent / "chains"


class Stage(Options):
    """A run of the chain. init: what it starts from → the stage whose bundle that is; changes: values of its recipe that are others here, `KEY=VALUE`."""

    name: str = Field(pattern=r"^[\w-]+$")
    recipe: str
    init: dict[str, str] = Field(default_factory=dict)
    changes: tuple[str, ...] = ()


class Chain(Options):
    """Stages in their order."""

    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Chain:
        known: list[str] = []
        for stage in self.stages:
            missing = [name for name in stage.init.values() if name not in known]
            if missing:
                raise ValueError(f"stage {stage.name!r} starts from {missing[0]!r}, and no stage before it has that name")
            if stage.name in known:
                raise ValueError(f"two stages are called {stage.name!r}")
            known.append(stage.name)
        return self


def load_chain(name: str) -> Chain:
    """A chain of workloads/chains, or of a path to a YAML file. Raises RecipeError, one line, for whatever is wrong with it."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CHAINS / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(f"no chain {name!r}; there are: {', '.join(chain_names())}, or give a path to a .yaml file")
    try:
        return Chain.model_validate(read_values(path))
    except ValidationError as error:
        detail = error.errors()[0]
        raise RecipeError(f"{path.name}: {'.'.join(map(str, detail['loc']))}{': ' if detail['loc'] else ''}{detail['msg']}") from None


def chain_names() -> list[str]:
    return sorted(path.stem for path in CHAINS.glob("*.yaml"))


def run_chain(chain: Chain, folder: Location, overrides: Sequence[str] = ()) -> int:
    """Train every stage that isn't done, below `folder`; the exit status of the stage that was stopped, else 0.

    overrides: `STAGE.KEY=VALUE`, for stages that begin now. Raises RecipeError for a stage that there isn't, for a mistake in any stage's recipe
    before the first begins, and as training does.
    """
    own = {stage.name: [text.partition(".")[2] for text in overrides if text.startswith(f"{stage.name}.")] for stage in chain.stages}
    foreign = [text for text in overrides if text.partition(".")[0] not in own]
    if foreign:
        raise RecipeError(f"--set {foreign[0]}: expected STAGE.KEY=VALUE with one of the stages {', '.join(own)}")
    for stage in chain.stages:
        _recipe(stage, folder, own[stage.name])
    for number, stage in enumerate(chain.stages, start=1):
        title = f"stage {number} of {len(chain.stages)}, {stage.name}"
        if ended(folder / stage.name):
            print(f"{title}: done, {folder / stage.name / BUNDLE}", flush=True)
            continue
        print(f"{title}: {stage.recipe}", flush=True)
        result = train(*_stage_run(stage, folder, own[stage.name]))
        if result.bundle is None:
            print(f"stopped in stage {stage.name} at step {result.outcome.step}; the same command goes on")
            return result.exit_code
        scores = ", ".join(f"{head} {score:.1f}" for head, score in (result.dev_scores or {}).items())
        print(f"{title}: dev {TITLES[result.metric]} %: {scores}", flush=True)
    return 0


def _stage_run(stage: Stage, folder: Location, overrides: Sequence[str]) -> tuple[Recipe, Path]:
    """The stage's run, begun or found again."""
    if (folder / stage.name / RECIPE).exists():
        return old_run(str(folder / stage.name))
    return new_run(_recipe(stage, folder, overrides))


def _recipe(stage: Stage, folder: Location, overrides: Sequence[str]) -> Recipe:
    """The stage's recipe, which starts from where the bundles of other stages are, or will be."""
    starts = [f"init.{part}={folder / name / BUNDLE}" for part, name in stage.init.items()]
    return load_recipe(stage.recipe, [*starts, f"run.root={folder}", f"run.name={stage.name}", *stage.changes, *overrides])


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    chain = load_chain(given.chain)
    folder = root_location(given.root) / (given.name or Path(given.chain).stem)
    code = run_chain(chain, folder, given.set)
    if code == 0:
        print(f"bundle: {folder / chain.stages[-1].name / BUNDLE}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chain.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", required=True, metavar="NAME", help=f"{', '.join(chain_names())}, or a path to a .yaml file")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="override a value of a stage's recipe when it begins")
    parser.add_argument("--root", default="runs", help="folder of all runs, or s3://BUCKET/PREFIX (default: runs)")
    parser.add_argument("--name", help="folder of this chain in it (default: the chain's name)")
    return parser


if __name__ == "__main__":
    run_entry_point(main)

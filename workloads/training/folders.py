"""Where a run lies: its folder, made for a new run and found again for one that is continued."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import yaml

from cluster.storage import Location, Place, is_uri, location, work_folder
from models.errors import RecipeError
from workloads.recipe import Recipe, parse_recipe
from workloads.recipe_values import override_value, read_values

RECIPE = "recipe.yaml"
BUNDLE = "bundle"
MEMBERS, TRIALS = "members", "trials"  # folders of runs in another's: of an ensemble's members, of a sweep's trials
ENDED = "ended"  # a file: nothing is left to do
RESUMABLE = ("tracking.", "train.max_failures", "train.log_steps", "train.keep_checkpoints")  # keys that don't change what is learned


def make_folder(recipe: Recipe) -> tuple[Recipe, Path]:
    """Make the folder of a new run and write the resolved recipe into it. Raises RecipeError where the name is taken."""
    try:
        folder = _new_folder(recipe)
    except ConnectionError as error:
        raise RecipeError(f"run.root: {error}") from None
    except OSError as error:
        raise RecipeError(f"run.root {recipe.run.root}: can't be written ({error.strerror or error}): choose another with --set run.root=FOLDER") from None
    return write_recipe(recipe, folder), folder


def write_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe as it runs in `folder`, written into it."""
    root = str(location(recipe.run.root)) if is_uri(recipe.run.root) and folder.parent == runs_root(recipe.run.root) else str(folder.parent)
    recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"root": root, "name": folder.name})})
    (folder / RECIPE).write_text(yaml.safe_dump(recipe.dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return recipe


def _new_folder(recipe: Recipe) -> Path:
    root = runs_root(recipe.run.root)
    if recipe.run.name:
        folder = root / recipe.run.name
        named = root_location(recipe.run.root) / recipe.run.name
        if (named / RECIPE).exists():
            raise RecipeError(f"{named} holds a run of that name: continue it with --resume {named}, or choose another with --set run.name=NAME")
        if isinstance(named, Place):
            _clear_copy(folder, named)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    name = f"{recipe.recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):  # runs that start in the same second
        with suppress(FileExistsError):
            (root / f"{name}{suffix}").mkdir(parents=True)
            return root / f"{name}{suffix}"
    raise RecipeError(f"{root} holds a thousand runs {name}: choose a name with --set run.name=NAME")


def _clear_copy(folder: Path, place: Place) -> None:
    """Remove what this machine has of a run that never came into the store. Raises RecipeError where it holds checkpoints: somebody may want them."""
    if any(folder.glob("checkpoints/*")):
        raise RecipeError(f"{folder}: checkpoints of a run that {place} has no more: remove that folder, or choose another name with --set run.name=NAME")
    shutil.rmtree(folder, ignore_errors=True)


def old_run(name: str, root: str = "runs", overrides: list[str] | None = None) -> tuple[Recipe, Path]:
    """The recipe and folder of a run that is to be continued. Raises RecipeError where there is none, or an override would change it."""
    folder: Location = _place(name) if is_uri(name) else Path(name) if (Path(name) / RECIPE).exists() else runs_root(root) / name
    file = folder / RECIPE
    if isinstance(folder, Place) and not file.exists():
        raise RecipeError(f"no run at {folder}: it has no {RECIPE}; give the URI that training named")
    if not file.exists():
        known = sorted(path.parent.name for path in runs_root(root).glob(f"*/{RECIPE}"))
        raise RecipeError(f"no run {name!r} under {runs_root(root)}; there are: {', '.join(known) or 'none'}; or give the run's folder")
    for override in overrides or []:
        if not override.startswith(RESUMABLE):
            raise RecipeError(f"--set {override}: a resumed run keeps its recipe; only {', '.join(RESUMABLE)} may change")
    values = read_values(file)
    for override in overrides or []:
        override_value(values, override)
    recipe = parse_recipe(values, where=str(file))
    if isinstance(folder, Place):  # where it was copied from, should that have been moved
        recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"root": str(folder.parent), "name": folder.name})})
        return recipe, work_folder(folder)
    return recipe, folder.resolve()


def named_run(recipe: Recipe) -> tuple[Recipe, Path] | None:
    """The run of the recipe's own root and name as it was begun, or None. Raises RecipeError where the recipe gives no name."""
    if recipe.run.name is None:
        raise RecipeError("--or-resume finds a run by its name: give one with --set run.name=NAME")
    folder = root_location(recipe.run.root) / recipe.run.name
    return old_run(str(folder), recipe.run.root) if (folder / RECIPE).exists() else None


def runs_root(root: str) -> Path:
    """Folder of all runs; of those in a store this machine's copies.

    In a `ray job` a relative root lies in the home folder, even where the working directory came with one of that name.
    """
    if is_uri(root):
        return work_folder(_place(root))
    return Path.home() / "signray" / root if in_job() else Path(root).resolve()


def _place(uri: str) -> Place:
    """Raises RecipeError for a URI that names no place."""
    try:
        place = location(uri)
    except ValueError as error:
        raise RecipeError(f"run.root: {error}") from None
    assert isinstance(place, Place)
    return place


def root_location(root: str) -> Location:
    """Where all runs lie: the place in a store, or the folder of `runs_root`."""
    return _place(root) if is_uri(root) else runs_root(root)


def placed(path: str) -> Location:
    """An absolute path, or the place in a store.

    In a `ray job` what doesn't come with the working directory lies in the home folder: that directory vanishes with the job.
    """
    if is_uri(path):
        return location(path)
    return Path.home() / "signray" / path if in_job() and not Path(path).exists() else Path(path).resolve()  # an absolute path stays what it is


def in_job() -> bool:
    """Whether this is the driver of a `ray job`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def ended(folder: Location) -> bool:
    """Whether a run has come to its end, with its bundle written and handed to the tracker."""
    return (folder / ENDED).exists() and (folder / BUNDLE).exists()

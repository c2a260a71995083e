"""A recipe's plain values: which file a name stands for, what is in it, and what the command line sets over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cluster.storage import Location
from models.errors import RecipeError
from workloads.refusals import nearest

RECIPES = Path(__file__).resolve().parent / "recipes"


def recipe_path(name: str) -> Path:
    """Path of a recipe given by name or path. Raises RecipeError with the nearest name."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = recipe_names()
        raise RecipeError(f"no recipe {name!r}{nearest(name, known)}; there are: {', '.join(known)}, or give a path to a .yaml file")
    return path


def recipe_names() -> list[str]:
    """Names of the recipes that come with signray."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error: its first value would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_values(path: Location) -> dict[str, Any]:
    """The values of a recipe file. Raises RecipeError where it is no YAML of keys and values, or has a key twice."""
    try:
        values = yaml.load(path.read_bytes(), Loader=_Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path.name}: not YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise RecipeError(f"{path.name}: lists within lists, too deep for a recipe") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path.name}: not a recipe: expected keys such as 'data' and 'train'")
    return values


def override_value(values: dict[str, Any], override: str) -> None:
    """Set what KEY=VALUE says, the key dotted. Raises RecipeError that names the override."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override!r}: expected KEY=VALUE, such as optim.lr=1e-3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: {text!r} is not a YAML value") from None
    try:
        set_value(values, key.strip(), value)
    except RecipeError as error:
        raise RecipeError(f"--set {override}: {error}") from None


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key. Raises RecipeError where a part of it holds a value, not keys."""
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        if not isinstance(values[parent], dict):
            raise RecipeError(f"{parent!r} holds a value, not keys")
        values = values[parent]
    values[last] = value

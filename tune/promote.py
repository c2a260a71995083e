"""Make a registered version the one that is served: move the alias `champion`, and say what it replaces and by how much the scores differ.

python tune/fusion.py promote models:/NAME/VERSION
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.registry import alias_holder, set_alias
from cluster.sender import resolve_uri
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.errors import BundleError
from workloads.bundles import RUNS, TRACKING_HELP, open_bundle


def promote(uri: str, *, alias: str = "champion", tracking_uri: str | None = None) -> list[str]:
    """Set the alias and return what is to be told, a line each. Raises BundleError for a URI that names no version or one that isn't a whole bundle."""
    name, _, version = uri.removeprefix("models:/").rpartition("/")
    if not uri.startswith("models:/") or not name or not version.isdigit():
        raise BundleError(f"{uri}: promote takes models:/NAME/VERSION, such as models:/dsta_slr/3")
    registry = resolve_uri(tracking_uri, RUNS)
    new = open_bundle(uri, tracking_uri=tracking_uri)
    before = alias_holder(name, alias, tracking_uri=registry)
    old = open_bundle(f"models:/{name}/{before}", tracking_uri=tracking_uri) if before and before != version else None
    set_alias(name, alias, version, tracking_uri=registry)
    if old is None:
        return [f"{name}@{alias} is version {version}" + (", as before" if before else "; there was none before")]
    return [f"{name}@{alias} is version {version}; it replaces version {before}", *differences(old, new)]


def differences(old: Bundle | Ensemble, new: Bundle | Ensemble) -> Iterator[str]:
    """Scores of what answers, by name: old, new, difference; those that only one has are named."""
    if old.corpus.checksum != new.corpus.checksum:
        yield "the two were trained on other shards: their scores can't be compared"
    scores = [{name: value[bundle.decoding.head] for name, value in _by_head(bundle)} for bundle in (old, new)]
    for name in dict.fromkeys([*scores[0], *scores[1]]):
        before, after = (score.get(name) for score in scores)
        if before is None or after is None:
            yield f"{name}: {'was not recorded' if before is None else f'was {before:.2f}'}, {'is not recorded' if after is None else f'is {after:.2f}'}"
        else:
            yield f"{name}: {before:.2f} before, {after:.2f} now ({after - before:+.2f})"


def _by_head(bundle: Bundle | Ensemble) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Metrics that have a number for what answers."""
    for name, value in bundle.metrics.items():
        if isinstance(value, Mapping) and isinstance(value.get(bundle.decoding.head), int | float):
            yield name, value


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="fusion.py promote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", metavar="models:/NAME/VERSION", help="the version that is to be served")
    parser.add_argument("--alias", default="champion", help="alias that is set (default: champion)")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    given = parser.parse_args(arguments)
    for line in promote(given.version, alias=given.alias, tracking_uri=given.tracking_uri):
        print(line)

"""Members of a fusion as a user names them: bundles, the members of an ensemble, the heads inside a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cluster.storage import is_uri
from models.batch import ENSEMBLE
from models.bundle import Bundle
from models.ensemble import Ensemble, check_members
from models.errors import BundleError
from models.systems import SYSTEMS
from tune.posteriors import num_weights
from workloads.bundles import open_bundle


def open_members(names: Sequence[str], *, heads: bool = False, tracking_uri: str | None = None) -> dict[str, Bundle]:
    """Members by name; the `decoding.head` of each is the head that counts.

    names: a bundle's folder or registry URI each, NAME=... to choose its name. An ensemble gives its members, and with `heads` each bundle gives
    its heads (not their own ensemble). Raises BundleError where two have one name, there is but one, or they don't fit together.
    """
    members: dict[str, Bundle] = {}
    for text in names:
        name, source = _named(text)
        parts = _parts(open_bundle(source, tracking_uri=tracking_uri), heads)
        for part, bundle in parts.items():
            full = part if part and len(names) == 1 else f"{name}.{part}" if part else name
            if full in members or full == ENSEMBLE:
                raise BundleError(f"--member {text}: the name {full!r} is taken: choose another with --member NAME={source}")
            members[full] = bundle
    if len(members) < 2:
        raise BundleError(f"one member only ({', '.join(members)}): give --member again, or --heads for the heads inside a bundle")
    check_members(members, dict.fromkeys(members, 1.0))
    return members


def _named(text: str) -> tuple[str, str]:
    """Name and source: `runs/a/bundle` is a, `models:/mska/3` is mska-3."""
    name, equals, source = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name):
        return name, source
    if text.startswith(("models:/", "runs:/")):
        return re.sub(r"[^\w.]+", "-", text.partition(":/")[2]).strip("-"), text
    path = Path(text) if is_uri(text) else Path(text).resolve()
    return path.parent.name if path.name == "bundle" else path.name, text


def _parts(bundle: Bundle | Ensemble, heads: bool) -> dict[str, Bundle]:
    """What counts as a member of its own, by name; the whole has none."""
    if isinstance(bundle, Ensemble):
        found = {name: _parts(member, heads) for name, member in bundle.members.items()}
        return {f"{name}.{part}" if part else name: each for name, parts in found.items() for part, each in parts.items()}
    names = SYSTEMS[bundle.system].heads
    if not heads or len(names) == 1:
        return {"": bundle}
    return {name: replace(bundle, decoding=bundle.decoding.model_copy(update={"head": name})) for name in names}


def parameters(members: Mapping[str, Bundle], chosen: Sequence[str]) -> int:
    """Weights of the networks of the chosen members; heads of one network share them."""
    return sum(num_weights(bundle) for bundle in {members[name].folder: members[name] for name in chosen}.values())

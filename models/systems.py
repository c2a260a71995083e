"""The systems that recipes and bundles name, one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.batch import Heads
from models.inputs.keypoints import KeypointInputs
from models.mska import published as mska_published
from models.mska.config import MskaOptions
from models.mska.network import ENSEMBLE, HEADS, Mska, ensemble_logits
from models.options import Options


@dataclass(frozen=True, kw_only=True)
class System:
    """What a trainer, a bundle and a service need to know of one system.

    heads: names of its recognition heads in the order reported; `ensemble` fuses them into one more set of logits (B, S, V).
    load_published: fills a network from a released state dict.
    """

    options: type[Options]
    inputs: type[Options]
    build: Callable[..., nn.Module]
    heads: tuple[str, ...]
    ensemble: Callable[[Heads], Tensor]
    load_published: Callable[..., None]

    def all_logits(self, heads: Heads) -> Mapping[str, Tensor]:
        """The ensemble's logits first, then each head's."""
        return {ENSEMBLE: self.ensemble(heads), **heads.logits}


SYSTEMS: dict[str, System] = {
    "mska_slr": System(
        options=MskaOptions,
        inputs=KeypointInputs,
        build=Mska,
        heads=HEADS,
        ensemble=ensemble_logits,
        load_published=mska_published.load,
    ),
}

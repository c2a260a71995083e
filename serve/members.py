"""Members of an ensemble in places of their own: networks that compute elsewhere, and what computes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cluster.registry import local_folder
from models.batch import Batch, Heads
from models.bundle import Bundle
from models.ensemble import Ensemble, load
from serve.settings import ServeSettings

Forward = Callable[[str, str, Batch], Heads]  # of a bundle's name and a network's key
KEPT_BUNDLES = 2  # of which a host holds networks: the champion, and the one before while its last batches run


class MemberFailedError(Exception):
    """A member that didn't answer. key: of its network."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"member {key}: {reason}")
        self.key = key


class RemoteNetwork(nn.Module):
    """A network whose forward pass runs elsewhere; batches go, heads come back. Raises MemberFailedError where none come."""

    def __init__(self, key: str, forward: Callable[[Batch], Heads]) -> None:
        super().__init__()
        self._key, self._forward = key, forward
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # batches are prepared on its device

    def forward(self, batch: Batch) -> Heads:
        try:
            return self._forward(batch)
        except Exception as error:  # whatever it was there: here it is a member that doesn't answer
            raise MemberFailedError(self._key, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


def network_keys(ensemble: Ensemble) -> dict[Path, str]:
    """The networks of an ensemble: folder → key, the same on every host. Members that are heads of one network share it."""
    return {bundle.folder: bundle.folder.name for bundle in ensemble.members.values()}


def remote_networks(ensemble: Ensemble, uri: str, hosts: Sequence[Forward]) -> dict[Path, RemoteNetwork]:
    """Stand-ins for the networks of an ensemble, spread over the hosts."""
    keys = network_keys(ensemble)
    return {folder: RemoteNetwork(key, partial(hosts[position % len(hosts)], uri, key)) for position, (folder, key) in enumerate(keys.items())}


class MemberHost:
    """Holds networks of ensembles and runs them as they are asked for. It needs no Ray."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._ensembles: dict[str, Ensemble] = {}
        self._networks: dict[tuple[str, str], nn.Module] = {}

    def forward(self, uri: str, key: str, batch: Batch) -> Heads:
        """Heads of the network `key` of the ensemble `uri`, on the CPU."""
        network = self._network(uri, key)
        with torch.no_grad():
            heads = network(batch.to(self._device))
        return Heads(logits=_on_cpu(heads.logits), lengths=heads.lengths.cpu())

    def _network(self, uri: str, key: str) -> nn.Module:
        if (uri, key) not in self._networks:
            if uri not in self._ensembles:
                self._make_room()
                ensemble = load(local_folder(uri, tracking_uri=self._settings.tracking_uri, store=self._settings.store))
                assert isinstance(ensemble, Ensemble)
                self._ensembles[uri] = ensemble
            self._networks[uri, key] = _bundle_of(self._ensembles[uri], key).network(self._device)
        return self._networks[uri, key]

    def _make_room(self) -> None:
        for uri in list(self._ensembles)[: max(0, len(self._ensembles) - KEPT_BUNDLES + 1)]:
            del self._ensembles[uri]
            self._networks = {name: network for name, network in self._networks.items() if name[0] != uri}


def _bundle_of(ensemble: Ensemble, key: str) -> Bundle:
    return next(bundle for bundle in ensemble.members.values() if bundle.folder.name == key)


def _on_cpu(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in logits.items()}


class Resting:
    """Networks that failed and aren't asked again for a while: every request would wait for them."""

    def __init__(self, rest_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_s, self._clock = rest_s, clock
        self._until: dict[str, float] = {}

    def failed(self, key: str) -> None:
        """Let a network rest from now on."""
        self._until[key] = self._clock() + self._rest_s

    def now(self) -> set[str]:
        """Keys of those that rest."""
        now = self._clock()
        return {key for key, until in self._until.items() if until > now}

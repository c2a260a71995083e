"""Members in places of their own answer as they do together, bit for bit; one that fails is left out, and the answer says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.batch import Batch, Heads
from models.ensemble import Ensemble, save_ensemble
from serve.members import KEPT_BUNDLES, Forward, MemberHost, Resting
from serve.settings import ServeSettings
from serve.tasks import Choice, Reply, Task
from serve.worker import ModelWorker
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import save_tiny_sign_bundle, tiny_sign_clip

NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("members")
    members = {name: save_tiny_bundle(folder / name, tiny_network(seed, scale=30)) for seed, name in enumerate(NAMES)}
    return save_ensemble(folder / "ensemble", members, dict(zip(NAMES, (1.0, 2.0, 0.5), strict=True)), metrics={}, provenance={})


def split(ensemble: Ensemble, *, without: Callable[[], set[str]] = set, **changes: object) -> ModelWorker:
    """A worker with a host for two of the networks and one for the third; those `without` fail."""
    settings = ServeSettings(bundle=str(ensemble.folder), device="cpu", **changes)  # type: ignore[arg-type]

    def host(held: MemberHost) -> Forward:
        def forward(uri: str, key: str, batch: Batch) -> Heads:
            if key in without():
                raise ConnectionError("its process\nis gone")
            return held.forward(uri, key, batch)

        return forward

    return ModelWorker(settings, [host(MemberHost(settings)), host(MemberHost(settings))])


def answer(worker: ModelWorker, **choice: object) -> Reply:
    (reply,) = worker.answer([Task(clip=tiny_clip(num_frames=40), choice=Choice(**choice))])  # type: ignore[arg-type]
    return reply


def test_split_members_answer_as_together(ensemble: Ensemble) -> None:
    whole, apart = ModelWorker(ServeSettings(bundle=str(ensemble.folder), device="cpu")), split(ensemble)
    for choice in ({}, {"heads": True, "n_best": 3}, {"head": "second"}, {"members": ("first", "third")}):
        assert answer(apart, **choice).record == answer(whole, **choice).record
    assert apart.card == whole.card


def test_signs_too(tmp_path: Path) -> None:
    members = {name: save_tiny_sign_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(NAMES)}
    signs = save_ensemble(tmp_path / "signs", members, dict.fromkeys(NAMES, 1.0), metrics={}, provenance={})
    task = Task(clip=tiny_sign_clip(), choice=Choice(heads=True))
    whole, apart = ModelWorker(ServeSettings(bundle=str(signs.folder), device="cpu")), split(signs)
    assert apart.answer([task])[0].record == whole.answer([task])[0].record


def test_a_member_that_fails_is_left_out_rests_and_comes_back(ensemble: Ensemble) -> None:
    gone: set[str] = {"second"}
    worker = split(ensemble, without=lambda: gone, member_rest_s=0.0)
    resting = Resting(5.0, clock=lambda: now)
    now = 0.0
    worker._model._resting = resting
    expected = answer(ModelWorker(ServeSettings(bundle=str(ensemble.folder), device="cpu")), members=("first", "third")).record
    assert expected is not None
    assert answer(worker, members=NAMES).record == {**expected, "members_failed": ["second"]}
    assert (answer(worker, head="second").code, answer(worker, members=("second",)).code) == ("member-failed", "member-failed")
    gone.clear()
    record = answer(worker).record
    assert record is not None
    assert record["members_failed"] == ["second"]  # it still rests
    now = 6.0
    record = answer(worker).record
    assert record is not None
    assert "members_failed" not in record
    gone |= set(NAMES)
    assert answer(worker).code == "member-failed"


def test_the_policy_may_refuse(ensemble: Ensemble) -> None:
    worker = split(ensemble, without=lambda: {"third"}, member_failure="refuse")
    reply = answer(worker)
    assert (reply.code, reply.detail) == ("member-failed", "third: no answer; try again")


def test_a_host_keeps_the_champion_and_the_one_before(ensemble: Ensemble, tmp_path: Path) -> None:
    host = MemberHost(ServeSettings(bundle="x", device="cpu"))
    for number in range(KEPT_BUNDLES + 2):
        copy = save_ensemble(tmp_path / str(number), dict(ensemble.members), dict(ensemble.weights), metrics={}, provenance={})
        host._network(str(copy.folder), "first")
    assert [Path(uri).name for uri in host._ensembles] == ["2", "3"]
    assert [Path(uri).name for uri, _ in host._networks] == ["2", "3"]

"""A run's folder and its place in a store: what goes up, in which order, what comes back, and what is passed over. The checkpoints here hold no network."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest

from cluster import lease as leases
from cluster.lease import leased
from cluster.registry import RECORD
from cluster.status import main as status_main
from cluster.status import status_of
from cluster.storage import Place
from models.errors import CheckpointError, RecipeError, TrainingError
from tests.store import SECRET, Store
from workloads.recipe import Recipe, load_recipe
from workloads.training import mirror
from workloads.training.checkpoints import CHECKPOINTS, checkpoint_name
from workloads.training.folders import BUNDLE, ENDED, make_folder, old_run
from workloads.training.loop import STOP_FILE
from workloads.training.mirror import is_small, store_gap
from workloads.training.stored_runs import OWNER, place_of, stored


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LOOK_S", 0.05)
    monkeypatch.setattr(leases, "SETTLED_S", 0.0)
    monkeypatch.setattr(leases, "RENEWED_S", 0.05)


@pytest.fixture
def run(store: Store) -> tuple[Recipe, Path, Place]:
    recipe, folder = make_folder(load_recipe("demo", [f"run.root={store.bucket}/runs", "run.name=a"]))
    place = place_of(recipe, folder)
    assert place == store.bucket / "runs" / "a"
    return recipe, folder, place


def write_checkpoint(folder: Path, step: int, *, error: float | None = None, size: int = 10) -> Path:
    """A whole checkpoint, as training writes it."""
    checkpoint, staging = folder / CHECKPOINTS / checkpoint_name(step), folder / CHECKPOINTS / f"writing_{step}"
    (staging / "step").mkdir(parents=True)
    position = {"step": step, "epoch": 0, "batches_done": step, "world_size": 1, "zero_stage": 0, "error": error, "scores": {}}
    contents = {"position.json": json.dumps(position).encode(), "weights.safetensors": bytes([step]) * size, "step/optimiser.pt": b"state" * size}
    for name, content in contents.items():
        (staging / name).write_bytes(content)
    files = {name: [len(content), hashlib.sha256(content).hexdigest()] for name, content in contents.items()}
    (staging / "manifest-0.json").write_text(json.dumps({"world_size": 1, "files": files}))
    staging.rename(checkpoint)
    return checkpoint


def names(place: Place) -> list[str]:
    return sorted({name.split("/")[0] for name in (place / CHECKPOINTS).sizes()})


def wait_for(place: Place, name: str) -> None:
    deadline = time.monotonic() + 30
    while not (place / name).is_file():
        assert time.monotonic() < deadline, name
        time.sleep(0.02)


def test_the_place_is_what_the_folder_is(run: tuple[Recipe, Path, Place], tmp_path: Path) -> None:
    recipe, folder, place = run
    with stored(recipe, folder):
        assert (place / OWNER).is_file()
        assert (place / "recipe.yaml").read_bytes() == (folder / "recipe.yaml").read_bytes(), "seen from the beginning"
        (folder / "events.jsonl").write_text('{"kind": "step"}\n')
        for step in (2, 4):
            write_checkpoint(folder, step, error=50.0 - step if step == 2 else None)
        wait_for(place, f"{CHECKPOINTS}/{checkpoint_name(4)}/manifest-0.json")
        assert (place / "events.jsonl").is_file(), "never behind a checkpoint"
        for step in (6, 8, 10):
            write_checkpoint(folder, step)
            wait_for(place, f"{CHECKPOINTS}/{checkpoint_name(step)}/manifest-0.json")
        (folder / "tracking" / "files").mkdir(parents=True)
        (folder / "tracking" / "files" / "plot.png").write_bytes(b"png")
        (folder / BUNDLE).mkdir()
        (folder / BUNDLE / "weights").write_text("1")
        (folder / BUNDLE / RECORD).write_text("{}")
        (folder / ENDED).touch()
        (folder / "lock").touch()
    assert names(place) == [checkpoint_name(step) for step in (2, 8, 10)], "the best, and the two newest"
    assert not (place / OWNER).exists()
    assert {name for name in place.sizes() if not name.startswith(CHECKPOINTS)} == {
        *("recipe.yaml", "events.jsonl", "copy.txt", "tracking/files/plot.png", f"{BUNDLE}/weights", f"{BUNDLE}/{RECORD}", ENDED)
    }
    (folder / "tracking" / "files" / "plot.png").unlink()
    with stored(recipe, folder):
        pass
    assert "tracking/files/plot.png" not in place.sizes()


def test_another_machine_gets_all_that_counts(run: tuple[Recipe, Path, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder, place = run
    with stored(recipe, folder):
        for step in (2, 4):
            write_checkpoint(folder, step, error=9.0)
            write_checkpoint(folder / "members" / "bone", step)
        (folder / "tracking").mkdir()
        for name in ("records.jsonl", "state.json"):
            (folder / "tracking" / name).write_text("{}")
    monkeypatch.setenv("SIGNRAY_WORK", str(tmp_path / "another"))
    again, there = old_run(str(place))
    assert (again.dump(), there == folder) == (recipe.dump(), False)
    with stored(again, there):
        for part in ("", "members/bone"):
            assert sorted(path.name for path in (there / part / CHECKPOINTS).iterdir()) == [checkpoint_name(2), checkpoint_name(4)]
        assert (there / "tracking" / "state.json").is_file()
        write_checkpoint(there, 6)
    assert checkpoint_name(6) in names(place)


def test_the_first_machine_takes_what_the_other_did(run: tuple[Recipe, Path, Place], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder, place = run
    with stored(recipe, folder):
        write_checkpoint(folder, 2)
        (folder / "events.jsonl").write_text("first\n")
    with monkeypatch.context() as patch:
        patch.setenv("SIGNRAY_WORK", str(tmp_path / "another"))
        again, there = old_run(str(place))
        with stored(again, there):
            (there / "events.jsonl").write_text("first\nsecond\n")
    with stored(recipe, folder):
        assert (folder / "events.jsonl").read_text() == "first\nsecond\n"
        (folder / "events.jsonl").write_text("mine\n")
    with stored(recipe, folder):
        assert (folder / "events.jsonl").read_text() == "mine\n", "published by this copy: it may be ahead of the store, never behind"


def test_what_has_no_matching_manifest_is_passed_over(run: tuple[Recipe, Path, Place], capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder, place = run
    with stored(recipe, folder):
        for step in (2, 4, 6):
            write_checkpoint(folder, step)
    (place / CHECKPOINTS / checkpoint_name(6) / "manifest-0.json").unlink()
    weights = place / CHECKPOINTS / checkpoint_name(4) / "weights.safetensors"
    weights.write_bytes(b"x" * (weights.size() or 0))
    shutil.rmtree(folder)
    with stored(recipe, folder):
        assert [path.name for path in (folder / CHECKPOINTS).iterdir()] == [checkpoint_name(2)]
    told = capsys.readouterr().out
    assert f"checkpoint passed over: {place / CHECKPOINTS / checkpoint_name(6)}: no manifest" in told
    assert f"checkpoint passed over: {place / CHECKPOINTS / checkpoint_name(4)}: weights.safetensors is damaged" in told
    for step in (2, 4):
        (place / CHECKPOINTS / checkpoint_name(step) / "weights.safetensors").write_bytes(b"cut")
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"no checkpoint is intact .*weights.safetensors is damaged\): start a new run"), stored(recipe, folder):
        pass


def test_an_upload_that_is_cut_leaves_every_checkpoint_whole(run: tuple[Recipe, Path, Place], store: Store) -> None:
    recipe, folder, place = run
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"keep_checkpoints": 9})})
    with stored(recipe, folder), store.relay.cutting(4, after=1 << 15):  # a third of its weights
        for step in (2, 4, 6):
            write_checkpoint(folder, step, size=100_000)
            time.sleep(0.2)
        deadline = time.monotonic() + 60
        while store.relay.cuts < 4:
            assert time.monotonic() < deadline, "nothing was sent that could be cut"
            assert {store_gap(place / CHECKPOINTS / name, (place / CHECKPOINTS / name).sizes()) for name in names(place)} <= {None, "no manifest"}
            time.sleep(0.02)
        for name in names(place):
            there = place / CHECKPOINTS / name
            assert store_gap(there, there.sizes()) in (None, "no manifest"), "never a manifest without its files"
    assert names(place) == [checkpoint_name(step) for step in (2, 4, 6)]
    for name in names(place):
        there = place / CHECKPOINTS / name
        for file, (size, digest) in json.loads((there / "manifest-0.json").read_bytes())["files"].items():
            content = (there / file).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)


def be_taken(folder: Path, place: Place) -> None:
    """Another host holds the run from now on; a checkpoint that is written after that."""
    holder = json.loads((place / OWNER).read_bytes())
    deadline = time.monotonic() + 30
    while not (folder / STOP_FILE).exists():
        (place / OWNER).write_text(json.dumps({**holder, "id": "another", "host": "elsewhere"}))
        assert time.monotonic() < deadline
        time.sleep(0.02)
    write_checkpoint(folder, 2)


def test_a_run_that_another_has_taken_stops(run: tuple[Recipe, Path, Place]) -> None:
    recipe, folder, place = run
    with pytest.raises(TrainingError, match="was taken over by another process while this one was silent"), stored(recipe, folder):
        be_taken(folder, place)
    assert names(place) == [], "what the other does isn't touched"


def test_where_it_stands_is_seen_from_anywhere(run: tuple[Recipe, Path, Place], capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder, place = run
    with stored(recipe, folder):
        (folder / "events.jsonl").write_text('{"kind": "step", "step": 2, "epoch": 0, "terms": {"loss": 1.5}, "seconds": 0.5}\n')
        write_checkpoint(folder, 2)
        wait_for(place, f"{CHECKPOINTS}/{checkpoint_name(2)}/manifest-0.json")
        found = status_of(str(place))
        assert (found.folder, found.state, found.step, found.checkpoint, found.loss) == (str(place), "training", 2, checkpoint_name(2), 1.5)
    (place / "fault").write_text("step 3: the loss isn't finite")
    assert status_main([str(place)]) == 1
    assert f"{place}: failed, step 2" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=f"{place.parent}/none is no run"):
        status_of(f"{place.parent}/none")


def test_what_a_user_can_mend_is_one_line(run: tuple[Recipe, Path, Place], store: Store) -> None:
    recipe, folder, place = run
    with leased(place / OWNER), pytest.raises(TrainingError, match=r"is being trained by process \d+ on .*: wait for its end"), stored(recipe, folder):
        pass
    with stored(recipe, folder):
        pass
    with pytest.raises(RecipeError, match=r"holds a run of that name: continue it with --resume s3://"):
        make_folder(recipe)
    gone = recipe.model_copy(update={"run": recipe.run.model_copy(update={"name": "b"})})
    make_folder(gone)
    write_checkpoint(make_folder(gone)[1], 2)  # twice: nothing of it came into the store
    with pytest.raises(RecipeError, match=r"checkpoints of a run that s3://.*/runs/b has no more: remove that folder"):
        make_folder(gone)
    with pytest.raises(RecipeError, match=rf"no run at {store.bucket}/runs/none: it has no recipe.yaml"):
        old_run(f"{store.bucket}/runs/none")
    lost = recipe.model_copy(update={"run": recipe.run.model_copy(update={"root": "s3://nobody-has-this/runs"})})
    with pytest.raises(TrainingError, match="has no bucket 'nobody-has-this'"), stored(lost, folder):
        pass
    with pytest.raises(RecipeError, match=r"run.root: s3://nobody-has-this/runs/a/recipe.yaml: .* has no bucket 'nobody-has-this'"):
        make_folder(lost)
    with pytest.raises(RecipeError, match=r"run.root: s3://…: no credentials and no options in a URI") as caught:
        load_recipe("demo", [f"run.root=s3://KEY:{SECRET}@bucket/runs"])
    assert SECRET not in str(caught.value)


def test_which_files_go_up_as_they_are() -> None:
    assert all(map(is_small, ("recipe.yaml", "tracking/files/1/a.png", "members/bone/events.jsonl", "plots/a.png")))
    assert not any(map(is_small, ("checkpoints/a/b", "bundle/x", "members/bone/bundle/x", "ray/a", "lock", "stop", "ended", ".bundle.writing/x")))

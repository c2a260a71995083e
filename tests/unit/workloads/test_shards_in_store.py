"""Shards in an S3-compatible store: the same bytes as on a disk, read in the same pieces; a set that isn't whole is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.storage import Place
from models.errors import ShardError
from tests.store import SECRET, Store
from tests.unit.workloads.tiny_runs import CORPUS
from workloads.evaluation_runners import pieces
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, main, preprocess
from workloads.shard_writer import STAGING
from workloads.shards import CORPUS_FILE, ShardSet, read_row_groups

SETTINGS = {key: str(value) for key, value in CORPUS.items()}


def made(out: Path | Place) -> ShardSet:
    return preprocess(PreprocessOptions(corpus="synthetic", out=out, settings=SETTINGS), in_this_process).shards


def test_a_set_in_a_store_is_that_of_a_disk(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = made(tmp_path / "out")
    uri = f"{store.bucket}/shards/tiny"
    assignments = [text for name, value in SETTINGS.items() for text in ("--set", f"{name}={value}")]
    with store.relay.cutting(3, after=1 << 12):
        main(["--corpus", "synthetic", "--out", uri, "--in-process", *assignments])
    assert store.relay.cuts >= 3
    assert (store.bucket / "shards" / "tiny").sizes() == {
        path.relative_to(tmp_path / "out").as_posix(): path.stat().st_size for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()
    }
    there = ShardSet.open(uri)
    assert there.corpus == local.corpus
    assert there.index("train") == local.index("train")
    for here, away in zip(local.rows("dev"), there.rows("dev"), strict=True):
        assert (here.name, here.glosses) == (away.name, away.glosses)
        assert np.array_equal(here.keypoints, away.keypoints)
    piece = pieces(there, "train")[0]
    assert [clip.name for clip in read_row_groups(piece.file, piece.groups)] == [row.name for row in local.index("train")[: piece.num_clips]]
    main(["verify", uri])
    assert f"{uri}: {len(local.corpus.files)} files as they were written" in capsys.readouterr().out
    main(["--corpus", "synthetic", "--out", uri, "--in-process", *assignments])
    assert "is up to date" in capsys.readouterr().out


def test_what_isnt_whole_is_refused(store: Store, tmp_path: Path) -> None:
    place = store.bucket / "shards"
    with pytest.raises(ShardError, match="no such folder of shards"):
        ShardSet.open(place)
    made(place)
    first = next(iter(ShardSet.open(place).corpus.files))
    content = (place / first).read_bytes()
    (place / first).write_bytes(content[:-1])
    with pytest.raises(ShardError, match=f"{first} has {len(content) - 1} bytes instead of {len(content)}"):
        ShardSet.open(place)
    (place / first).write_bytes(content[:-1] + b"x")
    with pytest.raises(ShardError, match="its contents differ"):
        ShardSet.open(place).verify()
    (place / CORPUS_FILE).unlink()
    with pytest.raises(ShardError, match="preprocess was not finished"):
        ShardSet.open(place)


def test_a_killed_preprocess_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.bucket / "shards"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workloads.preprocess.place_shards", killed)
    with pytest.raises(KeyboardInterrupt):
        made(place)
    staged = {name for name in place.sizes() if name.startswith(f"{STAGING}/") and name.endswith(".parquet")}
    assert staged
    with pytest.raises(ShardError, match="preprocess was not finished"):
        ShardSet.open(place)
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.relay.url)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("workloads.shard_writer._write_shard", killed)  # every part is there already
    assert made(place).splits
    assert not [name for name in place.sizes() if name.startswith(".")]


def test_a_store_that_refuses_is_one_line(store: Store) -> None:
    for uri, said in (("s3://nobody-has-this/x", "has no bucket"), (f"s3://KEY:{SECRET}@bucket/x", "no credentials and no options in a URI")):
        with pytest.raises(ShardError, match=said) as caught:
            ShardSet.open(uri)
        assert SECRET not in str(caught.value)


def test_reading_waits_for_a_store_that_is_away(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    shards = made(store.bucket / "shards")
    clips = shards.rows("train")
    names = [next(clips).name]
    with store.relay.disturbed("refuse", 2.0):
        names += [clip.name for clip in shards.rows("train")]
    assert len(names) == 27
    assert [" is away (" in line or " is back after " in line for line in capsys.readouterr().err.splitlines()] == [True, True]

"""The cache of posteriors: equal to computing, never those of another bundle, head, split or shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.dsta_slr.streams import Stream
from models.errors import ShardError
from tests.unit.tiny_signs import save_tiny_sign_bundle
from tune.posteriors import Table, cache_file, identity, num_weights, read_posteriors
from workloads.evaluation_runners import Answering, Piece, in_this_process
from workloads.scoring import Answer
from workloads.shards import ShardSet


class Counted:
    """A runner that counts what it is asked to run, and gives the pieces in another order."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, recogniser: Answering, work: Sequence[Piece], batch_size: int) -> Iterator[tuple[int, list[Answer]]]:
        self.runs += 1
        yield from reversed(list(in_this_process(recogniser, work, batch_size)))


def read(members: dict[str, Bundle], shards: ShardSet, cache: Path, split: str = "dev") -> tuple[dict[str, Table], int]:
    runner = Counted()
    return read_posteriors(members, shards, split, cache=cache, run_pieces=runner), runner.runs


def equal(one: Table, other: Table) -> bool:
    same = np.array_equal(one.logits, other.logits) and np.array_equal(one.lengths, other.lengths)
    return same and (one.names, one.reasons) == (other.names, other.reasons)


def test_what_was_computed_is_not_computed_again(sentence_members: dict[str, Bundle], sentence_shards: ShardSet, tmp_path: Path) -> None:
    first, runs = read(sentence_members, sentence_shards, tmp_path)
    again, no_runs = read(sentence_members, sentence_shards, tmp_path)
    assert (runs, no_runs) == (2, 0)
    assert all(equal(first[name], again[name]) for name in first)
    assert again["a"].latency_ms == first["a"].latency_ms > 0
    assert [row.name for row in sentence_shards.index("dev")] == list(first["a"].names)
    assert [len(clip) for clip in first["a"].clips] == first["a"].lengths.tolist()
    assert read(sentence_members, sentence_shards, tmp_path, "test")[1] == 2


def test_heads_of_one_bundle_share_a_run(sentence_members: dict[str, Bundle], sentence_shards: ShardSet, tmp_path: Path) -> None:
    bundle = sentence_members["a"]
    heads = {head: replace(bundle, decoding=bundle.decoding.model_copy(update={"head": head})) for head in ("left", "body")}
    tables, runs = read(heads, sentence_shards, tmp_path)
    assert runs == 1
    assert not np.array_equal(tables["left"].logits, tables["body"].logits)
    assert read(heads, sentence_shards, tmp_path)[1] == 0


def test_identities_differ_in_all_that_decides_posteriors(sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path) -> None:
    bundle = sign_members["joint"]
    same_weights = save_tiny_sign_bundle(tmp_path / "other", seed=0, stream=Stream.BONE)
    assert same_weights.checksum == bundle.checksum
    others = replace(sign_shards, corpus=sign_shards.corpus.model_copy(update={"checksum": "another"}))
    found = [
        identity(bundle, sign_shards, "dev"),
        identity(same_weights, sign_shards, "dev"),
        identity(sign_members["bone"], sign_shards, "dev"),
        identity(bundle, sign_shards, "test"),
        identity(bundle, others, "dev"),
        identity(replace(bundle, decoding=bundle.decoding.model_copy(update={"head": "x"})), sign_shards, "dev"),
    ]
    assert len({cache_file(tmp_path, facts) for facts in found}) == len(found)
    assert cache_file(tmp_path, found[0]) == cache_file(tmp_path, identity(bundle, sign_shards, "dev"))


@pytest.mark.parametrize("damage", ["other identity", "cut", "changed"])
def test_a_wrong_or_damaged_file_is_not_served(damage: str, sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path) -> None:
    members = {name: sign_members[name] for name in ("joint", "bone")}
    first, _ = read(members, sign_shards, tmp_path)
    joint, bone = (cache_file(tmp_path, identity(bundle, sign_shards, "dev")) for bundle in members.values())
    content = joint.read_bytes()
    damaged = {"other identity": bone.read_bytes(), "cut": content[:-10], "changed": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]}[damage]
    joint.write_bytes(damaged)
    again, runs = read(members, sign_shards, tmp_path)
    assert runs == 1
    assert equal(first["joint"], again["joint"])


def test_a_missing_split_is_told_before_the_work(sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="has no split 'nowhere'"):
        read(sign_members, sign_shards, tmp_path, "nowhere")


def test_weights_are_counted_from_the_file(sign_members: dict[str, Bundle]) -> None:
    state = sign_members["joint"].network().state_dict()
    assert num_weights(sign_members["joint"]) == sum(value.numel() for value in state.values() if value.is_floating_point())

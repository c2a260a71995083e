"""What the tests of workloads share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.workloads.tiny_runs import write_tiny_language, write_tiny_shards, write_tiny_sign_shards


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard set of the synthetic corpus that a tiny network trains on in seconds."""
    return write_tiny_shards(tmp_path_factory.mktemp("corpus") / "shards")


@pytest.fixture(scope="session")
def tiny_sign_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard set of isolated signs that a tiny network trains on in seconds."""
    return write_tiny_sign_shards(tmp_path_factory.mktemp("signs") / "shards")


@pytest.fixture(scope="session")
def tiny_language(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model that is pruned to the tiny shards."""
    return write_tiny_language(tiny_shards, tmp_path_factory.mktemp("language"))

"""An S3-compatible store of one's own for tests, reached over HTTP through a relay that can fail; it keeps its objects in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from cluster.storage import Place
from tests.flaky_relay import Relay

KEY, SECRET = "AKIAMARKEDFORTESTS", "secret-that-nobody-may-see"


@dataclass(frozen=True)
class Store:
    """A bucket, and the relay in front of the store."""

    bucket: Place
    relay: Relay

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach the store."""
        return {"AWS_ENDPOINT_URL": self.relay.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def store_server() -> Iterator[tuple[str, int]]:
    """Host and port of a store that is empty."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()


@contextmanager
def bucket_of(server: tuple[str, int], patch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A new bucket behind a relay of its own, which this process's environment names."""
    from pyarrow.fs import S3FileSystem

    relay = Relay(server)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        patch.delenv(name, raising=False)
    store = Store(bucket=Place(f"signray-{uuid.uuid4().hex[:8]}"), relay=relay)
    for name, value in store.environment.items():
        patch.setenv(name, value)
    S3FileSystem(endpoint_override=relay.url, region="us-east-1", allow_bucket_creation=True).create_dir(store.bucket.key)
    try:
        yield store
    finally:
        relay.close()

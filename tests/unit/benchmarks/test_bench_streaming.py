"""What the benchmark of streaming reads out of Ray's account of its memory, which Ray itself words here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
from ray._private import internal_api
from ray.core.generated import node_manager_pb2

from tests.benchmarks.bench_streaming import spilled_bytes

USED = {"object_store_bytes_used": 400 << 20, "object_store_bytes_avail": 512 << 20, "object_store_bytes_primary_copy": 300 << 20, "num_local_objects": 93}
SPILLED = {"spill_time_total_s": 9.3, "spilled_bytes_total": 9487 << 20, "spilled_objects_total": 2487}
RESTORED = {"restore_time_total_s": 12.0, "restored_bytes_total": 9487 << 20, "restored_objects_total": 2487}


def summarised(monkeypatch: pytest.MonkeyPatch, summary: str) -> None:
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:6379"))
    monkeypatch.setattr(internal_api, "memory_summary", lambda **_: summary)


def by_ray(**stats: float) -> str:
    return internal_api.store_stats_summary(node_manager_pb2.FormatGlobalMemoryInfoReply(store_stats=stats))


def test_what_was_spilled_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    summarised(monkeypatch, by_ray(**USED, **SPILLED, **RESTORED))
    assert spilled_bytes() == 9487 << 20


def test_nothing_spilled_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = by_ray(**USED)
    assert "Plasma memory usage 400 MiB, 93 objects" in summary
    summarised(monkeypatch, summary)
    assert spilled_bytes() == 0


def test_other_words_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    summarised(monkeypatch, by_ray(**USED, **SPILLED).replace("Spilled 9487 MiB", "Bytes spilled: 9947840512"))
    with pytest.raises(RuntimeError, match="in other words than 'Spilled N MiB'"):
        spilled_bytes()

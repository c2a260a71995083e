"""The doctor keeps its table whatever is ill; what it looks at on a real cluster: tests/integration/cluster/test_doctor.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from cluster import doctor
from cluster.doctor import diagnose, main
from cluster.storage import location
from tests.store import Store


def test_a_store_that_refuses_is_a_red_line(store: Store) -> None:
    line = doctor._first_batch(location("s3://nobody-has-this/shards"))
    assert line.verdict == "FAIL"
    assert "has no bucket 'nobody-has-this'" in line.found


def test_files_that_are_no_parquet_are_a_red_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import ray.data

    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowInvalid("Parquet magic bytes not found in footer.")

    monkeypatch.setattr(ray.data, "read_parquet", refuse)
    (tmp_path / "part-00000.parquet").write_text("no Parquet")
    line = doctor._first_batch(tmp_path)
    assert (line.verdict, line.found) == ("FAIL", f"{tmp_path}: Parquet magic bytes not found in footer.")


def test_a_node_that_dies_after_its_facts_is_a_red_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def skew(probe: str) -> tuple[float, float]:
        if probe == "dead":
            raise ActorDiedError(None)
        return 0.1, 0.01

    monkeypatch.setattr(doctor, "_skew", skew)
    skews, [line] = doctor._skews({"a": "alive", "b": "dead"})
    assert skews == {"a": (0.1, 0.01)}
    assert (line.what, line.where, line.verdict) == ("node", "b", "FAIL")


def test_what_nobody_names_is_told_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without nodes is enough for it."""
    asked = []
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"))
    monkeypatch.setattr(doctor, "asks_for_token", lambda address: asked.append(address))
    lines = {line.what: line for line in diagnose()}
    assert asked == ["10.0.0.1:6379"]
    assert {what: (lines[what].verdict, lines[what].found, lines[what].advice) for what in ("storage", "first batch")} == {
        "storage": ("warn", "not looked at", "give --shared FOLDER, or set SIGNRAY_SHARED"),
        "first batch": ("warn", "not looked at", "give --shards FOLDER"),
    }


@pytest.mark.parametrize("option", ["--shared", "--shards"])
def test_a_scheme_that_nobody_reads_is_the_users_mistake(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1 would mean that the cluster is ill."""
    with pytest.raises(SystemExit) as ended:
        main([option, "gs://bucket/runs"])
    assert ended.value.code == 2
    assert f"error: argument {option}: gs://: signray reads folders and s3://BUCKET/PREFIX" in capsys.readouterr().err


def test_the_sites_shared_folder_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str | None]] = []

    class Cluster:
        address = "here"

        def __enter__(self) -> Cluster:
            return self

        def __exit__(self, *_: object) -> None: ...

    def look(**places: str | None) -> list[object]:
        seen.append(places)
        return []

    monkeypatch.setattr(doctor, "connect", lambda **_: Cluster())
    monkeypatch.setattr(doctor, "diagnose", look)
    monkeypatch.setenv("SIGNRAY_SHARED", "/site")
    assert main([]) == main(["--shared", "/other"]) == 0
    monkeypatch.setenv("SIGNRAY_SHARED", "")
    assert main([]) == 0
    assert [places["shared"] for places in seen] == ["/site", "/other", None]

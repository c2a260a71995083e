"""The doctor on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.doctor import main
from tests.integration.head_node import HeadNode


def test_the_doctor_looks_at_every_part_of_a_cluster(ray_cluster: HeadNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few seconds: two actors that import torch, and a start of Ray Data. The token line warns only, because the tests' cluster has one node."""
    (tmp_path / "shards" / "train").mkdir(parents=True)
    pq.write_table(pa.table({"name": [str(number) for number in range(40)]}), tmp_path / "shards" / "train" / "part-00000.parquet")
    arguments = ["--shared", str(tmp_path), "--shards", str(tmp_path / "shards"), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    code = main([*arguments, "--json"])
    told = json.loads(capsys.readouterr().out)
    verdicts = {line["what"]: line["verdict"] for line in told["checks"]}
    [disk] = [line for line in told["checks"] if line["what"] == "disk"]
    assert f"below {ray_cluster.folder}/session_" in disk["found"], "where the head was told to put its sessions"
    assert told["address"].rpartition(":")[2] == ray_cluster.address.rpartition(":")[2]
    assert verdicts.keys() == {"versions", "GPUs", "disk", "object store", "clock", "token", "storage", "MLflow", "all-reduce", "first batch"}
    assert {verdicts[what] for what in ("versions", "GPUs", "clock", "storage", "MLflow")} == {"ok"}, told
    assert verdicts["all-reduce"] != "FAIL", told
    assert verdicts["first batch"] != "FAIL", told
    assert verdicts["token"] == "warn"
    assert code == int("FAIL" in verdicts.values())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [], "the marks are taken away again"

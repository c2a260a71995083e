import json
import threading
from pathlib import Path

import pytest

from cluster.spool import SendState, Spool


def test_records_come_back_in_order_with_their_places(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("params", {"values": {"größe": "1"}})
    spool.append("metrics", {"values": {"loss": float("nan")}, "step": 1})
    first, second = spool.read()
    assert (first.kind, first.content) == ("params", {"values": {"größe": "1"}})
    assert second.begin == first.end
    assert second.end == spool.size()
    assert [record.kind for record in spool.read(first.end)] == ["metrics"]


def test_a_line_cut_by_a_crash_swallows_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("tags", {"values": {}})
    with spool.records_file.open("a") as file:
        file.write('{"kind": "par')
    assert [record.kind for record in spool.read()] == ["tags"]
    spool.append("status", {"status": "FINISHED"})
    records = list(spool.read())
    assert [record.kind for record in records] == ["tags", "status"]
    assert records[-1].end == spool.size()


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    spool = Spool(tmp_path)

    def write(number: int) -> None:
        for step in range(50):
            spool.append("metrics", {"values": {f"m{number}": 1.0}, "step": step, "pad": "x" * 500})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(spool.read())) == 200


def test_kept_files_stay_as_they_were_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_bytes(b"123")
    kept = spool.keep(tmp_path / "bundle")
    (tmp_path / "bundle" / "weights").unlink()
    assert (spool.folder / kept / "weights").read_bytes() == b"123"
    spool.drop(kept)
    assert not (spool.folder / kept).exists()


def test_state_is_replaced_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.load_state() == SendState()
    spool.save_state(SendState(offset=7, run_id="r", versions={"3": 1}))
    assert Spool(tmp_path).load_state() == SendState(offset=7, run_id="r", versions={"3": 1})
    assert json.loads(spool.state_file.read_text())["offset"] == 7
    spool.state_file.write_text("")  # a power cut
    assert spool.load_state() == SendState()


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    with Spool(tmp_path).sending(), pytest.raises(BlockingIOError), Spool(tmp_path).sending():
        pass

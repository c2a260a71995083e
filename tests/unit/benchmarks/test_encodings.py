"""The table of encodings is made of any recording."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.benchmarks import encodings
from tests.unit.models.media.videos import numbered, write_video


def test_a_row_for_each_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(encodings, "AT_LEAST_S", 0.0)
    video = write_video(tmp_path / "clip.mp4", numbered(12))
    assert encodings.main([str(video), "--encoding", "png", "--encoding", "jpeg=50", "--encoding", "h264"]) == 0
    told = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["png 1 (its default)", "jpeg 50", "h264 16 (its default)"]
    assert rows[0][2] == "exact"
    assert all(20 < float(row[2]) < 60 for row in rows[1:])
    assert all(0 < float(cell.replace(",", "")) < math.inf for row in rows for cell in (row[1], *row[3:]))


def test_what_cannot_be_measured_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    assert encodings.main([str(tmp_path / "text.mp4")]) == 2
    assert "is no video" in capsys.readouterr().err
    for wrong in ("gif", "h264=99", "jpeg=²"):
        with pytest.raises(SystemExit):
            encodings.main(["clip.mp4", "--encoding", wrong])
        assert f"{wrong!r} is no encoding; there are png=0..9, jpeg=0..100, webp=0..100, h264=0..51" in capsys.readouterr().err

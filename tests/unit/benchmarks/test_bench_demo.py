"""Figures of the demo, from the summary that it writes."""

from __future__ import annotations

from tests.benchmarks.bench_demo import figures_of, foreseen


def test_a_summary_becomes_figures() -> None:
    summary = {
        "test_wer": 12.5,
        "test_wer_by_head": {"ensemble": 12.5, "fuse": 14.0},
        "glosses": 28,
        "beam_width": 5,
        "seconds": {"shards": 20.0, "training": 300.4},
        "peak_memory_gb": 3.2,
    }
    learned, took, held = figures_of(summary)
    assert (learned.median, learned.met, learned.note) == (12.5, True, "28 glosses, unseen sentences, beam 5: ensemble 12.5, fuse 14.0")
    assert (took.median, took.met, took.note) == (320.4, True, "shards 20, training 300")
    assert (held.median, held.met) == (3.2, True)


def test_what_the_dry_run_told() -> None:
    figure = foreseen("object store 75 MiB\ntime         00:05:10 expected (0.09 hours): 0.5 s a step here", 300.0)
    assert (round(figure.median, 3), figure.note) == (1.033, "310 over 300 s")

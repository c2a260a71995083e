"""The whole main job on generated signing: shards, training on two Ray workers, evaluation, the model registry.

python workloads/demo.py             what `make demo` runs; a second run re-uses what is there
python workloads/demo.py --toy       the same in a minute, with sizes that learn nothing (the tests run it so)
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from models.bundle import Bundle
from workloads.demo_stages import SUMMARY, Summary, registry_text, rounded, run_demo, train_demo
from workloads.entry import run_entry_point

TOY = (
    "data.synthetic={glosses: 10, num_train: 16, num_dev: 4, num_test: 4, num_signer_independent: 2, num_signers: 2, max_glosses: 4, fps: 12.5}",
    "train.epochs=1",
    "network.blocks=[[4, 4, 1, 7, 2], [4, 4, 1, 3, 2]]",
    "network.head={hidden_size: 16, ff_size: 16}",
    "samples=1",
)
SHOWN = 3  # clips that are printed
EXPECTED_WER = 25.0  # %, of the ensemble on unseen sentences


def main(arguments: list[str] | None = None) -> int:
    return run_demo(arguments, demo, print_end, prog="demo.py", about=__doc__)


def demo(root: Path, *, toy: bool) -> tuple[int, Summary]:
    """All stages; returns the exit status and the summary."""
    name = "demo-toy" if toy else "demo"
    code, summary, bundle = train_demo("demo", root, name, TOY if toy else ())
    if bundle is None:
        return code, summary
    assert isinstance(bundle, Bundle)
    summary.update(dev_wer=rounded(bundle.metrics["dev_wer"]), toy=toy)
    with summary.stage("evaluation"):
        evaluate_splits(bundle, Path(summary.values["shards"]), Path(summary.values["run"]), summary)
    return 0, summary


def evaluate_splits(bundle: Bundle, shards: Path, folder: Path, summary: Summary) -> None:
    """WER of unseen sentences, of known signers (test) and of one who was never seen, by beam search."""
    from workloads.evaluate import evaluate
    from workloads.scoring import Evaluation
    from workloads.shards import ShardSet

    shard_set = ShardSet.open(shards)
    test, unseen = (evaluate(bundle, shard_set, split, out=folder / "evaluation" / split) for split in ("test", "signer_independent"))
    assert isinstance(test, Evaluation)
    assert isinstance(unseen, Evaluation)
    clips = [
        {"name": clip.name, "reference": " ".join(clip.reference), "hypothesis": " ".join(clip.hypotheses[test.head]), "confidence": round(clip.confidence, 3)}
        for clip in test.clips[:: max(1, len(test.clips) // SHOWN)][:SHOWN]
    ]
    summary.update(
        test_wer=round(test.wer[test.head], 2),
        test_wer_by_head=rounded(test.wer),
        signer_independent_wer_by_head=rounded(unseen.wer),
        beam_width=test.decoding.beam_width,
        clips=clips,
    )


def print_end(summary: Summary) -> None:
    """The WER table, recognised clips, where things lie, and what to try next."""
    from rich.console import Console
    from rich.table import Table

    values, console = summary.values, Console(highlight=False, soft_wrap=True)
    run = Path(values["run"])
    for clip in values["clips"]:
        console.print(
            f"\n{clip['name']}  (confidence {clip['confidence']:.2f})\n  reference   {clip['reference']}\n  recognised  {clip['hypothesis'] or '(nothing)'}"
        )
    seconds = "  ".join(f"{name} {value:.0f} s" for name, value in values["seconds"].items())
    console.print(f"\ntime: {seconds}; peak memory {values['peak_memory_gb']:.1f} GB")
    console.print(f"run {run}\n  plots {run / 'plots'}\n  bundle {run / 'bundle'}\n  every figure {run / SUMMARY}\n  registry {registry_text(summary)}")
    console.print(
        "next:\n"
        f"  .venv/bin/python workloads/predict.py --bundle {run / 'bundle'} {run / 'bundle' / 'samples'}/*.npz\n"
        f"  .venv/bin/python workloads/evaluate.py --bundle {run / 'bundle'} --shards {values['shards']} --split signer_independent\n"
        "  make ui       # the run's plots, the registry\n"
        "  make serve    # this bundle over HTTP\n"
        "  .venv/bin/python workloads/train.py --recipe mska_slr_small --set data.shards=SHARDS    # your own corpus: see README.md\n"
    )
    table = Table(title=f"WER in %, {values['glosses']} glosses of generated signing, unseen sentences, beam {values['beam_width']}")
    for column, justify in (("split", "left"), *((head, "right") for head in values["test_wer_by_head"])):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    rows = {"dev (beam 1)": values["dev_wer"], "test": values["test_wer_by_head"], "signer_independent": values["signer_independent_wer_by_head"]}
    for split, scores in rows.items():
        table.add_row(split, *(f"{scores[head]:.1f}" for head in values["test_wer_by_head"]))
    console.print(table)
    if not values["toy"] and values["test_wer"] > EXPECTED_WER:
        console.print(f"the test WER is above {EXPECTED_WER:g} %, which this demo should reach: please report it with {run / SUMMARY}")


if __name__ == "__main__":
    run_entry_point(main)

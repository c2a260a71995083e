"""Translation on generated signing: a corpus, a small language model, then a recogniser, gloss-to-text and their joint training; BLEU on unseen sentences.

python workloads/demo_slt.py             what `make demo-slt` runs; a second run re-uses what is there
python workloads/demo_slt.py --toy       the same with sizes that learn nothing (the tests run it so)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workloads.demo_stages import SUMMARY, Summary, run_demo
from workloads.entry import run_entry_point

NAME = "demo_slt"
TOY_CORPUS = "{glosses: 10, num_train: 12, num_dev: 3, num_test: 3, num_signer_independent: 0, num_signers: 2, max_glosses: 4, fps: 10"
TOY_RECOGNISER = "{blocks: [[4, 4, 1, 7, 2], [4, 4, 1, 3, 2]], head: {hidden_size: 16, ff_size: 16}}"
TOY = (
    f"recogniser.data.synthetic={TOY_CORPUS}}}",
    f"g2t.data.synthetic={TOY_CORPUS}, pairs: 20}}",
    f"joint.data.synthetic={TOY_CORPUS}}}",
    f"recogniser.network={TOY_RECOGNISER}",
    "g2t.train.batch_size=4",
    "joint.samples=1",
    *(f"{stage}.train.{setting}" for stage in ("recogniser", "g2t", "joint") for setting in ("epochs=1", "num_workers=0")),
)
WIDTH, LAYERS, PIECES = 64, 2, 160  # of the small language model
SHOWN = 3


def main(arguments: list[str] | None = None) -> int:
    return run_demo(arguments, demo, print_end, prog="demo_slt.py", about=__doc__)


def demo(root: Path, *, toy: bool) -> tuple[int, Summary]:
    """All stages; returns the exit status and the summary."""
    from workloads.chain import load_chain, run_chain
    from workloads.training.folders import BUNDLE

    name = f"{NAME}-toy" if toy else NAME
    folder, data = root / "runs" / name, root / "data" / name
    summary = Summary.open(folder / SUMMARY)
    paths = {"recogniser": data, "g2t": data.with_name(f"{name}_pairs"), "joint": data}
    language = data.with_name(f"{name}_language")
    settings = [*(f"{stage}.data.shards={path}" for stage, path in paths.items()), f"g2t.init.translator={language}", *(TOY if toy else ())]
    if not (language / "report.json").exists():
        with summary.stage("corpus and language model"):
            make_language_model(settings, paths["g2t"], language, summary)
    with summary.stage("training"):
        code = run_chain(load_chain(NAME), folder, settings)
    if code:
        return code, summary
    summary.update(run=str(folder), shards=str(data), toy=toy, bundle=str(folder / "joint" / BUNDLE))
    with summary.stage("evaluation"):
        evaluate_split(folder / "joint" / BUNDLE, data, folder, summary)
    return 0, summary


def make_language_model(settings: Sequence[str], pairs: Path, out: Path, summary: Summary) -> None:
    """Gloss–text pairs of the grammar, a small mBART with random weights, pruned to the pairs as a downloaded one would be to a corpus."""
    from models.translation.config import MbartOptions
    from models.translation.small import save_small_mbart
    from workloads.prune_mbart import prune_mbart
    from workloads.recipe import load_recipe
    from workloads.shards import ShardSet
    from workloads.training.preflight import generate_shards

    own = [text.removeprefix("g2t.") for text in settings if text.startswith("g2t.")]
    recipe = load_recipe(f"{NAME}_g2t", own)
    generate_shards(recipe)
    shards = ShardSet.open(pairs)
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in (("layers", LAYERS), ("attention_heads", 4), ("ffn_dim", 2 * WIDTH))}
    options = MbartOptions.model_validate({"d_model": WIDTH, "max_position_embeddings": 128, **sides})
    full = out.with_name(f"{out.name}_full")
    save_small_mbart(full, [row.text for row in shards.index("train") if row.text], options, num_pieces=PIECES, seed=0)
    summary.update(language_model=prune_mbart(full, [shards], language="de_DE", out=out))


def evaluate_split(bundle_folder: Path, shards: Path, folder: Path, summary: Summary) -> None:
    """BLEU of unseen sentences, beside the best that can be had without looking at the input."""
    from models.bundle import load_bundle
    from models.metrics.translation import score_translations
    from workloads.evaluate import evaluate
    from workloads.scoring import Evaluation
    from workloads.shards import ShardSet

    shard_set = ShardSet.open(shards)
    evaluation = evaluate(load_bundle(bundle_folder), shard_set, "test", out=folder / "evaluation" / "test")
    assert isinstance(evaluation, Evaluation)
    assert evaluation.texts is not None
    scores, clips = evaluation.texts.answer, evaluation.texts.clips
    blind = blind_text(shard_set)
    ignoring = score_translations([clip.reference for clip in clips], [blind] * len(clips), evaluation.texts.preset)
    summary.update(
        test_bleu4=round(scores.bleu.bleu4, 2),
        test_rouge_l=round(scores.rouge_l, 2),
        test_chrf=round(scores.chrf.score, 2),
        test_wer=round(evaluation.wer[evaluation.head], 2),
        convention=scores.preset.name,
        blind_text=blind,
        blind_bleu4=round(ignoring.bleu.bleu4, 2),
        blind_rouge_l=round(ignoring.rouge_l, 2),
        blind_chrf=round(ignoring.chrf.score, 2),
        clips=[{"name": clip.name, "reference": clip.reference, "text": clip.text} for clip in clips[:: max(1, len(clips) // SHOWN)][:SHOWN]],
    )


def blind_text(shards: object) -> str:
    """The sentence of train that scores best on dev when it is said of every clip: what a translation is worth that ignores its input."""
    from models.metrics.translation import preset_of, score_translations
    from workloads.shards import ShardSet

    assert isinstance(shards, ShardSet)
    dev = [row.text for row in shards.index("dev") if row.text]
    candidates = dict.fromkeys(row.text for row in shards.index("train") if row.text)
    preset = preset_of(shards.corpus.corpus)
    return max(list(candidates)[:100], key=lambda text: score_translations(dev, [text] * len(dev), preset).bleu.bleu4)


def print_end(summary: Summary) -> None:
    """Translated clips, the scores beside those of a translation that ignores its input, where things lie."""
    from rich.console import Console
    from rich.table import Table

    values, console = summary.values, Console(highlight=False, soft_wrap=True)
    for clip in values["clips"]:
        console.print(f"\n{clip['name']}\n  reference   {clip['reference']}\n  translated  {clip['text'] or '(nothing)'}", markup=False)
    table = Table("test, unseen sentences", "BLEU-4", "ROUGE-L", "chrF", title=f"Translation, convention {values['convention']}", title_justify="left")
    table.add_row("this demo", *(f"{values[f'test_{name}']:.1f}" for name in ("bleu4", "rouge_l", "chrf")))
    table.add_row("one sentence for every clip", *(f"{values[f'blind_{name}']:.1f}" for name in ("bleu4", "rouge_l", "chrf")))
    console.print(table)
    seconds = values["seconds"]
    console.print(f"glosses: test WER {values['test_wer']:.1f} %; {sum(seconds.values()):.0f} s in all, peak memory {values['peak_memory_gb']} GB")
    console.print(f"translate: python workloads/predict.py --bundle {values['bundle']} {values['bundle']}/samples/*.npz", markup=False)


if __name__ == "__main__":
    run_entry_point(main)

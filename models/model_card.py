"""The model card of a bundle, as Markdown: what it is, what it learned from, how well it does, where it ends, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.bundle_record import BundleRecord
from models.class_map import ClassMap
from models.decoding.options import DecodingOptions
from models.options import AnswerOptions
from models.vocabulary import Vocabulary

WER_MEANS = (
    "Word error rates (`wer`) are in percent: substitutions, deletions and insertions over the references' glosses, sums over the split first;\n"
    "aligned at the costs 4, 3, 3; both sides cleaned by the rules `{cleanup}`."
)
TOP_K_MEANS = "Accuracies (`top1`, `top5`) are in percent of the clips whose sign was the likeliest, or among the five likeliest."


def model_card(record: BundleRecord, classes: Vocabulary | ClassMap, decoding: AnswerOptions, *, num_weights: int) -> str:
    """README.md of a bundle."""
    sections = {
        f"{record.system} on {record.corpus.name}": _summary(record, classes, num_weights),
        "Data": _data(record, classes),
        "Scores": _scores(record, decoding),
        "Limits": _limits(record, decoding),
        "How to use": _usage(record),
    }
    return sections_as_text(sections)


def sections_as_text(sections: Mapping[str, str]) -> str:
    """Markdown of titled sections, the first title on top."""
    parts = [f"{'#' if number == 0 else '##'} {title}\n\n{text}\n" for number, (title, text) in enumerate(sections.items())]
    return "\n".join(parts)


def known(classes: Vocabulary | ClassMap) -> str:
    """How many glosses or signs there are."""
    return f"{len(classes):,} signs" if isinstance(classes, ClassMap) else f"{len(classes) - len(classes.special_ids):,} glosses"


def _summary(record: BundleRecord, classes: Vocabulary | ClassMap, num_weights: int) -> str:
    sign, sentence = "Isolated sign recognition: keypoints of one sign in, its name out", "keypoints of a signer in, a sequence of glosses out"
    what = sign if record.task == "islr" else f"Continuous sign language recognition: {sentence}"
    return f"{what} ({known(classes)}).\n{num_weights / 1e6:.2f} million weights in float32, written by signray {record.signray}."


def _data(record: BundleRecord, classes: Vocabulary | ClassMap) -> str:
    corpus = record.corpus
    case = "" if isinstance(classes, ClassMap) else f", {'looked up in lower case' if corpus.lower_case else 'case-sensitive'}"
    lines = [f"- Corpus: {corpus.name}", f"- Licence of the data: {corpus.licence}", f"- Vocabulary: {known(classes)}{case}"]
    if corpus.extractors:
        lines.append(f"- Keypoints estimated by: {', '.join(corpus.extractors)}")
    if corpus.checksum:
        lines.append(f"- Checksum of the shards: `{corpus.checksum}`")
    return "\n".join(lines) + "\n\nWhat the data's licence forbids, it forbids for this network, too."


def _scores(record: BundleRecord, decoding: AnswerOptions) -> str:
    table = metrics_table(record.metrics)
    if not table:
        return "None were recorded: run `workloads/evaluate.py` on a split that the network has not seen."
    if not isinstance(decoding, DecodingOptions):
        return f"{table}\n\n{TOP_K_MEANS}"
    search = "greedy decoding" if decoding.method == "greedy" else f"CTC beam search of width {decoding.beam_width}"
    merged = ", adjacent repeats merged" if decoding.merge_repeats else ""
    return f"{table}\n\n{WER_MEANS.format(cleanup=record.corpus.cleanup)}\nThe head `{decoding.head}` answers, by {search}{merged}."


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Markdown table of nested metrics; empty where there are none."""
    rows = list(_flat(metrics))
    return "\n".join(["| metric | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]) if rows else ""


def _limits(record: BundleRecord, decoding: AnswerOptions) -> str:
    doubtful = "of a confidence" if record.task == "islr" else "whose glosses have a mean confidence"
    return "\n".join(
        [
            f"- It knows the signs of {record.corpus.name} and no others: a sign outside its vocabulary is answered by one inside.",
            "- Its scores hold for recordings like those of the corpus: other signers, cameras, keypoint estimators and sign languages lower them.",
            f"- An answer {doubtful} below {decoding.low_confidence:g} is marked as of low confidence; "
            "a confidence is the network's own estimate, not a measured rate.",
            "- Glosses and signs' names are labels, not a translation.",
        ]
    )


def _usage(record: BundleRecord) -> str:
    keypoints = record.inputs.get("num_keypoints")
    layout = " in the order of COCO-WholeBody" if keypoints == 133 else ""
    points = f" of {keypoints} points{layout}" if keypoints else ""
    answer = "label" if record.task == "islr" else "words"
    return (
        f"It takes keypoint files (`.npz`, `.pose`){points}: x, y in pixels and a confidence for each frame.\n\n"
        "```\npython workloads/predict.py --bundle THIS_FOLDER clip.npz\n"
        "python workloads/evaluate.py --bundle THIS_FOLDER --shards SHARDS --split test\n```\n\n"
        "```python\nfrom pathlib import Path\n\nfrom models.bundle import load_bundle\n\nrecogniser = load_bundle(Path(THIS_FOLDER)).recogniser()\n"
        f"for recognition in recogniser.recognise(clips):\n    print(recognition.name, recognition.answer.{answer}, recognition.confidence)\n```"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)

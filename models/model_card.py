"""The model card of a bundle, as Markdown: what it is, what it learned from, how well it does, where it ends, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.bundle_record import BundleRecord
from models.vocabulary import Vocabulary


def model_card(record: BundleRecord, vocabulary: Vocabulary, *, num_weights: int) -> str:
    """README.md of a bundle."""
    num_glosses = len(vocabulary) - len(vocabulary.special_ids)
    sections = {
        f"{record.system} on {record.corpus.name}": _summary(record, num_glosses, num_weights),
        "Data": _data(record, num_glosses),
        "Scores": _scores(record),
        "Limits": _limits(record),
        "How to use": _usage(record),
    }
    parts = [f"{'#' if number == 0 else '##'} {title}\n\n{text}\n" for number, (title, text) in enumerate(sections.items())]
    return "\n".join(parts)


def _summary(record: BundleRecord, num_glosses: int, num_weights: int) -> str:
    return (
        f"Continuous sign language recognition: keypoints of a signer in, a sequence of glosses out ({num_glosses:,} glosses).\n"
        f"{num_weights / 1e6:.2f} million weights in float32, written by signray {record.signray}."
    )


def _data(record: BundleRecord, num_glosses: int) -> str:
    corpus = record.corpus
    case = "looked up in lower case" if corpus.lower_case else "case-sensitive"
    lines = [f"- Corpus: {corpus.name}", f"- Licence of the data: {corpus.licence}", f"- Vocabulary: {num_glosses:,} glosses, {case}"]
    if corpus.checksum:
        lines.append(f"- Checksum of the shards: `{corpus.checksum}`")
    return "\n".join(lines) + "\n\nWhat the data's licence forbids, it forbids for this network, too."


def _scores(record: BundleRecord) -> str:
    rows = list(_flat(record.metrics))
    if not rows:
        return "None were recorded: run `workloads/evaluate.py` on a split that the network has not seen."
    table = "\n".join(["| metric | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    decoding = record.decoding
    search = "greedy decoding" if decoding.method == "greedy" else f"CTC beam search of width {decoding.beam_width}"
    merged = ", adjacent repeats merged" if decoding.merge_repeats else ""
    return (
        f"{table}\n\n"
        "Word error rates (`wer`) are in percent: substitutions, deletions and insertions over the references' glosses, sums over the split first;\n"
        f"aligned at the costs 4, 3, 3; both sides cleaned by the rules `{record.corpus.cleanup}`.\n"
        f"The head `{record.decoding.head}` answers, by {search}{merged}."
    )


def _limits(record: BundleRecord) -> str:
    return "\n".join(
        [
            f"- It knows the signs of {record.corpus.name} and no others: a sign outside its vocabulary is answered by one inside.",
            "- Its scores hold for recordings like those of the corpus: other signers, cameras, keypoint estimators and sign languages lower them.",
            f"- An answer whose glosses have a mean confidence below {record.decoding.low_confidence:g} is marked as of low confidence; "
            "a confidence is the network's own estimate, not a measured rate.",
            "- Glosses are labels of signs, not a translation.",
        ]
    )


def _usage(record: BundleRecord) -> str:
    keypoints = record.inputs.get("num_keypoints")
    layout = " in the order of COCO-WholeBody" if keypoints == 133 else ""
    points = f" of {keypoints} points{layout}" if keypoints else ""
    return (
        f"It takes keypoint files (`.npz`, `.pose`){points}: x, y in pixels and a confidence for each frame.\n\n"
        "```\npython workloads/predict.py --bundle THIS_FOLDER clip.npz\n"
        "python workloads/evaluate.py --bundle THIS_FOLDER --shards SHARDS --split test\n```\n\n"
        "```python\nfrom pathlib import Path\n\nfrom models.bundle import load_bundle\n\nrecogniser = load_bundle(Path(THIS_FOLDER)).recogniser()\n"
        "for recognition in recogniser.recognise(clips):\n    print(recognition.name, recognition.answer.words, recognition.confidence)\n```"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)

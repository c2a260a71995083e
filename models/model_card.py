"""The model card of a bundle, as Markdown: what it is, what it learned from, how well it does, where it ends, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.answering import modalities_of
from models.bundle_record import BundleRecord
from models.class_map import ClassMap
from models.decoding.options import DecodingOptions
from models.inputs.inputs import Inputs, Modality
from models.options import AnswerOptions
from models.translation.options import TranslationDecodingOptions
from models.vocabulary import Vocabulary

WER_MEANS = (
    "Word error rates (`wer`) are in percent: substitutions, deletions and insertions over the references' glosses, sums over the split first;\n"
    "aligned at the costs 4, 3, 3; both sides cleaned by the rules `{cleanup}`."
)
TEXT_MEANS = "Scores of texts (`bleu4` among them) are from 0 to 100, by the corpus's own convention; more is better."
TOP_K_MEANS = "Accuracies (`top1`, `top5`) are in percent of the clips whose sign was the likeliest, or among the five likeliest."


def model_card(record: BundleRecord, classes: Vocabulary | ClassMap, decoding: AnswerOptions, inputs: Inputs, *, num_weights: int) -> str:
    """README.md of a bundle."""
    sections = {
        f"{record.system} on {record.corpus.name}": _summary(record, classes, decoding, inputs, num_weights),
        "Data": _data(record, classes, inputs),
        "Scores": _scores(record, decoding, inputs),
        "Limits": _limits(record, decoding, inputs),
        "How to use": _usage(record, decoding, inputs),
    }
    return sections_as_text(sections)


def sections_as_text(sections: Mapping[str, str]) -> str:
    """Markdown of titled sections, the first title on top."""
    parts = [f"{'#' if number == 0 else '##'} {title}\n\n{text}\n" for number, (title, text) in enumerate(sections.items())]
    return "\n".join(parts)


def known(classes: Vocabulary | ClassMap) -> str:
    """How many glosses or signs there are."""
    return f"{len(classes):,} signs" if isinstance(classes, ClassMap) else f"{len(classes) - len(classes.special_ids):,} glosses"


def purpose(classes: Vocabulary | ClassMap, modalities: Sequence[Modality], *, translates: bool) -> str:
    """What goes in and what comes out."""
    given = " and ".join({"frames": "pictures", "keypoints": "keypoints"}[modality] for modality in sorted(modalities))
    if translates:
        if not modalities:
            return "Gloss-to-text translation: glosses in, spoken-language text out"
        return f"Sign language translation: {given} of a signer in, spoken-language text and glosses out"
    if isinstance(classes, ClassMap):
        return f"Isolated sign recognition: {given} of one sign in, its name out"
    return f"Continuous sign language recognition: {given} of a signer in, a sequence of glosses out"


def commands(inputs: Sequence[Inputs]) -> str:
    """What may be given to it, and the commands; inputs: of the network, or of an ensemble's members."""
    modalities = modalities_of(inputs)
    layouts = [set(each.layouts) for each in inputs if "keypoints" in each.modalities]
    counts = sorted(set.intersection(*layouts)) if layouts else []
    points = f" of {' or '.join(map(str, counts))} points{' in the order of COCO-WholeBody' if counts == [133] else ''}" if counts else ""
    match modalities:
        case ("keypoints",):
            takes, clip = f"keypoint files (`.npz`, `.pose`){points}: x, y in pixels and a confidence for each frame", "clip.npz"
        case ("frames",):
            takes, clip = "videos, and folders of a clip's pictures", "clip.mp4"
        case ():
            takes, clip = "clips of shards, and reads their annotated glosses", ""
        case _:
            takes = f"a table of clips that names, in the columns `path` and `keypoints`, their video or folder of pictures and their keypoints{points}"
            clip = "--manifest clips.csv"
    predict = f"python workloads/predict.py --bundle THIS_FOLDER {clip}\n" if clip else ""
    return f"It takes {takes}.\n\n```\n{predict}python workloads/evaluate.py --bundle THIS_FOLDER --shards SHARDS --split test\n```"


def _summary(record: BundleRecord, classes: Vocabulary | ClassMap, decoding: AnswerOptions, inputs: Inputs, num_weights: int) -> str:
    what = purpose(classes, inputs.modalities, translates=isinstance(decoding, TranslationDecodingOptions))
    return f"{what} ({known(classes)}).\n{num_weights / 1e6:.2f} million weights in float32, written by signray {record.signray}."


def _data(record: BundleRecord, classes: Vocabulary | ClassMap, inputs: Inputs) -> str:
    corpus = record.corpus
    case = "" if isinstance(classes, ClassMap) else f", {'looked up in lower case' if corpus.lower_case else 'case-sensitive'}"
    lines = [f"- Corpus: {corpus.name}", f"- Licence of the data: {corpus.licence}", f"- Vocabulary: {known(classes)}{case}"]
    if corpus.extractors and "keypoints" in inputs.modalities:
        lines.append(f"- Keypoints estimated by: {', '.join(corpus.extractors)}")
    if corpus.checksum:
        lines.append(f"- Checksum of the shards: `{corpus.checksum}`")
    return "\n".join(lines) + "\n\nWhat the data's licence forbids, it forbids for this network, too."


def _scores(record: BundleRecord, decoding: AnswerOptions, inputs: Inputs) -> str:
    table = metrics_table(record.metrics)
    if not table:
        return "None were recorded: run `workloads/evaluate.py` on a split that the network has not seen."
    if not isinstance(decoding, DecodingOptions):
        return f"{table}\n\n{TOP_K_MEANS}"
    search = "greedy decoding" if decoding.method == "greedy" else f"CTC beam search of width {decoding.beam_width}"
    merged = ", adjacent repeats merged" if decoding.merge_repeats else ""
    parts = [table]
    if isinstance(decoding, TranslationDecodingOptions):
        parts.append(f"{TEXT_MEANS}\nA text is found by beam search of width {decoding.text.beam_width}.")
    if inputs.modalities:
        parts.append(f"{WER_MEANS.format(cleanup=record.corpus.cleanup)}\nThe head `{decoding.head}` answers, by {search}{merged}.")
    return "\n\n".join(parts)


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Markdown table of nested metrics; empty where there are none."""
    rows = list(_flat(metrics))
    return "\n".join(["| metric | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]) if rows else ""


def _limits(record: BundleRecord, decoding: AnswerOptions, inputs: Inputs) -> str:
    translates, corpus = isinstance(decoding, TranslationDecodingOptions), record.corpus.name
    fluent = "A text may read well and say something else than was signed."
    if not inputs.modalities:
        return f"- It knows the glosses of {corpus} and no others, and its scores hold for sentences like those of the corpus.\n- {fluent}"
    doubtful = "of a confidence" if record.task == "islr" else "whose glosses have a mean confidence"
    others = "cameras, keypoint estimators" if "keypoints" in inputs.modalities else "cameras"
    return "\n".join(
        [
            f"- It knows the signs of {corpus} and no others: a sign outside its vocabulary is answered by one inside.",
            f"- Its scores hold for recordings like those of the corpus: other signers, {others} and sign languages lower them.",
            f"- An answer {doubtful} below {decoding.low_confidence:g} is marked as of low confidence; "
            "a confidence is the network's own estimate, not a measured rate.",
            f"- {fluent}" if translates else "- Glosses and signs' names are labels, not a translation.",
        ]
    )


def _usage(record: BundleRecord, decoding: AnswerOptions, inputs: Inputs) -> str:
    answer = "answer.label" if record.task == "islr" else "texts[0].text" if isinstance(decoding, TranslationDecodingOptions) else "answer.words"
    return (
        f"{commands([inputs])}\n\n"
        "```python\nfrom pathlib import Path\n\nfrom models.bundle import load_bundle\n\nrecogniser = load_bundle(Path(THIS_FOLDER)).recogniser()\n"
        f"for recognition in recogniser.recognise(clips):\n    print(recognition.name, recognition.{answer}, recognition.confidence)\n```"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)

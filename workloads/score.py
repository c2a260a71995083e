"""Score two files of sentences, hypotheses against references: glosses as sclite and the published programs count them, or translations.

    python workloads/evaluate.py score --hyp out.ctm --ref phoenix2014-T-groundtruth-test.stm --corpus phoenix2014t
    python workloads/evaluate.py score --hyp mine.jsonl --ref test.tsv --corpus phoenix2014t --compare baseline.jsonl
    python workloads/evaluate.py score --hyp mine.tsv --ref test.tsv --corpus csl_daily --task translation --format json

Needs neither a bundle nor Ray. Files are CTM, STM, TSV or JSONL, in any mix (workloads/file_scoring/sentence_files.py says how they look); what is
missing, doubled or unreadable in them is told on stderr and, with --strict, ends in exit status 2.

Intervals are of resampled sentences. --compare: p is the probability of a difference at least as large if each sentence's two answers were
dealt to the runs by chance; a small p says that these sentences tell the runs apart, a large one that they don't, not that the runs are equal.
Neither knows what another training seed would have given.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.entry import USER_ERROR
from models.metrics.conventions import CONVENTIONS, CORPORA, Convention, corpus_named
from models.metrics.significance import NUM_RESAMPLES
from workloads.entry import run_entry_point
from workloads.file_scoring.glosses import GlossScore, score_glosses
from workloads.file_scoring.pairing import PairedSentences, pair_sentences
from workloads.file_scoring.sentence_files import FORMATS, Problem, SentenceFile, read_sentences, write_ctm, write_stm

if TYPE_CHECKING:
    from workloads.file_scoring.texts import TextScore

FIELDS = {
    ("hyp", "recognition"): ("hypothesis", "hypotheses", "prediction", "sentence", "glosses", "gloss", "text"),
    ("ref", "recognition"): ("reference", "gloss", "glosses", "orth", "annotation", "sentence", "text"),
    ("hyp", "translation"): ("hypothesis", "hypotheses", "prediction", "translation", "text", "sentence"),
    ("ref", "translation"): ("reference", "text", "translation", "sentence"),
}
TEXT_PRESETS = ("phoenix2014t", "csl_daily", "13a", "zh")
MOST_TOLD = 10  # messages of a kind on stderr; --format json has them all


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.compare and not given.resamples:
        parser.error("--compare needs --resamples above 0: the difference of two runs says nothing without its interval")
    if given.task == "translation" and (given.convention or given.alignments or given.export):
        parser.error("--convention, --alignments and --export are of glosses, not of --task translation (--preset is)")
    if given.task == "recognition" and given.preset:
        parser.error("--preset is of --task translation (--convention is of glosses)")
    if given.export and given.export.exists() and not given.export.is_dir():
        parser.error(f"--export {given.export} is a file, and a folder is expected")
    corpus = corpus_named(given.corpus)
    references = _read(given, given.ref, "ref")
    paired = [pair_sentences(_read(given, path, side), references) for path, side in ((given.hyp, "hyp"), (given.compare, "compare")) if path]
    for_sclite = {paired[0].format, references.format} <= {"ctm", "stm"}
    score: GlossScore | TextScore = _texts(given, corpus, paired) if given.task == "translation" else _glosses(given, corpus, paired, for_sclite)
    problems = list(dict.fromkeys([*references.problems, *(problem for side in paired for problem in side.problems), *score.problems]))
    if given.strict and problems:
        _tell(problems, "error", limit=len(problems))
        return USER_ERROR
    _tell(problems, "warning", limit=MOST_TOLD)
    if given.format == "json":
        print(json.dumps({**score.record(), "problems": [{"kind": problem.kind, "text": problem.text} for problem in problems]}, ensure_ascii=False, indent=1))
    else:
        print("\n".join(score.lines()))
    return 0


def _glosses(given: argparse.Namespace, corpus: str, paired: Sequence[PairedSentences], for_sclite: bool) -> GlossScore:
    convention: Convention = given.convention or ("sclite" if for_sclite else "wer_list")
    score = score_glosses(paired, corpus, convention, num_resamples=given.resamples, seed=given.seed, with_alignments=given.alignments)
    if given.export:
        given.export.mkdir(parents=True, exist_ok=True)
        names = [pair.name for pair in paired[0].pairs]
        write_ctm(given.export / "hypotheses.ctm", dict(zip(names, score.hypotheses, strict=True)))
        write_stm(given.export / "references.stm", dict(zip(names, score.references, strict=True)), {pair.name: pair.signer for pair in paired[0].pairs})
    return score


def _texts(given: argparse.Namespace, corpus: str, paired: Sequence[PairedSentences]) -> TextScore:
    from workloads.file_scoring.texts import score_texts  # sacrebleu is slow to import, and glosses don't need it

    return score_texts(paired, corpus, given.preset, num_resamples=given.resamples, seed=given.seed)


def _read(given: argparse.Namespace, path: Path, side: str) -> SentenceFile:
    own_field, own_format = getattr(given, f"{'ref' if side == 'ref' else 'hyp'}_field"), getattr(given, f"{side}_format")
    return read_sentences(path, fields=(own_field,) if own_field else FIELDS["ref" if side == "ref" else "hyp", given.task], file_format=own_format)


def _tell(problems: Sequence[Problem], level: str, *, limit: int) -> None:
    """The problems on stderr, at most `limit` of a kind."""
    told: Counter[str] = Counter()
    for problem in problems:
        told[problem.kind] += 1
        if told[problem.kind] <= limit:
            print(f"{level}: {' '.join(problem.text.split())}", file=sys.stderr)
    for kind, count in told.items():
        if count > limit:
            print(f"{level}: and {count - limit:,} more of the kind {kind.replace('_', ' ')} (--format json lists all)", file=sys.stderr)


def _not_negative(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError("0 or more was expected")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate.py score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hyp", required=True, type=Path, metavar="FILE", help="hypotheses: .ctm, .stm, .tsv or .jsonl (predictions.jsonl of evaluate.py, too)"
    )
    parser.add_argument("--ref", required=True, type=Path, metavar="FILE", help="references, in any of these formats")
    parser.add_argument("--corpus", required=True, metavar="NAME", help=f"whose rules apply: {', '.join(CORPORA)}")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="hypotheses of another run on the same clips: difference, its interval, paired test")
    parser.add_argument(
        "--task", choices=["recognition", "translation"], default="recognition", help="glosses by WER (default), or texts by BLEU, ROUGE-L, chrF"
    )
    parser.add_argument("--text", dest="task", action="store_const", const="translation", help="the same as --task translation")
    parser.add_argument("--convention", choices=CONVENTIONS, help="how glosses are cleaned (default: sclite for CTM and STM, else wer_list)")
    parser.add_argument("--preset", choices=TEXT_PRESETS, help="how texts become tokens (default: the corpus's published one, else 13a of sacrebleu)")
    parser.add_argument("--strict", action="store_true", help="anything missing, doubled, malformed or undecodable in the files is an error: exit status 2")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="what is printed (default: table)")
    parser.add_argument("--alignments", action="store_true", help="every sentence, too: aligned (table), or as compared with its counts (json)")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write what was compared as hypotheses.ctm and references.stm, for sclite itself")
    parser.add_argument(
        "--resamples", type=_not_negative, default=NUM_RESAMPLES, metavar="N", help=f"of bootstrap and test; 0: none (default: {NUM_RESAMPLES})"
    )
    parser.add_argument("--seed", type=_not_negative, default=0, help="of the resampling (default: 0)")
    parser.add_argument("--hyp-field", metavar="NAME", help="column, key, or head in predictions.jsonl, with the hypothesis (default: the first that fits)")
    parser.add_argument("--ref-field", metavar="NAME", help="column or key with the reference (default: the first that fits)")
    for side in ("hyp", "ref", "compare"):
        parser.add_argument(f"--{side}-format", choices=FORMATS, help=f"format of --{side} (default: by its ending)")
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))

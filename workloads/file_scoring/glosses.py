"""Word errors of a file of hypotheses, with everything that its reader should know: convention, interval, speakers, lengths, confusions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.metrics.conventions import CONVENTIONS, DESCRIPTIONS, Convention, Tokens, both_sides
from models.metrics.significance import Comparison, Interval, bootstrap, compare, wer_rate, wer_statistics
from models.metrics.wer import WordErrors, confused_pairs, errors_by_length, errors_by_sentence, word_errors
from workloads.file_scoring.figures import comparison_line, counts, interval_text, length_name
from workloads.file_scoring.pairing import PairedSentences
from workloads.file_scoring.sclite_table import alignment_lines, summary_table
from workloads.file_scoring.sentence_files import Problem

MOST_CONFUSED = 10
NO_SIGNER = "(not stated)"


@dataclass(frozen=True, kw_only=True)
class GlossScore:
    """A file of hypotheses as scored. references, hypotheses: the tokens that were compared; other_wer: the rate by the other conventions.

    interval: None where no resampling was asked for. comparison: with the other run of `--compare`.
    """

    paired: PairedSentences
    corpus: str
    convention: Convention
    references: list[Tokens]
    hypotheses: list[Tokens]
    sentences: list[WordErrors]
    interval: Interval | None
    other_wer: Mapping[Convention, float]
    comparison: Comparison | None
    other_run: PairedSentences | None
    with_alignments: bool
    problems: tuple[Problem, ...]

    @property
    def total(self) -> WordErrors:
        return sum(self.sentences, WordErrors())

    @property
    def by_signer(self) -> dict[str, list[WordErrors]]:
        """Counts of each signer's sentences, by name."""
        table: defaultdict[str, list[WordErrors]] = defaultdict(list)
        for pair, errors in zip(self.paired.pairs, self.sentences, strict=True):
            table[pair.signer or NO_SIGNER].append(errors)
        return dict(sorted(table.items()))

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Reference gloss, recognised gloss, how often; the most frequent first, ties by name."""
        pairs = confused_pairs(self.references, self.hypotheses)
        return sorted(((reference, hypothesis, count) for (reference, hypothesis), count in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))

    def record(self) -> dict[str, Any]:
        """Everything as plain values."""
        record = {
            "task": "recognition",
            "corpus": self.corpus,
            "convention": self.convention,
            "convention_description": DESCRIPTIONS[self.convention],
            "hypotheses": str(self.paired.path),
            "num_sentences": len(self.sentences),
            "num_sentences_with_errors": sum(errors.errors > 0 for errors in self.sentences),
            **counts(self.total),
            "interval": self.interval and asdict(self.interval),
            "wer_by_other_conventions": dict(self.other_wer),
            "signers": {signer: counts(sum(sentences, WordErrors())) for signer, sentences in self.by_signer.items()},
            "lengths": [{"from": low, "to": high, **counts(errors)} for (low, high), errors in self._lengths().items()],
            "confused_pairs": [{"reference": reference, "recognised": hypothesis, "count": count} for reference, hypothesis, count in self.confused],
            "comparison": self._comparison_record(),
        }
        return {**record, "sentences": list(map(self._sentence_record, range(len(self.sentences))))} if self.with_alignments else record

    def lines(self) -> Iterator[str]:
        """The report for a terminal."""
        yield from summary_table(str(self.paired.path), self.by_signer)
        yield f"convention: {self.convention} ({DESCRIPTIONS[self.convention]}), corpus {self.corpus}"
        total = self.total
        yield f"WER {total.rate:.2f} %{interval_text(self.interval)}"
        yield f"{total.errors:,} errors in {total.reference_tokens:,} glosses of {len(self.sentences):,} sentences"
        yield f"by other conventions: {', '.join(f'{name} {rate:.2f} %' for name, rate in self.other_wer.items())}"
        rates = [f"{length_name(*bucket)}: {errors.rate:.2f} %" for bucket, errors in self._lengths().items() if errors.reference_tokens]
        yield f"by glosses in the reference: {', '.join(rates)}"
        if self.confused:
            yield f"most confused: {', '.join(f'{reference} → {hypothesis} ({count})' for reference, hypothesis, count in self.confused[:MOST_CONFUSED])}"
        if self.comparison and self.other_run:
            yield comparison_line("WER", self.comparison, str(self.paired.path), str(self.other_run.path))
        if self.with_alignments:
            yield ""
            for pair, reference, hypothesis, errors in zip(self.paired.pairs, self.references, self.hypotheses, self.sentences, strict=True):
                yield from alignment_lines(pair.name, reference, hypothesis, errors)

    def _lengths(self) -> dict[tuple[int, int | None], WordErrors]:
        return errors_by_length(self.references, self.hypotheses)

    def _comparison_record(self) -> dict[str, Any] | None:
        if self.comparison is None or self.other_run is None:
            return None
        return {"hypotheses": str(self.other_run.path), "wer": self.comparison.b, **asdict(self.comparison)}

    def _sentence_record(self, row: int) -> dict[str, Any]:
        sides = {"reference": " ".join(self.references[row]), "hypothesis": " ".join(self.hypotheses[row])}
        return {"name": self.paired.pairs[row].name, "signer": self.paired.pairs[row].signer, **sides, **counts(self.sentences[row])}


def score_glosses(
    runs: Sequence[PairedSentences], corpus: str, convention: Convention, *, num_resamples: int, seed: int = 0, with_alignments: bool = False
) -> GlossScore:
    """Score the first of one or two runs on the same references; the second is what it is compared with.

    Raises CorpusError where the references hold no gloss.
    """
    paired, *others = runs
    references, hypotheses = both_sides(paired.references, paired.hypotheses, corpus, convention)
    sentences = errors_by_sentence(references, hypotheses)
    _ = sum(sentences, WordErrors()).rate  # without a reference gloss there is nothing to report
    statistics, comparison = wer_statistics(sentences), None
    if others and num_resamples:
        other = wer_statistics(errors_by_sentence(*both_sides(others[0].references, others[0].hypotheses, corpus, convention)))
        comparison = compare(statistics, other, wer_rate, num_resamples=num_resamples, seed=seed)
    return GlossScore(
        paired=paired,
        corpus=corpus,
        convention=convention,
        references=references,
        hypotheses=hypotheses,
        sentences=sentences,
        interval=bootstrap(statistics, wer_rate, num_resamples=num_resamples, seed=seed) if num_resamples else None,
        other_wer=_other_wer(paired, corpus, convention),
        comparison=comparison,
        other_run=others[0] if others else None,
        with_alignments=with_alignments,
        problems=tuple(_empty_references(paired, references, convention)),
    )


def _other_wer(paired: PairedSentences, corpus: str, convention: Convention) -> dict[Convention, float]:
    """The rate by every other convention that leaves a gloss in the references."""
    found = {name: word_errors(*both_sides(paired.references, paired.hypotheses, corpus, name)) for name in CONVENTIONS if name != convention}
    return {name: errors.rate for name, errors in found.items() if errors.reference_tokens}


def _empty_references(paired: PairedSentences, references: Sequence[Tokens], convention: Convention) -> Iterator[Problem]:
    for pair, tokens in zip(paired.pairs, references, strict=True):
        if not tokens:
            why = f"its clean-up ({convention}) leaves nothing of {pair.reference!r}" if pair.reference.strip() else "it holds no gloss"
            yield Problem(kind="empty_reference", text=f"the reference of {pair.name} is empty: {why}; what was recognised counts as inserted")

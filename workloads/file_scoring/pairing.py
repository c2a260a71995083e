"""Hypotheses beside the references of the same name; what has no partner is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import CorpusError
from workloads.file_scoring.sentence_files import Format, Problem, SentenceFile


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sentence, both sides as they stand in their files; the hypothesis is empty where there is none."""

    name: str
    signer: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, kw_only=True)
class PairedSentences:
    """All references of a file in its order with the hypotheses of another. problems: of the hypotheses' file, and names without a partner."""

    path: Path
    format: Format
    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]

    @property
    def references(self) -> list[str]:
        return [pair.reference for pair in self.pairs]

    @property
    def hypotheses(self) -> list[str]:
        return [pair.hypothesis for pair in self.pairs]


def pair_sentences(hypotheses: SentenceFile, references: SentenceFile) -> PairedSentences:
    """Every reference is scored: without a hypothesis its glosses all count as missed. Raises CorpusError where no name is in both files."""
    found = hypotheses.sentences
    if not found.keys() & references.sentences.keys():
        names = f"{next(iter(found))!r} and {next(iter(references.sentences))!r}"
        raise CorpusError(f"{hypotheses.path} and {references.path} have no name in common: their first are {names}")
    pairs = tuple(
        Pair(name=name, signer=reference.signer, reference=reference.text, hypothesis=found[name].text if name in found else "")
        for name, reference in references.sentences.items()
    )
    return PairedSentences(
        path=hypotheses.path,
        format=hypotheses.format,
        pairs=pairs,
        problems=(*hypotheses.problems, *_without_partner(hypotheses, references)),
    )


def _without_partner(hypotheses: SentenceFile, references: SentenceFile) -> Iterator[Problem]:
    for name, reference in references.sentences.items():
        if name not in hypotheses.sentences:
            text = f"{hypotheses.path}: no hypothesis for {name} ({references.path}:{reference.line}): scored as empty"
            yield Problem(kind="missing_hypothesis", text=text)
    for name, hypothesis in hypotheses.sentences.items():
        if name not in references.sentences:
            text = f"{hypotheses.path}:{hypothesis.line}: no reference for {name} in {references.path}: not scored"
            yield Problem(kind="unknown_hypothesis", text=text)

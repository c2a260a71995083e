"""The task of a translator: BLEU-4 of its texts on dev, and beside it the other figures and the heads' word error rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.batch import Batch, Heads
from models.inputs.clip import Clip
from models.metrics.translation import preset_of, score_translations
from models.system import TEXT
from models.translation.config import GenerationOptions
from models.translation.recogniser import translations
from models.translation.tokens import TranslationTokens
from models.vocabulary import Vocabulary
from workloads.training.faults import some
from workloads.training.tasks import Answers, Metric, SentenceTask, Validation


@dataclass(frozen=True, kw_only=True)
class TranslationTask:
    """sentences: the recogniser's task; None where glosses are given (gloss-to-text). texts: of every dev clip that has one."""

    corpus: str
    vocabulary: Vocabulary
    sentences: SentenceTask | None
    tokens: TranslationTokens
    texts: Mapping[str, str]
    generation: GenerationOptions
    metric: Metric = "bleu4"
    class_counts: tuple[int, ...] = ()

    @property
    def classes(self) -> Vocabulary:
        return self.vocabulary

    def with_targets(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        """Texts, and glosses: to be recognised, or to be translated."""
        batch = self.tokens.with_texts(batch, clips)
        return self.sentences.with_targets(batch, clips) if self.sentences else self.tokens.with_glosses(batch, clips)

    def with_sources(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        return batch if self.sentences else self.tokens.with_glosses(batch, clips)

    def answers(self, names: Sequence[str], logits: Mapping[str, Tensor], lengths_B: Tensor) -> Answers:
        return self.sentences.answers(names, logits, lengths_B) if self.sentences else {name: {} for name in names}

    def translations(self, names: Sequence[str], network: nn.Module, heads: Heads, *, together: Callable[[bool], bool] = bool) -> Answers:
        found = translations(network, heads, self.tokens, self.generation, together=together)
        return {name: {TEXT: answers[0].text} for name, answers in zip(names, found, strict=True)}

    def score(self, answers: Answers) -> Validation:
        """BLEU-4 by the corpus's own convention; ROUGE-L, chrF and the heads' WER beside it."""
        names = [name for name in self.texts if name in answers]
        scores = score_translations([self.texts[name] for name in names], [answers[name][TEXT] for name in names], preset_of(self.corpus))
        beside = {"bleu1": scores.bleu.bleu1, "rouge_l": scores.rouge_l, "chrf": scores.chrf.score}
        if self.sentences:
            glosses = self.sentences.score({name: _heads(answer) for name, answer in answers.items()})
            beside |= {f"wer_{head}": rate for head, rate in glosses.scores.items()}
        silent = tuple(name for name in names if not answers[name][TEXT].strip())
        return Validation(metric=self.metric, scores={TEXT: scores.bleu.bleu4}, num_clips=len(names), silent=silent, beside=beside)

    def complaints(self, validation: Validation, head: str) -> list[str]:
        if len(validation.silent) == validation.num_clips:
            return [
                f"every text of {validation.num_clips} dev clips is empty ({some(validation.silent)}): train longer, or check optim.lr and the language model"
            ]
        return []


def _heads(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {head: glosses for head, glosses in answer.items() if head != TEXT}

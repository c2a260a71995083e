"""Clips → glosses and text, by a trained network that translates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from models.answering import Unanswered, evaluation_heads
from models.batch import Heads
from models.inputs.clip import Clip
from models.recognition import HeadAnswer, HeadLogits, RecognisedGloss, Recogniser, Recognition
from models.text import TextAnswer
from models.translation.config import GenerationOptions
from models.translation.generation import Generated, Member, generate
from models.translation.options import TranslationDecodingOptions
from models.translation.tokens import TranslationTokens
from models.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, eq=False)
class TranslatingRecogniser(Recogniser):
    """A recogniser whose answers hold the text beside the glosses."""

    tokens: TranslationTokens

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Recognition | Unanswered]:
        heads = evaluation_heads(self.network, self.inputs, clips, prepare=lambda batch: self.tokens.with_glosses(batch, clips))
        assert isinstance(self.decoding, TranslationDecodingOptions)
        texts = translations(self.network, heads, self.tokens, self.decoding.text)
        outcomes = self._recognised(clips, names, heads) if heads.logits else [given_glosses(clip, self.vocabulary, names) for clip in clips]
        return with_texts(outcomes, texts)

    def _recognised(self, clips: Sequence[Clip], names: Sequence[str], heads: Heads) -> list[Recognition | Unanswered]:
        logits, lengths_B = {name: value.float().cpu() for name, value in self.system.all_logits(heads).items()}, heads.lengths.cpu()
        return self._answers(clips, names, {name: HeadLogits(logits=value, lengths=lengths_B, inputs=self.inputs) for name, value in logits.items()})


def given_glosses(clip: Clip, vocabulary: Vocabulary, names: Sequence[str]) -> Recognition:
    """The annotated glosses of a clip, which gloss-to-text translates: nothing was recognised, so their confidence is 1 and they have no times."""
    words = clip.glosses or ()
    nowhere: dict[str, Any] = {"confidence": 1.0, "start_frame": 0, "end_frame": clip.num_frames, "start_s": None, "end_s": None}
    glosses = tuple(RecognisedGloss(gloss=vocabulary.normalise(word), **nowhere) for word in words)
    answer = HeadAnswer(ids=tuple(vocabulary.encode(words)), glosses=glosses, score=0.0)
    return Recognition(name=clip.name, num_frames=clip.num_frames, fps=clip.fps, heads=dict.fromkeys(names, answer), low_confidence=False)


def with_texts(outcomes: Sequence[Recognition | Unanswered], texts: Sequence[tuple[TextAnswer, ...]]) -> list[Recognition | Unanswered]:
    """What was recognised, with the translations beside it."""
    return [replace(outcome, texts=text) if isinstance(outcome, Recognition) else outcome for outcome, text in zip(outcomes, texts, strict=True)]


def translations(
    network: nn.Module, heads: Heads, tokens: TranslationTokens, options: GenerationOptions, *, together: Callable[[bool], bool] = bool
) -> list[tuple[TextAnswer, ...]]:
    """Texts of every clip, the likeliest first. network: one with a `translator`, in evaluation mode; `together` as of `generate`."""
    return joint_translations([(network, heads, 1.0)], tokens, options, together=together)


def joint_translations(
    members: Sequence[tuple[nn.Module, Heads, float]],
    tokens: TranslationTokens,
    options: GenerationOptions,
    *,
    together: Callable[[bool], bool] = bool,
) -> list[tuple[TextAnswer, ...]]:
    """Texts that several networks find together: network, its heads of the same clips, its weight in the mean of their probabilities."""
    speaking = [search_member(network, heads, weight) for network, heads, weight in members]
    translators: list[Any] = [network.translator for network, _, _ in members]
    start, forced_end = translators[0].options.start, all(translator.options.mbart.forced_end for translator in translators)
    return text_answers(generate(speaking, options, start=start, forced_end=forced_end, together=together), tokens)


def search_member(network: nn.Module, heads: Heads, weight: float = 1.0) -> Member:
    """A network's part in a search."""
    assert heads.text is not None
    translator: Any = network.translator
    return Member(mbart=translator.mbart, states=heads.text.states, mask=heads.text.mask, weight=weight)


def text_answers(generated: Generated, tokens: TranslationTokens) -> list[tuple[TextAnswer, ...]]:
    """What a search found, as texts."""
    answers = []
    for ids, scores in zip(generated.ids.tolist(), generated.scores.tolist(), strict=True):
        answers.append(tuple(TextAnswer(text=tokens.text.decode(row), score=score) for row, score in zip(ids, scores, strict=True)))
    return answers

"""Clips → glosses and text, by a trained network that translates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
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


@dataclass(frozen=True, kw_only=True, eq=False)
class TranslatingRecogniser(Recogniser):
    """A recogniser whose answers hold the text beside the glosses."""

    tokens: TranslationTokens

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Recognition | Unanswered]:
        heads = evaluation_heads(self.network, self.inputs, clips, prepare=lambda batch: self.tokens.with_glosses(batch, clips))
        assert isinstance(self.decoding, TranslationDecodingOptions)
        texts = translations(self.network, heads, self.tokens, self.decoding.text)
        outcomes = self._recognised(clips, names, heads) if heads.logits else [self._given(clip, names) for clip in clips]
        return [replace(outcome, texts=text) if isinstance(outcome, Recognition) else outcome for outcome, text in zip(outcomes, texts, strict=True)]

    def _recognised(self, clips: Sequence[Clip], names: Sequence[str], heads: Heads) -> list[Recognition | Unanswered]:
        logits, lengths_B = {name: value.float().cpu() for name, value in self.system.all_logits(heads).items()}, heads.lengths.cpu()
        return self._answers(clips, names, {name: HeadLogits(logits=value, lengths=lengths_B, inputs=self.inputs) for name, value in logits.items()})

    def _given(self, clip: Clip, names: Sequence[str]) -> Recognition:
        """The annotated glosses of a clip, which gloss-to-text translates: nothing was recognised, so their confidence is 1 and they have no times."""
        words = clip.glosses or ()
        nowhere: dict[str, Any] = {"confidence": 1.0, "start_frame": 0, "end_frame": clip.num_frames, "start_s": None, "end_s": None}
        glosses = tuple(RecognisedGloss(gloss=self.vocabulary.normalise(word), **nowhere) for word in words)
        answer = HeadAnswer(ids=tuple(self.vocabulary.encode(words)), glosses=glosses, score=0.0)
        return Recognition(name=clip.name, num_frames=clip.num_frames, fps=clip.fps, heads=dict.fromkeys(names, answer), low_confidence=False)


def translations(
    network: nn.Module, heads: Heads, tokens: TranslationTokens, options: GenerationOptions, *, together: Callable[[bool], bool] = bool
) -> list[tuple[TextAnswer, ...]]:
    """Texts of every clip, the likeliest first. network: one with a `translator`, in evaluation mode; `together` as of `generate`."""
    assert heads.text is not None
    translator: Any = network.translator
    member = Member(mbart=translator.mbart, states=heads.text.states, mask=heads.text.mask)
    start, forced_end = translator.options.start, translator.options.mbart.forced_end
    return text_answers(generate([member], options, start=start, forced_end=forced_end, together=together), tokens)


def text_answers(generated: Generated, tokens: TranslationTokens) -> list[tuple[TextAnswer, ...]]:
    """What a search found, as texts."""
    answers = []
    for ids, scores in zip(generated.ids.tolist(), generated.scores.tolist(), strict=True):
        answers.append(tuple(TextAnswer(text=tokens.text.decode(row), score=score) for row, score in zip(ids, scores, strict=True)))
    return answers


@torch.no_grad()
def cross_attention(network: nn.Module, heads: Heads, ids_L: Sequence[int]) -> torch.Tensor:
    """Where each token of one clip's sentence looked: (L, E), the mean over layers and heads; `heads` of that clip alone."""
    assert heads.text is not None
    translator: Any = network.translator
    mbart = translator.mbart
    before = mbart.config._attn_implementation
    mbart.set_attn_implementation("eager")  # the fused attention keeps no weights
    try:
        decoded = mbart.model.decoder(
            input_ids=torch.tensor([list(ids_L)], device=heads.text.states.device),
            encoder_hidden_states=heads.text.states,
            encoder_attention_mask=heads.text.mask,
            output_attentions=True,
            use_cache=False,
        )
    finally:
        mbart.set_attn_implementation(before)
    return torch.stack([layer[0].mean(0) for layer in decoded.cross_attentions]).mean(0).float().cpu()

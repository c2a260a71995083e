"""Sign-to-text: a recogniser, the visual-language mapper, and the translator (twostream.md, section 13.4; mska.md, section 9)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads
from models.translation.config import SignToTextOptions
from models.translation.translator import Translator


def make_mapper(kind: str, in_features: int, out_features: int) -> nn.Sequential | nn.Linear:
    """projection: two layers with a ReLU between, from features of a head. embedding: one without bias, from gloss probabilities, a soft look-up."""
    if kind == "embedding":
        return nn.Linear(in_features, out_features, bias=False)
    return nn.Sequential(nn.Linear(in_features, out_features), nn.ReLU(), nn.Linear(out_features, out_features))


class SignToText(nn.Module):
    """A recogniser whose answers are translated.

    recogniser: any network of sentences; what its head `options.head` answers is mapped into the language model's space.
    feature_width: of that head's features.
    """

    def __init__(self, recogniser: nn.Module, options: SignToTextOptions, *, feature_width: int, num_classes: int) -> None:
        super().__init__()
        self.options = options
        self.recogniser = recogniser
        width = num_classes if options.feature == "gloss_probabilities" else feature_width
        self.mapper = make_mapper(options.mapper, width, options.translator.mbart.d_model)
        self.translator = Translator(options.translator)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.recogniser.modalities)  # type: ignore[arg-type]

    def forward(self, batch: Batch, *, masked: bool | None = None) -> Heads:
        """The recogniser's heads, and the text's: encoder states, with logits where the batch has texts. `masked`: as the recogniser's."""
        return self.translate(self.recogniser(batch, masked=masked), batch.text_inputs)

    def translate(self, heads: Heads, text_BL: Tensor | None = None) -> Heads:
        """`heads` with the text's beside them, which holds logits where texts (B, L) are given."""
        inputs, mask = self.translator.of_steps(self.mapped(heads), heads.lengths)
        return replace(heads, text=self.translator.answer(inputs, mask, text_BL))

    def mapped(self, heads: Heads) -> Tensor:
        """What the head recognised in the language model's space (B, S, D)."""
        head = self.options.head
        value = torch.softmax(heads.logits[head], dim=-1) if self.options.feature == "gloss_probabilities" else heads.features[head]
        mapped: Tensor = self.mapper(value)
        return mapped

"""What the table of systems says of those that translate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from models.batch import Batch, Heads
from models.inputs.inputs import Inputs
from models.losses.ctc import recognition_losses
from models.losses.options import LossOptions
from models.losses.translation import translation_loss
from models.mska import published as mska_published
from models.mska.network import HEADS, Mska
from models.options import Options
from models.published.loading import read_checkpoint
from models.system import RECOGNISER, TRANSLATOR, BundleStart, Loss, Starts, TranslatorStart
from models.translation import published
from models.translation.config import SignToTextOptions
from models.translation.network import SignToText
from models.translation.options import GlossToTextOptions, MskaSltOptions, OneHeadTranslationLossOptions, TranslationLossOptions
from models.translation.translator import GlossToText

TRANSLATION = frozenset({"translation"})  # the loss term beside the recogniser's


def _as_recogniser(network: nn.Module, other: nn.Module) -> None:
    """Everything of the recogniser but what only teaches, where ours is without."""
    assert isinstance(network, SignToText)
    wanted = network.recogniser.state_dict()
    network.recogniser.load_state_dict({name: value for name, value in other.state_dict().items() if name in wanted})


def starts(recogniser: str) -> Starts:
    """What a system that translates what `recogniser` answers may start from."""
    return {RECOGNISER: BundleStart(system=recogniser, fill=_as_recogniser), TRANSLATOR: TranslatorStart()}


def head_conflict(options: Options, heads: Sequence[str]) -> str | None:
    """Why nothing can be translated, where the recogniser has no such head."""
    assert isinstance(options, SignToTextOptions)
    return None if options.head in heads else f"network.head: {options.head!r} is no head of the recogniser; there are: {', '.join(heads)}"


def mska_conflict(options: Options, inputs: Inputs) -> str | None:
    return head_conflict(options, HEADS)


def build_mska_slt(options: MskaSltOptions, num_classes: int) -> SignToText:
    recogniser = Mska(options.recogniser, num_classes)
    return SignToText(recogniser, options, feature_width=options.recogniser.head.hidden_size, num_classes=num_classes)


def build_g2t(options: GlossToTextOptions, num_classes: int) -> GlossToText:
    """`num_classes`, of the corpus's glosses, decides nothing: the language model has a gloss vocabulary of its own."""
    return GlossToText(options.translator)


def sign_to_text_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    """The recogniser's terms and the translation's."""
    assert isinstance(options, TranslationLossOptions | OneHeadTranslationLossOptions)
    distillation = isinstance(options, TranslationLossOptions) and options.distillation
    padding = not isinstance(options, TranslationLossOptions) or options.distil_padding

    def loss(heads: Heads, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        assert batch.target_lengths is not None
        terms = recognition_losses(heads, batch.targets, batch.target_lengths, distillation=distillation, distil_padding=padding)
        return terms | _text_term(heads, batch, options)

    return loss


def gloss_to_text_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    assert isinstance(options, TranslationLossOptions)
    return lambda heads, batch: _text_term(heads, batch, options)


def _text_term(heads: Heads, batch: Batch, options: TranslationLossOptions | OneHeadTranslationLossOptions) -> dict[str, Tensor]:
    assert batch.text_targets is not None
    assert heads.text is not None
    assert heads.text.logits is not None
    return {"translation": translation_loss(heads.text.logits, batch.text_targets, smoothing=options.label_smoothing)}


def load_mska_slt(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, SignToText)
    assert isinstance(network.recogniser, Mska)
    state = read_checkpoint(checkpoint)
    mska_published.load(network.recogniser, published.recogniser_part(state))
    published.load_mapper(network, state)
    published.load_translator(network.translator, state)
    return ""


def load_g2t(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, GlossToText)
    published.load_g2t(network, read_checkpoint(checkpoint))
    return ""

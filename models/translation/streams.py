"""SingleStream-SLT and TwoStream-SLT as systems: recognisers of `models/twostream`, whose heads learn on while trunks stay (twostream.md, section 13)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from models.inputs.inputs import Inputs
from models.options import Options
from models.published.loading import read_checkpoint
from models.s3d.layers import Mixed, PointConv, SeparableConv
from models.system import FEATURES, BundleStart, Starts, System, terms
from models.translation import published
from models.translation.network import SignToText
from models.translation.options import OneHeadTranslationLossOptions, SingleStreamSltOptions, TranslationLossOptions, TwoStreamSltOptions
from models.translation.systems import TRANSLATION, head_conflict, sign_to_text_loss, starts
from models.twostream import published as streams_published
from models.twostream.heads import ensemble_logits
from models.twostream.inputs import SingleStreamInputs, TwoStreamInputs
from models.twostream.layers import Exchange
from models.twostream.network import HEADS, TwoStream
from models.twostream.single_stream import HEAD, SingleStream
from models.twostream.systems import SINGLE_SYSTEM, TWO_SYSTEM, single_conflict, two_stream_conflict

RECOGNISER_KEY = "network.recogniser"
OTHER_PARTS = ("head.", "heads.", "pyramids.")  # of a recogniser, beside what extracts features
STATE = "model_state"


def build_single_stream_slt(options: SingleStreamSltOptions, num_classes: int) -> SignToText:
    recogniser = SingleStream(options.recogniser, num_classes)
    return SignToText(recogniser, options, feature_width=options.recogniser.head.hidden_size, num_classes=num_classes)


def build_two_stream_slt(options: TwoStreamSltOptions, num_classes: int) -> SignToText:
    """One of the three translators, its recogniser without the heads that only teach: they take no part in joint training."""
    recogniser = TwoStream(options.recogniser, num_classes, auxiliary=False)
    return SignToText(recogniser, options, feature_width=options.recogniser.head.hidden_size, num_classes=num_classes)


def _single_conflict(options: Options, inputs: Inputs) -> str | None:
    assert isinstance(options, SingleStreamSltOptions)
    return head_conflict(options, (HEAD,)) or single_conflict(options.recogniser, inputs, RECOGNISER_KEY)


def _two_stream_conflict(options: Options, inputs: Inputs) -> str | None:
    assert isinstance(options, TwoStreamSltOptions)
    return head_conflict(options, HEADS) or two_stream_conflict(options.recogniser, inputs, RECOGNISER_KEY)


def _load_published(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    """Heads, mapper and translator: released files of joint training hold no trunk."""
    assert isinstance(network, SignToText)
    state = read_checkpoint(checkpoint, key=STATE)
    streams_published.load_heads(_recogniser(network), state)
    published.load_mapper(network, state)
    published.load_translator(network.translator, state)
    return ""


def _load_features(network: nn.Module, checkpoint: Path) -> None:
    streams_published.load_trunks(_recogniser(network), read_checkpoint(checkpoint, key=STATE))


def _recogniser(network: nn.Module) -> SingleStream | TwoStream:
    assert isinstance(network, SignToText)
    assert isinstance(network.recogniser, SingleStream | TwoStream)
    return network.recogniser


def _as_features(network: nn.Module, other: nn.Module) -> None:
    """What extracts features; the heads stay random, which the published program did where its recogniser was named under a key it never read (quirk Q1)."""
    extracting = {name: value for name, value in other.state_dict().items() if not name.startswith(OTHER_PARTS)}
    recogniser = _recogniser(network)
    recogniser.load_state_dict(recogniser.state_dict() | extracting)


def _starts(recogniser: str) -> Starts:
    return {**starts(recogniser), FEATURES: BundleStart(system=recogniser, fill=_as_features)}


SINGLE_STREAM_SLT = System(
    task="slr",
    options=SingleStreamSltOptions,
    inputs=SingleStreamInputs,
    losses=OneHeadTranslationLossOptions,
    build=build_single_stream_slt,
    heads=(HEAD,),
    ensemble=None,
    loss_terms=terms("ctc", (HEAD,)) | TRANSLATION,
    make_loss=sign_to_text_loss,
    load_published=_load_published,
    load_features=_load_features,
    starts=_starts(SINGLE_SYSTEM),
    conflict=_single_conflict,
    recomputed=(SeparableConv, PointConv, Mixed),
    synchronised=True,
    translates=True,
)
TWO_STREAM_SLT = System(
    task="slr",
    options=TwoStreamSltOptions,
    inputs=TwoStreamInputs,
    losses=TranslationLossOptions,
    build=build_two_stream_slt,
    heads=HEADS,
    ensemble=ensemble_logits,
    loss_terms=terms("ctc", HEADS) | terms("distil", HEADS) | TRANSLATION,
    make_loss=sign_to_text_loss,
    load_published=_load_published,
    load_features=_load_features,
    starts=_starts(TWO_SYSTEM),
    conflict=_two_stream_conflict,
    recomputed=(SeparableConv, PointConv, Mixed, Exchange),
    synchronised=True,
    translates=True,
)

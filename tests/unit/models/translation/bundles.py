"""Bundles of tiny networks that translate, of several systems: random weights that don't fade, one tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle, CorpusCard, save_bundle
from models.inputs.inputs import Inputs
from models.inputs.keypoints import KeypointInputs
from models.options import Options
from models.s3d.config import S3dOptions
from models.systems import SYSTEMS
from models.translation.config import EOS, GenerationOptions, TranslatorOptions
from models.translation.language_model import translator_options
from models.translation.options import GlossToTextOptions, MskaSltOptions, SingleStreamSltOptions, TranslationDecodingOptions, TwoStreamSltOptions
from models.translation.pruning import everything
from models.translation.small import train_pieces
from models.translation.tokens import GLOSS_SPECIALS, LANGUAGES, SPECIALS, GlossTokens, TextTokens, TranslationTokens
from models.twostream.config import SingleStreamOptions, StreamName, TwoStreamOptions
from models.twostream.inputs import SingleStreamInputs, TwoStreamInputs
from tests.unit.models.translation.tiny import TINY
from tests.unit.tiny import GLOSSES, OPTIONS, VOCABULARY

TEXTS = ("im norden gibt es regen", "morgen scheint die sonne", "das haus steht im regen", "heute gibt es wind")
TEXT_SEARCH = GenerationOptions(beam_width=3, max_length=10, n_best=2)


@cache
def tokens(texts: Sequence[str] = TEXTS) -> TranslationTokens:
    pieces = train_pieces(texts, num_pieces=40)
    text = TextTokens(model=pieces, kept=everything(pieces), language="de_DE")
    return TranslationTokens(text=text, glosses=GlossTokens(entries=(*GLOSS_SPECIALS, *(gloss.lower() for gloss in GLOSSES)), language="de_DGS"))


def options_of(system: str, given: TranslationTokens, stream: StreamName = "keypoint") -> tuple[Options, Inputs]:
    """Options of a tiny network of `system` that speaks by these tokens, and its inputs. stream: of a single one."""
    mbart = TINY.model_copy(update={"vocab_size": len(given.text.kept), "dropout": 0.0, "attention_dropout": 0.0})
    translator = translator_options(mbart, given, TranslatorOptions())
    if system == "g2t":
        return GlossToTextOptions(translator=translator), SYSTEMS[system].inputs()
    if system == "mska_slt":
        return MskaSltOptions(recogniser=OPTIONS, translator=translator), KeypointInputs()
    trunks = {name: S3dOptions(in_channels=channels, width=1 / 16, frozen_blocks=0) for name, channels in (("rgb", 3), ("keypoint", 11))}
    seen: dict[str, Any] = {"side": 32, "video_size": (32, 32), "map_size": (32, 32), "sigma": 3, "parts": ("pose",)}
    if system == "twostream_slt":
        return TwoStreamSltOptions(recogniser=TwoStreamOptions(**trunks, head=OPTIONS.head), translator=translator), TwoStreamInputs(**seen)
    recogniser = SingleStreamOptions(stream=stream, trunk=trunks[stream], head=OPTIONS.head)
    return SingleStreamSltOptions(recogniser=recogniser, translator=translator), SingleStreamInputs(stream=stream, **seen)


def save_translator(
    folder: Path,
    system: str = "mska_slt",
    *,
    seed: int = 0,
    texts: Sequence[str] = TEXTS,
    stream: StreamName = "keypoint",
    trunk: Bundle | None = None,
    **changes: Any,
) -> Bundle:
    """A bundle whose network says something else for each clip. trunk: a bundle whose trunk it has."""
    given = tokens(texts)
    options, inputs = options_of(system, given, stream)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = SYSTEMS[system].build(options, len(VOCABULARY))
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, (4.0 if "mapper" in name else 1.5) / parameter[0].numel() ** 0.5)
            bias = network.translator.mbart.final_logits_bias[0]
            bias[: len(SPECIALS)] = bias[-len(LANGUAGES) - 1 :] = -20.0  # what is said are pieces, and an end
            bias[EOS] = -1.0
    if trunk is not None:
        theirs = {name: value for name, value in trunk.network().state_dict().items() if re.match(r"recogniser\.(trunks?|exchanges)\.", name)}
        network.load_state_dict(theirs, strict=False)
    arguments: dict[str, Any] = {
        "system": system,
        "options": options,
        "inputs": inputs,
        "state_dict": network.state_dict(),
        "classes": VOCABULARY,
        "decoding": TranslationDecodingOptions(head=SYSTEMS[system].answering[0], beam_width=2, text=TEXT_SEARCH),
        "corpus": CorpusCard(name="synthetic", licence="generated: free to use"),
        "metrics": {},
        "provenance": {},
        "tokens": given,
    }
    return save_bundle(folder, **{**arguments, **changes})

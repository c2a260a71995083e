"""Bundles of tiny networks that translate, of several systems: random weights that don't fade, one tokenizer."""

from __future__ import annotations

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
from models.translation.options import GlossToTextOptions, MskaSltOptions, SingleStreamSltOptions, TranslationDecodingOptions
from models.translation.pruning import everything
from models.translation.small import train_pieces
from models.translation.tokens import GLOSS_SPECIALS, LANGUAGES, SPECIALS, GlossTokens, TextTokens, TranslationTokens
from models.twostream.config import SingleStreamOptions, StreamName
from models.twostream.inputs import SingleStreamInputs
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
    trunk = S3dOptions(in_channels=11 if stream == "keypoint" else 3, width=1 / 16, frozen_blocks=0)
    recogniser = SingleStreamOptions(stream=stream, trunk=trunk, head=OPTIONS.head)
    inputs = SingleStreamInputs(stream=stream, side=32, video_size=(32, 32), map_size=(32, 32), sigma=3, parts=("pose",))
    return SingleStreamSltOptions(recogniser=recogniser, translator=translator), inputs


def save_translator(
    folder: Path, system: str = "mska_slt", *, seed: int = 0, texts: Sequence[str] = TEXTS, stream: StreamName = "keypoint", **changes: Any
) -> Bundle:
    """A bundle whose network says something else for each clip."""
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

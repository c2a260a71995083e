"""How sentences are decoded, as users choose it on the command line of evaluate.py and predict.py."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from models.bundle import Bundle
from models.classification import Classifier
from models.decoding.decode import Method
from models.decoding.options import MAX_BEAM_WIDTH, DecodingOptions
from models.decoding.shallow_fusion import ALPHA, BETA, HOT_WORD_BONUS, NO_SHALLOW_FUSION, ShallowFusion, read_fusion
from models.ensemble import Ensemble
from models.errors import BundleError, LanguageModelError
from models.options import AnswerOptions
from models.recognition import SentenceAnswerer
from models.translation.options import TranslationDecodingOptions
from models.vocabulary import Vocabulary
from workloads.bundles import positive

CUTOFFS = ("cutoff_top_n", "cutoff_prob")  # of prefix_beam alone


@dataclass(frozen=True, kw_only=True)
class DecodingChoice:
    """What the user chose, None what they left to the bundle. alpha, beta: as `read_fusion` takes them; hot_words: gloss and bonus.

    text_beam_width, num_texts: of a translator's search, and how many of its texts are kept.
    """

    head: str | None = None
    beam_width: int | None = None
    decoder: Method | None = None
    language_model: Path | None = None
    alpha: float | None = None
    beta: float | None = None
    hot_words: tuple[tuple[str, float], ...] = ()
    text_beam_width: int | None = None
    num_texts: int | None = None

    @property
    def fuses(self) -> bool:
        """Whether something is added to the search."""
        return self.language_model is not None or bool(self.hot_words)

    @property
    def of_search(self) -> Mapping[str, Any]:
        """What was given of the search, by flag."""
        flags = {"--decoder": self.decoder, "--beam": self.beam_width, "--lm": self.language_model, "--alpha": self.alpha, "--beta": self.beta}
        flags |= {"--text-beam": self.text_beam_width, "--n-best": self.num_texts}
        return {flag: value for flag, value in (flags | {"--hot-word": self.hot_words[0][0] if self.hot_words else None}).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ChosenDecoding:
    """A bundle's decoding options with what the user chose instead, and what is added to the search."""

    options: AnswerOptions
    fusion: ShallowFusion = NO_SHALLOW_FUSION


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `decoding_choice` reads."""
    parser.add_argument("--head", help="head that answers: ensemble, or one of the system's (default: the bundle's choice)")
    parser.add_argument("--beam", type=_beam_width, metavar="N", help="width of the beam search (default: the bundle's, 5 as published)")
    parser.add_argument(
        "--decoder",
        choices=get_args(Method),
        help="beam: TensorFlow's search; prefix_beam: ctcdecode's, with language model and hot words; greedy (default: the bundle's; prefix_beam with these)",
    )
    parser.add_argument("--lm", type=Path, metavar="FILE", help="n-gram model of glosses: ARPA, plain or gzipped, or KenLM's binary (needs the extra kenlm)")
    parser.add_argument("--alpha", type=weight, metavar="A", help=f"weight of the language model's ln P (default: {ALPHA}; choose it on dev)")
    parser.add_argument(
        "--beta", type=finite, metavar="B", help=f"with --lm: added for each gloss, against short sentences (default: {BETA}; choose it on dev)"
    )
    parser.add_argument(
        "--hot-word",
        type=hot_word,
        action="append",
        default=[],
        metavar="GLOSS[=BONUS]",
        help=f"gloss to prefer, by a natural logarithm (default: {HOT_WORD_BONUS:g}, as if it were 7 times likelier; below 0: to avoid); repeatable",
    )
    parser.add_argument("--text-beam", type=_beam_width, metavar="N", help="of a bundle that translates: width of the search for texts (default: the bundle's)")
    parser.add_argument(
        "--n-best", type=positive, metavar="N", help="of a bundle that translates: so many of the likeliest texts, with their scores (default: the bundle's)"
    )


def decoding_choice(given: argparse.Namespace) -> DecodingChoice:
    """What was given of `add_decoding_arguments`."""
    return DecodingChoice(
        head=given.head,
        beam_width=given.beam,
        decoder=given.decoder,
        language_model=given.lm,
        alpha=given.alpha,
        beta=given.beta,
        hot_words=tuple(given.hot_word),
        text_beam_width=given.text_beam,
        num_texts=given.n_best,
    )


def chosen_decoding(bundle: Bundle | Ensemble, choice: DecodingChoice) -> ChosenDecoding:
    """The bundle's decoding with what the user chose instead; glosses that a language model lacks are told on standard error.

    Errors: BundleError where the bundle has no such head or nothing to search, and for choices that contradict one another;
    LanguageModelError, VocabularyError as `read_fusion`.
    """
    if choice.head is not None and choice.head not in bundle.answering:
        raise BundleError(f"--head {choice.head}: no head of {bundle.folder}; there are {', '.join(bundle.answering)}")
    head = {} if choice.head is None else {"head": choice.head}
    if not isinstance(bundle.decoding, DecodingOptions):
        for flag, value in choice.of_search.items():
            raise BundleError(f"{flag} {value}: {bundle.folder} recognises isolated signs, which need no search")
        return ChosenDecoding(options=bundle.decoding.model_copy(update=head))
    options = bundle.decoding.model_copy(update={**head, **_search_changes(bundle.decoding, choice)})
    assert isinstance(bundle.classes, Vocabulary)
    options = _with_texts(options, bundle, choice)
    return ChosenDecoding(options=options, fusion=_told(bundle.classes, choice) if choice.fuses else NO_SHALLOW_FUSION)


def chosen_recogniser(bundle: Bundle | Ensemble, device: str, options: AnswerOptions, fusion: ShallowFusion) -> SentenceAnswerer | Classifier:
    """The bundle's recogniser on `device`, ready to answer as chosen."""
    recogniser = bundle.recogniser(device, options)
    return replace(recogniser, fusion=fusion.arrays) if isinstance(recogniser, SentenceAnswerer) else recogniser


def _search_changes(decoding: DecodingOptions, choice: DecodingChoice) -> dict[str, Any]:
    """Changes of the options; what couldn't be heeded is an error."""
    if choice.language_model is None and (choice.alpha is not None or choice.beta is not None):
        flag = "--beta" if choice.alpha is None else "--alpha"
        raise LanguageModelError(f"{flag} weighs a language model, and there is none: give --lm FILE too")
    if choice.fuses and choice.decoder not in (None, "prefix_beam"):
        flag = "--hot-word" if choice.language_model is None else "--lm"
        raise BundleError(f"{flag}: --decoder {choice.decoder} knows no language model or hot words: leave --decoder out, or choose prefix_beam")
    method = "prefix_beam" if choice.fuses else choice.decoder or decoding.method
    if method == "greedy" and choice.beam_width is not None:
        raise BundleError(f"--beam {choice.beam_width}: the decoder greedy takes the likeliest path without a search: choose --decoder beam or prefix_beam")
    changes: dict[str, Any] = {"method": method}
    if choice.beam_width is not None:
        changes["beam_width"] = choice.beam_width
    if method != decoding.method and decoding.method == "prefix_beam":
        changes |= {name: DecodingOptions.model_fields[name].default for name in CUTOFFS}
    return changes


def _with_texts(options: DecodingOptions, bundle: Bundle | Ensemble, choice: DecodingChoice) -> DecodingOptions:
    """The options with another search for texts. Raises BundleError where nothing is translated, or more is asked than the search finds."""
    asked = {"--text-beam": choice.text_beam_width, "--n-best": choice.num_texts}
    flag = next((flag for flag, value in asked.items() if value is not None), None)
    if flag is None:
        return options
    if not (bundle.translates and isinstance(options, TranslationDecodingOptions)):
        raise BundleError(f"{flag} {asked[flag]}: {bundle.folder} recognises glosses and makes no text: leave it out")
    width, count = choice.text_beam_width or options.text.beam_width, choice.num_texts or options.text.n_best
    if choice.num_texts is not None and count > width:
        raise BundleError(f"--n-best {count}: a search of width {width} finds no more than {width}: give --text-beam {count}, too")
    return options.model_copy(update={"text": options.text.model_copy(update={"beam_width": width, "n_best": min(count, width)})})


def _told(vocabulary: Vocabulary, choice: DecodingChoice) -> ShallowFusion:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fusion = read_fusion(vocabulary, language_model=choice.language_model, alpha=choice.alpha, beta=choice.beta, hot_words=choice.hot_words)
    for entry in caught:
        print(f"warning: {entry.message}", file=sys.stderr)
    return fusion


def _beam_width(text: str) -> int:
    width = positive(text)
    if width > MAX_BEAM_WIDTH:
        raise argparse.ArgumentTypeError(f"{text} is above {MAX_BEAM_WIDTH:,}: some hundreds are as good as an exact search")
    return width


def finite(text: str) -> float:
    """A finite number, for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return value


def weight(text: str) -> float:
    """A finite number that is not below zero, for argparse."""
    value = finite(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below zero")
    return value


def hot_word(text: str) -> tuple[str, float]:
    """`GLOSS` or `GLOSS=BONUS`, for argparse."""
    gloss, given, bonus = text.partition("=")
    try:
        return gloss, finite(bonus) if given else HOT_WORD_BONUS
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not GLOSS or GLOSS=BONUS with a number, such as REGEN=2.5") from None

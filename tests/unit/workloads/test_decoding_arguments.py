"""How decoding is chosen on the command line: the bundle's unless chosen, contradictions named, nothing ignored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle, DecodingOptions
from models.decoding.shallow_fusion import NO_SHALLOW_FUSION, FusionCard
from models.errors import BundleError, LanguageModelError, VocabularyError
from models.recognition import Recogniser
from models.translation.options import TranslationDecodingOptions
from tests.unit.models.translation.bundles import TEXT_SEARCH, save_translator
from tests.unit.tiny import save_tiny_bundle
from tests.unit.tiny_signs import save_tiny_sign_bundle
from tests.unit.workloads.undecided import write_language_model
from workloads.decoding_arguments import ChosenDecoding, DecodingChoice, add_decoding_arguments, chosen_decoding, chosen_recogniser, decoding_choice


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    decoding = DecodingOptions(beam_width=7, low_confidence=0.2, method="prefix_beam", cutoff_top_n=20, cutoff_prob=0.9)
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", decoding=decoding)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    return write_language_model(tmp_path / "glosses.arpa", HAUS=-0.5, MORGEN=-0.6, REGEN=-0.7, SONNE=-0.8)


def given(*arguments: str | Path) -> DecodingChoice:
    parser = argparse.ArgumentParser()
    add_decoding_arguments(parser)
    return decoding_choice(parser.parse_args(list(map(str, arguments))))


def options(bundle: Bundle, **changes: Any) -> DecodingOptions:
    assert isinstance(bundle.decoding, DecodingOptions)
    return bundle.decoding.model_copy(update=changes)


def test_decoding_is_the_bundles_unless_chosen(bundle: Bundle) -> None:
    assert given() == DecodingChoice()
    assert chosen_decoding(bundle, given()) == ChosenDecoding(options=bundle.decoding, fusion=NO_SHALLOW_FUSION)
    assert chosen_decoding(bundle, given("--head", "body", "--beam", "1")).options == options(bundle, head="body", beam_width=1)
    assert chosen_decoding(bundle, given("--decoder", "prefix_beam")).options == bundle.decoding
    with pytest.raises(BundleError, match="--head nose: no head of"):
        chosen_decoding(bundle, given("--head", "nose"))


def test_cutoffs_of_the_prefix_search_don_t_stay_with_another_decoder(bundle: Bundle) -> None:
    for decoder in ("beam", "greedy"):
        assert chosen_decoding(bundle, given("--decoder", decoder)).options == options(bundle, method=decoder, cutoff_top_n=40, cutoff_prob=1.0)


def test_language_model_and_hot_words_imply_the_prefix_search(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = save_tiny_bundle(tmp_path / "bundle")
    assert options(bundle).method == "beam"
    chosen = chosen_decoding(bundle, given("--lm", model_file, "--alpha", "0.8", "--hot-word", "REGEN=1.5", "--hot-word", "HAUS"))
    assert chosen.options == options(bundle, method="prefix_beam")
    assert chosen.fusion.card is not None
    assert (chosen.fusion.card.alpha, chosen.fusion.card.beta, chosen.fusion.card.hot_words) == (0.8, 1.0, {"REGEN": 1.5, "HAUS": 2.0})
    recogniser = chosen_recogniser(bundle, "cpu", chosen.options, chosen.fusion)
    assert isinstance(recogniser, Recogniser)
    assert recogniser.fusion is chosen.fusion.arrays
    hot = chosen_decoding(bundle, given("--hot-word", "REGEN=-2"))
    assert (hot.options, hot.fusion.card) == (chosen.options, FusionCard(language_model=None, sha256=None, alpha=0, beta=0, hot_words={"REGEN": -2}))
    assert capsys.readouterr().err == ""


def test_texts_have_a_search_of_their_own(bundle: Bundle, tmp_path: Path) -> None:
    translator = save_translator(tmp_path / "translator")
    chosen = chosen_decoding(translator, given("--text-beam", "7", "--n-best", "6", "--beam", "2")).options
    assert isinstance(chosen, TranslationDecodingOptions)
    assert (chosen.beam_width, chosen.text.beam_width, chosen.text.n_best, chosen.text.max_length) == (2, 7, 6, TEXT_SEARCH.max_length)
    narrow = chosen_decoding(translator, given("--text-beam", "1")).options
    assert isinstance(narrow, TranslationDecodingOptions)
    assert (narrow.text.beam_width, narrow.text.n_best) == (1, 1), "no more is kept than the search finds"
    with pytest.raises(BundleError, match="--n-best 4: a search of width 3 finds no more than 3: give --text-beam 4, too"):
        chosen_decoding(translator, given("--n-best", "4"))
    with pytest.raises(BundleError, match=r"--n-best 2: .* recognises glosses and makes no text: leave it out"):
        chosen_decoding(bundle, given("--n-best", "2"))


def test_glosses_that_the_model_lacks_are_told_once(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen_decoding(bundle, given("--lm", write_language_model(tmp_path / "small.arpa", HAUS=-0.5, REGEN=-0.5)))
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"warning: {tmp_path / 'small.arpa'} lacks 2 of 4 glosses (MORGEN, SONNE): each scores as the model's <unk>"


def test_contradictions_are_one_line(bundle: Bundle, model_file: Path, tmp_path: Path) -> None:
    for arguments, error, message in (
        (("--decoder", "beam", "--lm", model_file), BundleError, "--lm: --decoder beam knows no language model or hot words: leave --decoder out"),
        (("--decoder", "greedy", "--hot-word", "HAUS"), BundleError, "--hot-word: --decoder greedy knows no language model"),
        (("--decoder", "greedy", "--beam", "5"), BundleError, "--beam 5: the decoder greedy takes the likeliest path without a search"),
        (("--alpha", "1"), LanguageModelError, "--alpha weighs a language model, and there is none: give --lm FILE"),
        (("--beta", "0", "--hot-word", "HAUS"), LanguageModelError, "--beta weighs a language model, and there is none"),
        (("--lm", tmp_path / "none.arpa"), LanguageModelError, "none.arpa can't be read"),
        (("--hot-word", "REGN=1"), VocabularyError, "hot word 'REGN' is no gloss of the vocabulary; the nearest is 'REGEN'"),
    ):
        with pytest.raises(error, match=message) as raised:
            chosen_decoding(bundle, given(*arguments))
        assert "\n" not in str(raised.value)


def test_isolated_signs_need_no_search(model_file: Path, tmp_path: Path) -> None:
    signs = save_tiny_sign_bundle(tmp_path / "signs")
    assert chosen_decoding(signs, given("--head", signs.answering[0])).options == signs.decoding
    for flag, value in {"--beam": "5", "--decoder": "greedy", "--lm": str(model_file), "--alpha": "0.0", "--beta": "1.0", "--hot-word": "HAUS"}.items():
        with pytest.raises(BundleError, match=rf"^{flag} {value}: .* recognises isolated signs, which need no search$"):
            chosen_decoding(signs, given(flag, value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alpha", "-1"), "-1 is below zero"),
        (("--beta", "inf"), "inf is not finite"),
        (("--hot-word", "REGEN=much"), "'REGEN=much' is not GLOSS or GLOSS=BONUS"),
        (("--hot-word", "REGEN=nan"), "nan is not finite"),
        (("--beam", "0"), "0 is not above zero"),
        (("--beam", "1000000000000"), "1000000000000 is above 10,000"),
        (("--decoder", "best"), "invalid choice: 'best'"),
    ],
)
def test_values_that_are_none_are_refused(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given(*arguments)
    assert message in capsys.readouterr().err

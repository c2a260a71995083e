"""What a translator starts from: a language model's folder, or an earlier bundle that translates. It decides sizes and tokens, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.bundle import load_bundle
from models.bundle_record import RECORD_FILE
from models.errors import RecipeError
from models.system import FEATURES, RECOGNISER, TRANSLATOR
from models.systems import SYSTEMS
from models.translation.language_model import LanguageModel, translator_options
from models.translation.tokens import TranslationTokens
from models.translation.translator import Translator
from models.vocabulary import Vocabulary
from workloads.recipe import Recipe
from workloads.training.start_paths import start_path

DROPOUT = ("dropout", "attention_dropout", "activation_dropout")  # of training: the recipe's own, wherever the weights come from


def completed(recipe: Recipe) -> Recipe:
    """The recipe with what its starting points decide: sizes and ids of the language model, options of the recogniser.

    Raises RecipeError, BundleError, CheckpointError, VocabularyError where they can't be read or don't fit.
    """
    if not SYSTEMS[recipe.system].translates:
        return recipe
    changes: dict[str, Any] = {TRANSLATOR: _options(recipe, translator_path(recipe))}
    started = recipe.init.get(RECOGNISER) or recipe.init.get(FEATURES)
    if started:
        changes[RECOGNISER] = load_bundle(start_path(started)).options
    network = recipe.network.model_copy(update=changes)
    return recipe.model_copy(update={"network": type(network).model_validate(network.model_dump())})


def translator_path(recipe: Recipe) -> Path:
    """Where the recipe's translator starts. Raises RecipeError where the recipe doesn't say."""
    if TRANSLATOR not in recipe.init:
        raise RecipeError(
            f"init.translator: {recipe.system} needs a language model: the folder that workloads/prune_mbart.py wrote, or a bundle that translates"
        )
    return start_path(recipe.init[TRANSLATOR])


def tokens_of(recipe: Recipe) -> TranslationTokens:
    """The tokens of the translator that the recipe starts from. Raises RecipeError, BundleError, VocabularyError."""
    return _tokens(translator_path(recipe))


def fill_translator(network: Any, folder: Path, classes: object) -> str:
    """The translator's weights; of an embedding mapper each column as the gloss embedding of its class. Returns what is to be told.

    Raises BundleError, CheckpointError, VocabularyError for what doesn't fit.
    """
    translator: Translator = network.translator
    if _is_bundle(folder):
        trained: Any = load_bundle(folder).network()
        translator.load_state_dict(trained.translator.state_dict())
    else:
        LanguageModel.open(folder).fill(translator)
    mapper = getattr(network, "mapper", None)
    if not isinstance(mapper, nn.Linear):
        return ""
    assert isinstance(classes, Vocabulary)
    found = _fill_look_up(mapper, translator, classes.entries, _tokens(folder))
    return f"{found} of {len(classes)} glosses have an embedding"


def _options(recipe: Recipe, folder: Path) -> Any:
    base = recipe.network.translator  # type: ignore[attr-defined]
    if not _is_bundle(folder):
        return LanguageModel.open(folder).options(base)
    tokens = _tokens(folder)
    trained = load_bundle(folder).options.translator.mbart  # type: ignore[attr-defined]
    return translator_options(trained.model_copy(update={name: getattr(base.mbart, name) for name in DROPOUT}), tokens, base)


def _tokens(folder: Path) -> TranslationTokens:
    if not _is_bundle(folder):
        return TranslationTokens.load(folder)
    tokens = load_bundle(folder).tokens
    if tokens is None:
        raise RecipeError(f"init.translator: {folder}: a bundle that doesn't translate")
    return tokens


@torch.no_grad()
def _fill_look_up(mapper: nn.Linear, translator: Translator, glosses: Sequence[str], tokens: TranslationTokens) -> int:
    """The embedding mapper: the column of a class is its gloss's embedding, zero where the language model doesn't know it (twostream.md, section 13.4)."""
    mapper.weight.zero_()
    rows = {index: tokens.glosses.ids[gloss.lower()] for index, gloss in enumerate(glosses) if gloss.lower() in tokens.glosses.ids}
    for index, row in rows.items():
        mapper.weight[:, index] = translator.gloss_embedding.weight[row]
    return len(rows)


def _is_bundle(folder: Path) -> bool:
    return (folder / RECORD_FILE).is_file()

"""The pruned mBART of the published translation repositories (`mBart_de`, `mBart_zh`) as a language model of ours (twostream.md, sections 2.6 and 13.1).

    config.json, sentencepiece.bpe.model, pytorch_model.bin     as transformers names them, the vocabulary pruned already
    map_ids.pkl (German) or old2new_vocab.pkl (Chinese)         id in the full vocabulary → id in the pruned one
    gloss2ids.pkl, gloss_embeddings.bin                         gloss → row, gloss → vector

Sizes and ids differ between releases, so a checkpoint goes with the folder that it was trained from. Pickles are read without running what they may hold.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import CheckpointError, CorpusError
from models.pickles import load_pickle
from models.translation.language_model import SHARED, TIED, LanguageModel, save_language_model
from models.translation.pruning import BIAS, read_full, signed_language
from models.translation.tokens import GlossTokens, TextTokens, TranslationTokens

MAPS = ("map_ids.pkl", "old2new_vocab.pkl")
GLOSS_IDS, GLOSS_VECTORS = "gloss2ids.pkl", "gloss_embeddings.bin"


def import_released(folder: Path, *, language: str, out: Path) -> LanguageModel:
    """Write the released language model of `folder` to `out`, in our form, with its own ids and rows.

    Raises CheckpointError, VocabularyError naming the file that is missing, damaged, refused or doesn't fit the others.
    """
    full = read_full(folder)
    kept = _kept(folder)
    rows = full.state[SHARED].shape[0]
    if rows != len(kept):
        raise CheckpointError(f"{folder}: the model has {rows} text tokens, its id map {len(kept)}: the files are of different releases")
    entries = _in_order(_pickled(folder / GLOSS_IDS), folder / GLOSS_IDS, "gloss")
    tokens = TranslationTokens(
        text=TextTokens(model=full.pieces, kept=kept, language=language), glosses=GlossTokens(entries=entries, language=signed_language(language))
    )
    state = {name: value for name, value in full.state.items() if name not in TIED}
    if BIAS in state:
        state[BIAS] = state[BIAS].reshape(1, -1)
    mbart = full.mbart.model_copy(update={"vocab_size": rows})
    return save_language_model(out, mbart=mbart, state=state, glosses_GD=_vectors(folder / GLOSS_VECTORS, entries, mbart.d_model), tokens=tokens)


def _kept(folder: Path) -> tuple[int, ...]:
    """Id in the full vocabulary of each id of the pruned one."""
    path = next((folder / name for name in MAPS if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder}: neither {' nor '.join(MAPS)}: a released language model holds its id map; a whole mBART is pruned with --mbart")
    order = _in_order(_pickled(path), path, "id")
    try:
        return tuple(int(old) for old in order)
    except (TypeError, ValueError):
        raise CheckpointError(f"{path}: not a map from ids to ids") from None


def _in_order(found: Mapping[Any, Any], path: Path, what: str) -> tuple[Any, ...]:
    """Keys by their values, which run from 0 without a gap and without one twice."""
    try:
        places = {int(value): key for key, value in found.items()}
    except (TypeError, ValueError):
        raise CheckpointError(f"{path}: not a map from each {what} to a number") from None
    if sorted(places) != list(range(len(found))):
        raise CheckpointError(f"{path}: its {len(found)} numbers don't run from 0 to {len(found) - 1}, each once: the file is of another release, or damaged")
    return tuple(places[place] for place in range(len(places)))


def _pickled(path: Path) -> Mapping[Any, Any]:
    try:
        found = load_pickle(path)
    except CorpusError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, and a dict is expected")
    return found


def _vectors(path: Path, entries: tuple[Any, ...], width: int) -> Tensor:
    """The vector of each gloss, (G, D)."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: a released language model holds the vectors of its glosses") from None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: can't be read without running code of it ({' '.join(str(error).split())[:100]})") from None
    missing = [entry for entry in entries if entry not in found] if isinstance(found, Mapping) else list(entries)
    if missing:
        raise CheckpointError(f"{path}: no vector of {missing[0]!r} and {len(missing) - 1} more of {GLOSS_IDS}: the files are of different releases")
    rows = [torch.as_tensor(found[entry]).float().flatten() for entry in entries]
    wrong = next((entry for entry, row in zip(entries, rows, strict=True) if len(row) != width), None)
    if wrong is not None:
        raise CheckpointError(f"{path}: the vector of {wrong!r} isn't of the model's width, {width}")
    return torch.stack(rows)

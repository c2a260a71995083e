"""Pruning an mBART to a corpus: the rows of the text vocabulary that occur, and embeddings of glosses (twostream.md, section 13.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.errors import CheckpointError
from models.translation.config import UNK, MbartOptions, read_mbart_options
from models.translation.language_model import CONFIG_FILE, SHARED, TIED, WEIGHTS_FILE, LanguageModel, save_language_model
from models.translation.tokens import GLOSS_SPECIALS, LANGUAGES, PIECES_FILE, SIGNED, SPECIALS, GlossTokens, TextTokens, TranslationTokens

PICKLED_WEIGHTS = "pytorch_model.bin"
BIAS = "final_logits_bias"


@dataclass(frozen=True, kw_only=True)
class FullModel:
    """A whole mBART of a folder: transformers' names, its SentencePiece model, sizes."""

    mbart: MbartOptions
    state: Mapping[str, Tensor]
    pieces: bytes


def read_full(folder: Path) -> FullModel:
    """Read `config.json`, `sentencepiece.bpe.model` and `model.safetensors` or `pytorch_model.bin` (without running code of it).

    Raises CheckpointError naming the file that is missing or damaged.
    """
    mbart = read_mbart_options(folder / CONFIG_FILE)
    try:
        pieces = (folder / PIECES_FILE).read_bytes()
        safe = folder / WEIGHTS_FILE
        state: dict[str, Tensor] = load_file(safe) if safe.exists() else torch.load(folder / PICKLED_WEIGHTS, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename}: no such file: an mBART's folder holds {PIECES_FILE} and {WEIGHTS_FILE} or {PICKLED_WEIGHTS}") from None
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise CheckpointError(f"{folder}: its weights can't be read ({' '.join(str(error).split())[:100]})") from None
    if SHARED not in state:
        source = next((name for name in TIED if name in state), None)
        if source is None:
            raise CheckpointError(f"{folder}: its weights lack {SHARED}: not those of an mBART")
        state[SHARED] = state[source]
    return FullModel(mbart=mbart, state=state, pieces=pieces)


def prune(model: FullModel, *, texts: Iterable[str], glosses: Iterable[str], language: str, out: Path) -> LanguageModel:
    """Write the language model of a corpus to `out`.

    texts, glosses: of all its splits. Kept are the special tokens, then each sub-word as it first occurs in a text or a lower-cased gloss.
    A gloss's embedding is the mean of its sub-words'. Raises CheckpointError where weights and SentencePiece model don't belong together.
    """
    full = TextTokens(model=model.pieces, kept=everything(model.pieces), language=language)
    rows = model.state[SHARED]
    if rows.shape[0] != full.num_full:
        raise CheckpointError(f"the mBART has {rows.shape[0]} text tokens, and its SentencePiece model makes {full.num_full}: the files don't belong together")
    names = dict.fromkeys(gloss.lower() for gloss in glosses)
    kept = dict.fromkeys(_specials(full))
    for text in (*texts, *names):
        kept |= dict.fromkeys(index for index in full.full_ids(text) if index != UNK)
    chosen = torch.tensor(list(kept))
    state = {name: value for name, value in model.state.items() if name not in TIED}
    state[SHARED] = rows[chosen]
    if BIAS in state:
        state[BIAS] = state[BIAS][:, chosen]
    embedded = gloss_rows(full, rows, names)
    tokens = TranslationTokens(
        text=TextTokens(model=model.pieces, kept=tuple(kept), language=language),
        glosses=GlossTokens(entries=tuple(embedded), language=signed_language(language)),
    )
    mbart = model.mbart.model_copy(update={"vocab_size": len(kept)})
    return save_language_model(out, mbart=mbart, state=state, glosses_GD=torch.stack(list(embedded.values())), tokens=tokens)


def signed_language(language: str) -> str:
    """What the gloss vocabulary calls the signed language: `de_DGS` and `zh_CSL` as published, else `<spoken>_signed`."""
    return SIGNED.get(language, f"{language}_signed")


def gloss_rows(full: TextTokens, rows_ND: Tensor, glosses: Iterable[str]) -> dict[str, Tensor]:
    """The embedding of every entry of the gloss vocabulary, the special ones first: a signed language has its spoken one's."""
    own = {signed: spoken for spoken, signed in (*SIGNED.items(), (full.language, signed_language(full.language)))}
    specials = dict.fromkeys((*GLOSS_SPECIALS, full.language, signed_language(full.language)))
    found = {name: rows_ND[_place(full, own.get(name, name))] for name in specials}
    for gloss in glosses:
        ids = full.full_ids(gloss)
        if gloss not in found and ids:
            found[gloss] = rows_ND[torch.tensor(ids)].float().mean(0)
    return {name: row.float() for name, row in found.items()}


def everything(pieces: bytes) -> tuple[int, ...]:
    """Every id of the full vocabulary of a SentencePiece model."""
    from sentencepiece import SentencePieceProcessor

    try:
        size = SentencePieceProcessor(model_proto=pieces).get_piece_size()
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{PIECES_FILE}: not a SentencePiece model ({' '.join(str(error).split())[:100]})") from None
    return tuple(range(size + 1 + len(LANGUAGES) + 1))


def _specials(full: TextTokens) -> list[int]:
    first = full.num_full - len(LANGUAGES) - 1
    return [*range(len(SPECIALS)), *range(first, full.num_full)]


def _place(full: TextTokens, name: str) -> int:
    if name in SPECIALS:
        return SPECIALS.index(name)
    return full.num_full - 1 if name == "<mask>" else full.num_full - 1 - len(LANGUAGES) + LANGUAGES.index(name)

"""A small mBART from nothing, laid out as the public one: for the demo, tests and benchmarks, where no pretrained model is at hand."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.translation.config import MbartOptions
from models.translation.language_model import TIED, WEIGHTS_FILE
from models.translation.pruning import everything
from models.translation.tokens import PIECES_FILE
from models.translation.translator import build_mbart


def train_pieces(texts: Iterable[str], *, num_pieces: int) -> bytes:
    """A SentencePiece model of texts, no larger than `num_pieces`."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted(set(texts))),
        model_writer=model,
        vocab_size=num_pieces,
        hard_vocab_limit=False,
        character_coverage=1.0,
        model_type="unigram",
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def save_small_mbart(folder: Path, texts: Iterable[str], options: MbartOptions, *, num_pieces: int, seed: int) -> None:
    """Random weights and a SentencePiece model of `texts` in a folder as of the public mBART; `options.vocab_size` is replaced by what these make."""
    pieces = train_pieces(texts, num_pieces=num_pieces)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PIECES_FILE).write_bytes(pieces)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mbart = build_mbart(options.model_copy(update={"vocab_size": len(everything(pieces))}))
    mbart.config.save_pretrained(folder)
    save_file({name: value.contiguous() for name, value in mbart.state_dict().items() if name not in TIED}, folder / WEIGHTS_FILE, metadata={"format": "pt"})

"""A bundle that hears the same in every step: HAUS, or a little less likely REGEN. And language models that know better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle, CorpusCard
from models.mska.network import Mska
from tests.unit.tiny import VOCABULARY, save_tiny_bundle, tiny_network

LOGITS = {"HAUS": 3.0, "REGEN": 2.8}


def undecided_network() -> Mska:
    network = tiny_network()
    logits_V = torch.tensor([LOGITS.get(gloss, -20.0) for gloss in VOCABULARY.entries])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("classifier.weight"):
                parameter.zero_()
            elif name.endswith("classifier.bias"):
                parameter.copy_(logits_V)
    return network


def save_undecided_bundle(folder: Path, **changes: Any) -> Bundle:
    card = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")
    return save_tiny_bundle(folder, undecided_network(), **{"corpus": card, **changes})


def write_language_model(path: Path, **log10_probs: float) -> Path:
    """A unigram model; glosses that are not given are not in it."""
    lines = "".join(f"{value}\t{gloss}\n" for gloss, value in {"<s>": -99.0, "<unk>": -9.0, **log10_probs}.items())
    path.write_text(f"\\data\\\nngram 1={2 + len(log10_probs)}\n\n\\1-grams:\n{lines}\n\\end\\\n", encoding="utf-8")
    return path

"""A language model on disk: what a translator starts from.

    config.json                     of the mBART, as transformers writes it
    model.safetensors               its weights by transformers' names, tied ones once
    gloss_embeddings.safetensors    a row for each gloss
    tokens.json, sentencepiece.bpe.model

Written by pruning (`workloads/prune_mbart.py`), or made from nothing for the demo.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.errors import CheckpointError
from models.translation.config import BOS, EOS, PAD, MbartOptions, TranslatorOptions, read_mbart_options
from models.translation.tokens import TranslationTokens
from models.translation.translator import Translator

CONFIG_FILE, WEIGHTS_FILE, GLOSSES_FILE = "config.json", "model.safetensors", "gloss_embeddings.safetensors"
SHARED = "model.shared.weight"
TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
OPTIONAL = "final_logits_bias"  # zeros where a file has none, as transformers writes them


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A folder that was read; its weights stay on disk until `fill`."""

    folder: Path
    mbart: MbartOptions
    tokens: TranslationTokens

    @classmethod
    def open(cls, folder: Path) -> LanguageModel:
        """Raises CheckpointError, VocabularyError where the folder holds no language model, or its parts don't fit together."""
        mbart, tokens = read_mbart_options(folder / CONFIG_FILE), TranslationTokens.load(folder)
        if mbart.vocab_size != len(tokens.text.kept):
            raise CheckpointError(
                f"{folder}: the model has {mbart.vocab_size} text tokens and the tokenizer {len(tokens.text.kept)}: take both from the same pruning"
            )
        return cls(folder=folder, mbart=mbart, tokens=tokens)

    def options(self, base: TranslatorOptions) -> TranslatorOptions:
        """Options of a translator that starts from here; dropout and how sentences begin are those of `base`."""
        kept = ("dropout", "attention_dropout", "activation_dropout")
        mbart = self.mbart.model_copy(update={name: getattr(base.mbart, name) for name in kept})
        return translator_options(mbart, self.tokens, base)

    def fill(self, translator: Translator) -> None:
        """The weights into a translator of `options`. Raises CheckpointError naming what doesn't fit."""
        state = _read(self.folder / WEIGHTS_FILE)
        state |= {name: state[SHARED] for name in TIED if SHARED in state}
        _check(state, {name: tuple(value.shape) for name, value in translator.mbart.state_dict().items()}, self.folder / WEIGHTS_FILE)
        translator.mbart.load_state_dict(state, strict=False)
        glosses = _read(self.folder / GLOSSES_FILE)
        _check(glosses, {"weight": tuple(translator.gloss_embedding.weight.shape)}, self.folder / GLOSSES_FILE)
        translator.gloss_embedding.load_state_dict(glosses)


def translator_options(mbart: MbartOptions, tokens: TranslationTokens, base: TranslatorOptions) -> TranslatorOptions:
    """`base` with the sizes of a language model and the ids of its vocabularies."""
    glosses = tokens.glosses
    changes = {
        "mbart": mbart,
        "num_glosses": len(glosses.entries),
        "gloss_pad": glosses.ids["<pad>"],
        "gloss_end": glosses.ids["</s>"],
        "gloss_language": glosses.ids[glosses.language],
        "language": tokens.text.language_id,
    }
    return TranslatorOptions.model_validate({**{name: getattr(base, name) for name in TranslatorOptions.model_fields}, **changes})


def save_language_model(folder: Path, *, mbart: MbartOptions, state: dict[str, Tensor], glosses_GD: Tensor, tokens: TranslationTokens) -> LanguageModel:
    """Write a language model. state: by transformers' names, its tied entries may be left out; glosses_GD: a row for each gloss of the tokens."""
    tokens.save(folder)
    config = mbart.model_dump(mode="json", exclude={"forced_end"}) | {"model_type": "mbart", "architectures": ["MBartForConditionalGeneration"]}
    config |= {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "forced_eos_token_id": EOS if mbart.forced_end else None}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    weights = {name: value.detach().float().cpu().contiguous().clone() for name, value in state.items() if name not in TIED}
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    save_file({"weight": glosses_GD.detach().float().cpu().contiguous()}, folder / GLOSSES_FILE)
    return LanguageModel.open(folder)


def retied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state dict with the copies of its mBART's embedding as one tensor again, which a file keeps once; others as they are."""
    marks = {f"mbart.{name}" for name in TIED}
    tied = {name: name[: name.index("mbart.")] + f"mbart.{SHARED}" for name in state if any(name.endswith(mark) for mark in marks)}
    return {name: state[tied.get(name, name)] for name in state}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable weights file ({' '.join(str(error).split())[:100]})") from None
    return state


def _check(state: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], path: Path) -> None:
    for name, shape in wanted.items():
        if name not in state:
            if name != OPTIONAL:
                raise CheckpointError(f"{path}: lacks {name}: not the weights of this configuration")
        elif tuple(state[name].shape) != shape:
            raise CheckpointError(f"{path}: {name} is {tuple(state[name].shape)}, the configuration says {shape}")
    extra = sorted(state.keys() - wanted.keys())
    if extra:
        raise CheckpointError(f"{path}: holds unknown {extra[0]}: not the weights of this configuration")

"""The options of the translators, with the published values as defaults (twostream.md, section 13; mska.md, section 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.errors import CheckpointError
from models.options import Options

BOS, PAD, EOS, UNK = 0, 1, 2, 3  # mBART's own; pruning keeps them


class MbartOptions(Options):
    """mBART: facebook's mbart-large-cc25 with a pruned vocabulary, and the dropout that the published systems train with."""

    vocab_size: int = Field(2498, gt=UNK)
    d_model: int = Field(1024, gt=0)
    encoder_layers: int = Field(12, gt=0)
    decoder_layers: int = Field(12, gt=0)
    encoder_attention_heads: int = Field(16, gt=0)
    decoder_attention_heads: int = Field(16, gt=0)
    encoder_ffn_dim: int = Field(4096, gt=0)
    decoder_ffn_dim: int = Field(4096, gt=0)
    max_position_embeddings: int = Field(1024, gt=0)
    scale_embedding: bool = True
    activation_function: str = "gelu"
    dropout: float = Field(0.3, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    activation_dropout: float = Field(0.0, ge=0, lt=1)
    forced_end: bool = Field(True, description="a sentence that reaches the longest length ends there with </s>, as mBART's configuration says")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for side in ("encoder", "decoder"):
            if self.d_model % getattr(self, f"{side}_attention_heads"):
                raise ValueError(f"d_model {self.d_model} doesn't divide among {getattr(self, f'{side}_attention_heads')} {side}_attention_heads")
        return self

    @classmethod
    def of_config(cls, values: dict[str, Any], **changes: Any) -> Self:
        """From the `config.json` that transformers writes; dropout keeps the published values unless `changes` name others."""
        dropout = ("dropout", "attention_dropout", "activation_dropout", "forced_end")
        known = {name: values[name] for name in cls.model_fields if name in values and name not in dropout}
        return cls.model_validate({**known, "forced_end": values.get("forced_eos_token_id", EOS) is not None, **changes})


def read_mbart_options(path: Path, **changes: Any) -> MbartOptions:
    """The options of a `config.json`. Raises CheckpointError where it is missing or describes no mBART."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("model_type", "mbart") != "mbart":
            raise CheckpointError(f"{path}: describes a model of the type {values['model_type']!r}, and an mBART is needed")
        return MbartOptions.of_config(values, **changes)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: the folder of an mBART holds its configuration") from None
    except (OSError, ValueError, AttributeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else " ".join(str(error).split())[:100]
        raise CheckpointError(f"{path}: not the configuration of an mBART ({reason})") from None


class TranslatorOptions(Options):
    """The language model and its gloss embedding. The ids are rows of its two vocabularies: of texts, and of glosses."""

    mbart: MbartOptions = MbartOptions()
    num_glosses: int = Field(1124, gt=0, description="rows of the gloss embedding: the language model's own gloss vocabulary")
    gloss_pad: int = Field(PAD, ge=0)
    gloss_end: int = Field(EOS, ge=0, description="row of </s> in the gloss embedding")
    gloss_language: int = Field(8, ge=0, description="row of the signed language in the gloss embedding, such as de_DGS")
    language: int = Field(6, ge=0, description="id of the spoken language in the text vocabulary, such as de_DE: it begins every sentence")
    start_with_bos: bool = Field(
        False, description="begin generation with <s> and the language, as MSKA's published program did; training shows the language alone"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("gloss_pad", "gloss_end", "gloss_language"):
            if getattr(self, name) >= self.num_glosses:
                raise ValueError(f"{name} is {getattr(self, name)}, and the gloss embedding has {self.num_glosses} rows")
        if self.language >= self.mbart.vocab_size:
            raise ValueError(f"language is {self.language}, and the text vocabulary has {self.mbart.vocab_size} entries")
        return self

    @property
    def start(self) -> tuple[int, ...]:
        """Ids that every generated sentence begins with."""
        return (BOS, self.language) if self.start_with_bos else (self.language,)


class SignToTextOptions(Options):
    """What joins a recogniser and a translator.

    head: whose output is translated. feature, mapper: as published for Phoenix-2014T; for CSL-Daily `gloss_probabilities` and `embedding`.
    """

    head: str
    feature: Literal["gloss_feature", "gloss_probabilities"] = "gloss_feature"
    mapper: Literal["projection", "embedding"] = "projection"
    translator: TranslatorOptions = TranslatorOptions()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.mapper == "embedding" and self.feature != "gloss_probabilities":
            raise ValueError(f"mapper embedding looks glosses up by their probabilities, and feature is {self.feature}: set it to gloss_probabilities")
        return self


class GenerationOptions(Options):
    """How texts are generated; the published values for Phoenix-2014T."""

    beam_width: int = Field(5, gt=0)
    length_penalty: float = 1.0
    max_length: int = Field(100, gt=1, description="tokens of a sentence at most, the language at its beginning counted")
    n_best: int = Field(1, gt=0, description="sentences that are kept, the likeliest first")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_best > self.beam_width:
            raise ValueError(f"n_best is {self.n_best}, and a search of beam_width {self.beam_width} finds no more than {self.beam_width}")
        return self

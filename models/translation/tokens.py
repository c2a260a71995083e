"""Tokens of a translator: spoken texts in mBART's pruned vocabulary, glosses in the language model's own (twostream.md, sections 13.1 to 13.3).

SentencePiece is asked directly: transformers 5 ignores a model file that is handed to its tokenizer, and a pruned vocabulary needs an id map anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.batch import Batch
from models.errors import VocabularyError
from models.inputs.clip import Clip
from models.translation.config import EOS, PAD, UNK

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
LANGUAGES = (
    *("ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ"),
    *("ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN"),
)
SIGNED = {"de_DE": "de_DGS", "zh_CN": "zh_CSL"}  # spoken → signed language, as published
GLOSS_SPECIALS = (*SPECIALS, "<mask>", "zh_CN", "de_DE", "zh_CSL", "de_DGS")
TOKENS_FILE, PIECES_FILE = "tokens.json", "sentencepiece.bpe.model"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TextTokens:
    """Texts ↔ ids. model: a serialized SentencePiece model; kept: id in the full vocabulary of each id of ours; language: the spoken one."""

    model: bytes
    kept: tuple[int, ...]
    language: str

    def __post_init__(self) -> None:
        if self.kept[: len(SPECIALS)] != tuple(range(len(SPECIALS))):
            raise VocabularyError(f"the text vocabulary must begin with {' '.join(SPECIALS)}")
        if self.language not in LANGUAGES or self._language_place not in self.ids:
            raise VocabularyError(f"the text vocabulary has no language {self.language!r}; mBART's are {', '.join(LANGUAGES)}")

    @cached_property
    def pieces(self) -> Any:
        """The SentencePiece processor. Raises VocabularyError for bytes that are no model."""
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=self.model)
        except (RuntimeError, TypeError) as error:
            raise VocabularyError(f"not a SentencePiece model ({' '.join(str(error).split())[:100]})") from None

    @property
    def num_full(self) -> int:
        """Entries of the full vocabulary: pieces, languages and `<mask>`."""
        return int(self.pieces.get_piece_size()) + 1 + len(LANGUAGES) + 1

    @property
    def _language_place(self) -> int:
        return int(self.pieces.get_piece_size()) + 1 + LANGUAGES.index(self.language)

    @cached_property
    def ids(self) -> dict[int, int]:
        """Id in the full vocabulary → ours."""
        return {full: own for own, full in enumerate(self.kept)}

    @property
    def language_id(self) -> int:
        return self.ids[self._language_place]

    def full_ids(self, text: str) -> list[int]:
        """A text in the full vocabulary, without end and language: SentencePiece's ids moved by one, as fairseq numbers them."""
        return [UNK if piece == 0 else piece + 1 for piece in self.pieces.encode(text)]

    def encode(self, text: str) -> list[int]:
        """A text as the decoder is to say it: pieces, `</s>`, language; a piece that was pruned away is `<unk>`."""
        return [*(self.ids.get(full, UNK) for full in self.full_ids(text)), EOS, self.language_id]

    def piece(self, token: int) -> str:
        """What SentencePiece calls a token; of a special one or a language its name."""
        full, size = self.kept[token], int(self.pieces.get_piece_size())
        if full < len(SPECIALS):
            return SPECIALS[full]
        return str(self.pieces.id_to_piece(full - 1)) if full <= size else (*LANGUAGES, "<mask>")[full - size - 1]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens and languages are left out. Raises VocabularyError for an id outside the vocabulary."""
        size = int(self.pieces.get_piece_size())
        try:
            full = [self.kept[index] for index in ids]
        except IndexError:
            raise VocabularyError(f"a token is outside the text vocabulary of {len(self.kept)} entries") from None
        text: str = self.pieces.decode([entry - 1 for entry in full if len(SPECIALS) <= entry <= size])
        return text


@dataclass(frozen=True, kw_only=True)
class GlossTokens:
    """Glosses → ids of the language model's gloss vocabulary. language: the signed one, which ends every sentence."""

    entries: tuple[str, ...]
    language: str

    def __post_init__(self) -> None:
        missing = [entry for entry in ("<pad>", "</s>", "<unk>", self.language) if entry not in self.ids]
        if missing:
            raise VocabularyError(f"the language model's gloss vocabulary lacks {', '.join(missing)}: take the one that was made with the model")

    @cached_property
    def ids(self) -> dict[str, int]:
        return {entry: index for index, entry in enumerate(self.entries)}

    def encode(self, glosses: Iterable[str]) -> list[int]:
        """Lower-cased glosses, `</s>`, language; an unknown gloss is `<unk>`."""
        return [*(self.ids.get(gloss.lower(), self.ids["<unk>"]) for gloss in glosses), self.ids["</s>"], self.ids[self.language]]


@dataclass(frozen=True, kw_only=True)
class TranslationTokens:
    """Both vocabularies of a translator: what a bundle of one holds in its folder `tokens`."""

    text: TextTokens
    glosses: GlossTokens

    def with_texts(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        """`batch` with the texts of its clips: what the decoder is shown, the language first, and what it is to say."""
        rows = _padded([self.text.encode(clip.text or "") for clip in clips], PAD)
        language = self.text.language_id
        start = torch.full((len(rows), 1), language)
        return replace(batch, text_inputs=torch.cat([start, rows[:, :-1]], dim=1), text_targets=torch.where(rows == language, PAD, rows))

    def with_glosses(self, batch: Batch, clips: Sequence[Clip]) -> Batch:
        """`batch` with the glosses of its clips, for gloss-to-text."""
        rows = [self.glosses.encode(clip.glosses or ()) for clip in clips]
        return replace(batch, sources=_padded(rows, self.glosses.ids["<pad>"]), source_lengths=torch.tensor([len(row) for row in rows]))

    def save(self, folder: Path) -> None:
        """`tokens.json` and the SentencePiece model in `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PIECES_FILE).write_bytes(self.text.model)
        record = {
            "format": FORMAT,
            "language": self.text.language,
            "kept": list(self.text.kept),
            "signed_language": self.glosses.language,
            "glosses": list(self.glosses.entries),
        }
        (folder / TOKENS_FILE).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TranslationTokens:
        """Raises VocabularyError naming the file that is missing, damaged or of a newer format."""
        file = folder / TOKENS_FILE
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["format"] > FORMAT:
                raise VocabularyError(f"{file}: format {record['format']} is newer than {FORMAT}: upgrade signray")
            text = TextTokens(model=(folder / PIECES_FILE).read_bytes(), kept=tuple(map(int, record["kept"])), language=record["language"])
            return cls(text=text, glosses=GlossTokens(entries=tuple(record["glosses"]), language=record["signed_language"]))
        except OSError as error:
            raise VocabularyError(f"{error.filename}: can't be read ({error.strerror}): a translator's folder holds {TOKENS_FILE} and {PIECES_FILE}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise VocabularyError(f"{file}: not the tokens of a translator ({type(error).__name__}: {' '.join(str(error).split())[:80]})") from None


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    padded = torch.full((len(rows), max(len(row) for row in rows)), value)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = torch.tensor(row, dtype=torch.long)
    return padded

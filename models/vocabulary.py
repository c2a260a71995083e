"""Gloss vocabularies: gloss ↔ id, with the CTC blank at id 0."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models.errors import VocabularyError

FORMAT = 1
SPECIALS = ("<si>", "<unk>", "<pad>", "</s>")  # ids 0..3 of a vocabulary that we build ourselves (mska.md, section 1)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """An ordered list of glosses; the position is the class id, id 0 the CTC blank.

    `aliases` are further spellings of an id (TwoStream's Phoenix-2014 file gives two entries one id).
    """

    entries: tuple[str, ...]
    lower_case: bool = False
    aliases: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.entries:
            raise VocabularyError("the vocabulary is empty: it needs at least the CTC blank as id 0")
        repeated = {entry for entry in self.entries if self.entries.count(entry) > 1} if len(set(self.entries)) < len(self.entries) else set()
        if repeated:
            raise VocabularyError(f"the vocabulary lists {sorted(repeated)[:3]} more than once: each gloss needs one id")

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Gloss → id, aliases included."""
        return {**{entry: index for index, entry in enumerate(self.entries)}, **self.aliases}

    @property
    def blank_id(self) -> int:
        return 0

    @cached_property
    def pad_id(self) -> int:
        """Id that fills padded labels; the blank where the vocabulary has no `<pad>` (labels never contain either)."""
        return self.ids.get("<pad>", 0)

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of `<unk>`, or None where the vocabulary has none (VAC family)."""
        return self.ids.get("<unk>")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no glosses: the blank and everything of the form `<...>`."""
        return frozenset({0} | {index for index, entry in enumerate(self.entries) if entry.startswith("<") and entry.endswith(">")})

    def normalise(self, gloss: str) -> str:
        return gloss.lower() if self.lower_case else gloss

    def unknown(self, glosses: Iterable[str]) -> list[str]:
        """The glosses of a sentence that the vocabulary doesn't have, in order. The blank is none."""
        return [gloss for gloss in glosses if not self._id_of(gloss)]

    def _id_of(self, gloss: str) -> int | None:
        """None, or 0, where it is no gloss."""
        return self.ids.get(self.normalise(gloss))

    def encode(self, glosses: Iterable[str]) -> list[int]:
        """Ids of a gloss sequence; an unknown gloss, and the blank's name as one, becomes `<unk>`. Raises VocabularyError where there is no `<unk>`."""
        ids = []
        for gloss in glosses:
            index = self._id_of(gloss) or self.unknown_id
            if index is None:
                raise VocabularyError(f"gloss {gloss!r} is not in the vocabulary, which has no <unk>: rebuild it from the split or drop the clip")
            ids.append(index)
        return ids

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Glosses of an id sequence. Raises VocabularyError for an id outside the vocabulary."""
        try:
            return [self.entries[index] for index in ids]
        except IndexError:
            raise VocabularyError(f"id {max(ids)} is outside the vocabulary of {len(self)} entries") from None

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, "lower_case": self.lower_case, "entries": list(self.entries), "aliases": dict(self.aliases)}

    @classmethod
    def from_dict(cls, record: dict[str, Any], *, where: str = "vocabulary") -> Vocabulary:
        """Raises VocabularyError with `where` for a record of another format."""
        try:
            if record["format"] > FORMAT:
                raise VocabularyError(f"{where}: vocabulary format {record['format']} is newer than {FORMAT}: upgrade signray")
            return cls(entries=tuple(record["entries"]), lower_case=bool(record["lower_case"]), aliases=dict(record.get("aliases", {})))
        except (KeyError, TypeError) as error:
            raise VocabularyError(f"{where}: not a vocabulary ({type(error).__name__}: {error})") from None

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary file. Raises VocabularyError where it is missing or malformed."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise VocabularyError(f"{path}: no such vocabulary file") from None
        except json.JSONDecodeError as error:
            raise VocabularyError(f"{path}: not JSON ({error})") from None
        return cls.from_dict(record, where=str(path))


def build_vocabulary(sentences: Iterable[Iterable[str]], *, lower_case: bool, specials: Sequence[str] = SPECIALS) -> Vocabulary:
    """Vocabulary of all glosses of `sentences`, sorted by code point, after `specials` (whose first is the blank)."""
    glosses = {gloss.lower() if lower_case else gloss for sentence in sentences for gloss in sentence}
    return Vocabulary(entries=(*specials, *sorted(glosses - set(specials))), lower_case=lower_case)

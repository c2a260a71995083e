"""Class maps of isolated recognition: a sign's name ↔ its class id."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from models.errors import VocabularyError

FORMAT = 1


@dataclass(frozen=True)
class ClassMap:
    """The names of all classes in the order of their ids: the position is the class id. Names are unique and looked up as they are written."""

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise VocabularyError("the class map is empty: isolated recognition needs at least one class")
        if not all(isinstance(label, str) and label for label in self.labels):
            raise VocabularyError("the class map has a class without a name: each class needs one")
        repeated = [label for label, count in Counter(self.labels).items() if count > 1]
        if repeated:
            raise VocabularyError(f"the class map lists {sorted(repeated)[:3]} more than once: each class needs a name of its own")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Name → class id."""
        return {label: index for index, label in enumerate(self.labels)}

    def encode(self, label: str) -> int:
        """Class id of a name. Raises VocabularyError with the nearest name where no class has it."""
        index = self.ids.get(label)
        if index is None:
            nearest = difflib.get_close_matches(label, self.labels, n=1)
            hint = f", the nearest is {nearest[0]!r}" if nearest else ""
            raise VocabularyError(f"label {label!r} is none of the {len(self)} classes{hint}: correct the label or leave the clip out")
        return index

    def decode(self, index: int) -> str:
        """Name of a class id. Raises VocabularyError for an id outside the map."""
        if not 0 <= index < len(self):
            raise VocabularyError(f"class id {index} is outside the class map of {len(self)} classes")
        return self.labels[index]

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, record: dict[str, Any], *, where: str = "class map") -> ClassMap:
        """Raises VocabularyError with `where` for a record of another format."""
        try:
            if record["format"] > FORMAT:
                raise VocabularyError(f"{where}: class map format {record['format']} is newer than {FORMAT}: upgrade signray")
            if not isinstance(record["labels"], list):
                raise TypeError("labels must be a list of names")
            return cls(tuple(record["labels"]))
        except (KeyError, TypeError) as error:
            raise VocabularyError(f"{where}: not a class map ({type(error).__name__}: {error})") from None

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ClassMap:
        """Read a class map file. Raises VocabularyError where it is missing or malformed."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise VocabularyError(f"{path}: can't be read ({error.strerror or error})") from None
        except ValueError as error:
            raise VocabularyError(f"{path}: not JSON ({error})") from None
        return cls.from_dict(record, where=str(path))

"""What `bundle.json` says of a bundle, as a schema."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from models.errors import BundleError
from models.fusion import FusionRule
from models.metrics.cleanup import CLEANUPS
from models.options import Options
from models.version import VERSION

FORMAT = 1
RECORD_FILE = "bundle.json"
KINDS = ("network", "ensemble")
Kind = TypeVar("Kind", bound=Options)

UNNAMED_LICENCE = "not stated: ask the owner of the recordings"


class CorpusCard(Options):
    """The corpus that a network has learned from: what its scores mean and what may be done with it.

    cleanup: the rules by which glosses are cleaned before scoring (`models.metrics.cleanup.CLEANUPS`). checksum: of the shards.
    extractors: what estimated the keypoints, name and version of each (`models.pose`); empty where the shards don't say it.
    """

    name: str
    lower_case: bool = False
    cleanup: str = "none"
    licence: str = UNNAMED_LICENCE
    checksum: str = ""
    extractors: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> CorpusCard:
        if self.cleanup not in CLEANUPS:
            raise ValueError(f"cleanup: no rules are called {self.cleanup!r}; there are: {', '.join(CLEANUPS)}")
        return self


class FileEntry(Options):
    """A file of a bundle: its path in the folder is its key in `BundleRecord.files`."""

    size: int = Field(ge=0)
    sha256: str


class BundleRecord(Options):
    """`bundle.json`. network, inputs and decoding are the dumps of the system's own options; tied: tensors that repeat another → that one's name."""

    format: int
    kind: Literal["network"]
    signray: str
    task: str
    system: str
    network: dict[str, Any]
    inputs: dict[str, Any]
    decoding: dict[str, Any]
    corpus: CorpusCard
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    tied: dict[str, str]
    files: dict[str, FileEntry]


class MemberEntry(Options):
    """A member of an ensemble: its folder in the ensemble's, its fusion weight, and the head of it that counts."""

    folder: str
    weight: float = Field(ge=0)
    head: str


class EnsembleRecord(Options):
    """`bundle.json` of an ensemble: members by name, and how they answer together. files: of all members.

    fuse: how logits become one (`models.fusion.fuse`). Members that are heads of one network share a folder.
    """

    format: int
    kind: Literal["ensemble"]
    signray: str
    task: str
    fuse: FusionRule = "logits"
    members: dict[str, MemberEntry]
    decoding: dict[str, Any]
    corpus: CorpusCard
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    files: dict[str, FileEntry]


def read_record(folder: Path) -> BundleRecord | EnsembleRecord:
    """`bundle.json` of a folder. Errors: BundleError as of `load_bundle`."""
    file = folder / RECORD_FILE
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle: a bundle is the folder that training writes, with {RECORD_FILE} in it")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder}: not a bundle, it has no {RECORD_FILE}: give the folder that training wrote") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: can't be read ({' '.join(str(error).split())[:100]}): copy the bundle again") from None
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise BundleError(f"{file}: not the description of a bundle, it names no format")
    if found > FORMAT:
        writer = content.get("signray", "of an unknown version")
        raise BundleError(
            f"{folder}: a bundle of a newer version: format {found}, written by signray {writer}; signray {VERSION} reads {FORMAT}: upgrade signray"
        )
    if content.get("kind") not in KINDS:
        raise BundleError(f"{folder}: a bundle of another kind, {content.get('kind')!r}: signray {VERSION} reads {', '.join(KINDS)}")
    if content["kind"] == "ensemble":
        return parsed(EnsembleRecord, content, where=str(file))
    return parsed(BundleRecord, content, where=str(file))


def parsed(kind: type[Kind], values: Any, *, where: str, key: str = "") -> Kind:
    """Options of `kind` from plain values. Errors: BundleError naming `where`, the key and, of an unknown one, the nearest."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise BundleError(f"{where}: {_sentence(error.errors()[0], kind, key)}") from None


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as JSON can hold them: NaN and infinities become null. Raises ValueError for what JSON has no form for."""
    try:
        return {str(key): _plain(value) for key, value in values.items()}
    except TypeError as error:
        raise ValueError(f"neither metrics nor provenance can hold this: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a {type(value).__name__} ({value!r})")


def _sentence(detail: ErrorDetails, kind: type[Options], key: str) -> str:
    where = ".".join(str(part) for part in ((key,) if key else ()) + tuple(detail["loc"]))
    if detail["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(detail["loc"][-1]), kind.model_fields, n=1) if len(detail["loc"]) == 1 else []
        return f"unknown key {where!r}" + (f", the nearest is {nearest[0]!r}" if nearest else "")
    return f"{where}: {detail['msg']}" if where else detail["msg"]

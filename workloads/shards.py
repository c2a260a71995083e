"""Shards: a corpus as Parquet files that training streams, with `corpus.json` beside them.

    OUT/<split>/part-00000.parquet ...   recordings, one row each, in row groups of ROW_GROUP_ROWS
    OUT/rejected.jsonl                   recordings that were not taken: name, split, reason
    OUT/report.json                      what the validation found
    OUT/corpus.json                      counts, vocabulary, checksums; written last: without it the folder is not a shard set

A row is `SCHEMA`; the points per frame, the channels (x, y in pixels, confidence) and the format version stand in each file's metadata.
A recording has keypoints, pictures or both; who reads says which of them he wants, and the other's column isn't touched. Its pictures are either encoded one by
one, or one video with many places at which decoding can begin. Format 1 had no pictures and is read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.storage import Location, Place, file_size
from models.class_map import ClassMap
from models.errors import ShardError, VocabularyError
from models.inputs.clip import Clip
from models.inputs.frames import EncodedPictures, Frames
from models.inputs.inputs import Modality
from models.media import VideoSegment
from models.vocabulary import Vocabulary
from workloads.shard_files import AGAIN, digest, open_shard, retried, row_group, shard_errors, shard_location, store_errors

FORMAT = 2
CHANNELS = 3
ROW_GROUP_ROWS = 16  # a reader holds one row group: about 3 MB of the keypoints of 150-frame clips
CORPUS_FILE = "corpus.json"
INDEX_COLUMNS = ("name", "signer", "gloss", "label", "text", "n_frames")

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("signer", pa.string(), nullable=False),  # empty where unknown
        pa.field("gloss", pa.list_(pa.string())),  # null: no gloss annotation
        pa.field("label", pa.string()),  # class of an isolated sign
        pa.field("text", pa.string()),  # spoken-language sentence
        pa.field("fps", pa.float32()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("n_frames", pa.int32(), nullable=False),
        pa.field("keypoints", pa.large_list(pa.float32())),  # T·K·3, frame by frame
        pa.field("extractor", pa.string()),  # what estimated the keypoints, name and version; null: unknown
        pa.field("frames", pa.list_(pa.binary())),  # the pictures, or one video of them; null: keypoints only
        pa.field("frames_form", pa.string()),  # how they are encoded: PICTURE_FORMS, or VIDEO_FORM
        pa.field("frames_width", pa.int32()),  # of the pictures as stored; width and height above are those of the keypoints' frame
        pa.field("frames_height", pa.int32()),
    ]
)
PICTURE_FORMS = ("jpeg", "png", "webp")
VIDEO_FORM = "h264"
KEYPOINTS_ONLY: tuple[Modality, ...] = ("keypoints",)
READERS_AT_ONCE = 16  # of the files of a store, where reading is waiting
_COLUMNS_OF: dict[Modality, tuple[str, ...]] = {"keypoints": ("keypoints", "extractor"), "frames": ("frames", "frames_form", "frames_width", "frames_height")}


class SplitCounts(BaseModel):
    """Counts of one split; frames are per recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    recordings: int
    frames: int
    frames_min: int
    frames_median: float
    frames_p95: float
    frames_max: int
    glosses: int
    signers: int


class ShardFile(BaseModel):
    """One file of a shard set: its path in the folder is its key in `CorpusFile.files`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    recordings: int
    bytes: int
    sha256: str


class CorpusFile(BaseModel):
    """What `corpus.json` holds.

    num_keypoints: points per frame, 0 where no recording has keypoints. modalities: what every recording has.
    labels: the class map of isolated signs, where the position is the class id; empty for continuous signing.
    labels_source: the class list's file, or how the map was made. checksum: over the files' checksums, the vocabulary and the class map.
    extractors: what estimated the keypoints, name and version → recordings; those of which nobody knows are left out. options: how the shards were made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    corpus: str
    licence: str
    num_keypoints: int
    modalities: tuple[Modality, ...] = KEYPOINTS_ONLY
    splits: dict[str, SplitCounts]
    vocabulary: dict[str, Any]
    vocabulary_source: str
    labels: tuple[str, ...]
    labels_source: str = ""
    extractors: dict[str, int] = {}
    files: dict[str, ShardFile]
    checksum: str
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """The small columns of one recording."""

    name: str
    split: str
    signer: str
    n_frames: int
    glosses: tuple[str, ...] | None
    label: str | None
    text: str | None = None

    @property
    def num_glosses(self) -> int:
        return len(self.glosses or ())


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """A finished folder of shards, on a disk or in a store; reading is lazy, one row group at a time."""

    path: Location
    corpus: CorpusFile
    _indices: dict[str, list[IndexRow]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, path: str | Location) -> ShardSet:
        """Read `corpus.json` and check that each file is there in full size. path: a folder, or a URI as `cluster.storage.location` takes it.

        Errors: ShardError for a folder without a readable `corpus.json`, of a newer format, or with a missing or truncated shard, and for a store that refuses.
        """
        path = shard_location(path)
        shards = cls(path=path, corpus=read_corpus_file(path))
        with store_errors():
            sizes = path.sizes() if isinstance(path, Place) else {}
        for name, file in shards.corpus.files.items():
            found = sizes.get(name) if isinstance(path, Place) else file_size(path / name)
            if found != file.bytes:
                state = "is missing" if found is None else f"has {found} bytes instead of {file.bytes}"
                raise ShardError(f"{path / name} {state}: the shards are damaged; {AGAIN}")
        return shards

    @cached_property
    def vocabulary(self) -> Vocabulary:
        try:
            return Vocabulary.from_dict(self.corpus.vocabulary, where=str(self.path / CORPUS_FILE))
        except VocabularyError as error:
            raise ShardError(f"{error}; {AGAIN} with --force") from None

    @cached_property
    def classes(self) -> ClassMap:
        """The classes of isolated signs, in the order of their ids. Errors: ShardError where the shards have none."""
        if not self.corpus.labels:
            raise ShardError(f"{self.path} holds no isolated signs: no training recording has a label; {AGAIN} on recordings with labels")
        return ClassMap(self.corpus.labels)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.corpus.splits)

    @property
    def num_keypoints(self) -> int:
        return self.corpus.num_keypoints

    @property
    def checksum(self) -> str:
        return self.corpus.checksum

    def files(self, split: str) -> list[Location]:
        """The Parquet files of a split, in order. Errors: ShardError naming the splits where there is none of this name."""
        if split not in self.corpus.splits:
            raise ShardError(f"{self.path} has no split {split!r}: its splits are {', '.join(self.splits)}")
        return [self.path / name for name in self.corpus.files if name.startswith(f"{split}/")]

    def index(self, split: str) -> list[IndexRow]:
        """The small columns of a split's recordings, in the order of the shards; keypoints are not read."""
        files = self.files(split)
        if not isinstance(self.path, Place):
            return [row for file in files for row in _index_of(file, split)]
        if split not in self._indices:
            with ThreadPoolExecutor(max_workers=READERS_AT_ONCE) as pool:
                self._indices[split] = [row for rows in pool.map(lambda file: _index_of(file, split), files) for row in rows]
        return list(self._indices[split])

    def rows(self, split: str, names: Collection[str] | None = None, *, modalities: Sequence[Modality] = KEYPOINTS_ONLY) -> Iterator[Clip]:
        """The clips of a split (those of `names`, where given) with these modalities, in the order of the shards, read in this process without Ray."""
        wanted = None if names is None else frozenset(names)
        for file in self.files(split):
            for group in _row_groups(file, wanted, modalities):
                yield from _clips(group, wanted)

    def verify(self) -> None:
        """Compare every checksum. Errors: ShardError naming the first file whose contents differ."""
        for name, file in self.corpus.files.items():
            with shard_errors(self.path / name):
                found = digest(self.path / name)
            if found != file.sha256:
                raise ShardError(f"{self.path / name}: its contents differ from what preprocess wrote; {AGAIN} with --force")
        if corpus_checksum(self.corpus.files, self.corpus.vocabulary, self.corpus.labels) != self.corpus.checksum:
            raise ShardError(f"{self.path / CORPUS_FILE}: its checksum doesn't fit its contents; {AGAIN} with --force")


def read_corpus_file(path: Location) -> CorpusFile:
    """`corpus.json` of a shard folder. Errors: ShardError as of `ShardSet.open`."""
    file = path / CORPUS_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path.is_dir():
            raise ShardError(f"{path} has no {CORPUS_FILE}: preprocess was not finished: run it again") from None
        raise ShardError(f"{path}: no such folder of shards; make it with preprocess --out") from None
    except ConnectionError as error:
        raise ShardError(str(error)) from None
    except (OSError, ValueError) as error:
        raise ShardError(f"{file}: can't be read ({error}); {AGAIN} with --force") from None
    version = record.get("format") if isinstance(record, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ShardError(f"{file}: shard format {version} is newer than {FORMAT}: upgrade signray, or {AGAIN} with --force")
    try:
        return CorpusFile.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ShardError(f"{file}: not a description of shards ({'.'.join(map(str, first['loc']))}: {first['msg']}); {AGAIN} with --force") from None


def clip_from_row(row: Mapping[str, Any]) -> Clip:
    """The clip of one row of a shard, as pyarrow (`to_pylist`), pandas or Ray Data (numpy) give it; its keypoints are a copy of its own.

    Columns of modalities that weren't read are missing or null: the clip has no points, or no frames.
    """
    num_frames = int(row["n_frames"])
    points = row.get("keypoints")
    keypoints = np.zeros((num_frames, 0, CHANNELS), np.float32) if _is_null(points) else np.array(points, np.float32).reshape(num_frames, -1, CHANNELS)
    gloss = row["gloss"]
    fps = row["fps"]
    return Clip(
        name=str(row["name"]),
        keypoints=keypoints,
        frames=_frames(row, num_frames),
        frame_size=(int(row["width"]), int(row["height"])),
        glosses=None if _is_null(gloss) else tuple(str(entry) for entry in gloss),
        label=_optional_text(row["label"]),
        text=_optional_text(row["text"]),
        signer=str(row["signer"]),
        fps=None if _is_null(fps) else float(fps),
    )


def _frames(row: Mapping[str, Any], num_frames: int) -> Frames | None:
    encoded = row.get("frames")
    if encoded is None or _is_null(encoded):
        return None
    size = (int(row["frames_width"]), int(row["frames_height"]))
    if row["frames_form"] == VIDEO_FORM:
        return VideoSegment(content=encoded[0], num_frames=num_frames, size=size)
    return EncodedPictures(pictures=encoded, size=size)


def corpus_checksum(files: Mapping[str, ShardFile], vocabulary: Mapping[str, Any], labels: Sequence[str]) -> str:
    """SHA-256 over the checksums of all files, over the vocabulary and, where there are classes, over their names in order: equal for equal corpora."""
    lines = [f"{file.sha256}  {name}" for name, file in sorted(files.items())]
    lines.append(json.dumps(vocabulary, ensure_ascii=False, sort_keys=True))
    if labels:
        lines.append(json.dumps(list(labels), ensure_ascii=False))
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def file_metadata(num_keypoints: int) -> dict[bytes, bytes]:
    return {b"signray.shard": json.dumps({"format": FORMAT, "keypoints": num_keypoints, "channels": CHANNELS}).encode()}


def _index_of(file: Location, split: str) -> list[IndexRow]:
    with open_shard(file) as parquet:
        table = retried(file, lambda: parquet.read(columns=list(INDEX_COLUMNS), use_threads=False))
    return [_index_row(row, split) for row in table.to_pylist()]


def row_group_sizes(file: Location) -> list[int]:
    """Recordings in each row group of a shard. Errors: ShardError where it can't be read."""
    with open_shard(file) as parquet:
        return [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]


def read_row_groups(file: Location, groups: Iterable[int], modalities: Sequence[Modality] = KEYPOINTS_ONLY) -> Iterator[Clip]:
    """The clips of some row groups of a shard, by number, one group at a time: a piece of work. Errors: ShardError where it can't be read."""
    with open_shard(file) as parquet:
        columns = columns_of(parquet.schema_arrow, modalities)
        for number in groups:
            yield from _clips(row_group(file, parquet, number, columns), None)


def shard_columns(file: Location, modalities: Sequence[Modality]) -> list[str]:
    """The columns of a shard that clips with these modalities are made of. Errors: ShardError where it can't be read."""
    with open_shard(file) as parquet:
        return columns_of(parquet.schema_arrow, modalities)


def columns_of(schema: pa.Schema, modalities: Sequence[Modality]) -> list[str]:
    """The columns of a shard that clips with these modalities are made of."""
    others = {column for modality, columns in _COLUMNS_OF.items() if modality not in modalities for column in columns}
    return [name for name in schema.names if name not in others]


def _row_groups(file: Location, wanted: frozenset[str] | None, modalities: Sequence[Modality]) -> Iterator[pa.Table]:
    with open_shard(file) as parquet:
        columns = columns_of(parquet.schema_arrow, modalities)
        for number in range(parquet.num_row_groups):
            if wanted is not None and wanted.isdisjoint(row_group(file, parquet, number, ["name"])["name"].to_pylist()):
                continue
            yield row_group(file, parquet, number, columns)


def clips_from_table(table: pa.Table) -> Iterator[Clip]:
    """The clips of rows of a shard as an Arrow table, which is what Ray Data streams."""
    return _clips(table, None)


def _clips(group: pa.Table, wanted: frozenset[str] | None) -> Iterator[Clip]:
    heavy = [name for name in ("keypoints", "frames") if name in group.column_names]
    for position, row in enumerate(group.drop_columns(heavy).to_pylist()):
        if wanted is None or row["name"] in wanted:
            yield clip_from_row({**row, **{name: _heavy(group[name][position]) for name in heavy}})


def _heavy(cell: Any) -> Any:
    """Numbers as an array, pictures as bytes; None where the row has none."""
    if not cell.is_valid:
        return None
    return (
        cell.as_py()
        if pa.types.is_binary(cell.type.value_type) or pa.types.is_large_binary(cell.type.value_type)
        else cell.values.to_numpy(zero_copy_only=False)
    )


def _index_row(row: dict[str, Any], split: str) -> IndexRow:
    glosses = row["gloss"]
    return IndexRow(
        name=row["name"],
        split=split,
        signer=row["signer"],
        n_frames=row["n_frames"],
        glosses=None if glosses is None else tuple(glosses),
        label=row["label"],
        text=row["text"],
    )


def _is_null(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # pandas' null in Arrow-backed columns, which Ray Data's pandas batches have
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _optional_text(value: Any) -> str | None:
    return None if _is_null(value) else str(value)

"""Bundles: a trained network as one folder, the only thing that prediction, evaluation, ensembles and serving read.

    bundle.json          what it is: system, options, decoding, corpus, metrics, provenance, checksums
    weights.safetensors  float32
    vocabulary.json      glosses and their ids; of isolated signs classes.json, their names and ids
    samples/             a few clips to try it on (.npz, .mp4), where the licence of the data allows
    tokens/              of a network that translates: its SentencePiece model, id map and gloss vocabulary
    recipe.yaml          how it was trained; provenance only, nothing reads it
    README.md            the model card, for people to read and to edit; the only file without a checksum

Loading never unpickles and needs no code but this package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from torch import Tensor, nn

from models.bundle_record import FORMAT, RECORD_FILE, BundleRecord, CorpusCard, EnsembleRecord, FileEntry, parsed, plain, read_record
from models.bundle_samples import SAMPLES_FOLDER, read_sample, write_samples
from models.bundle_weights import built, fill_network, write_weights
from models.class_map import ClassMap
from models.classification import Classifier, Member
from models.decoding.options import DecodingOptions
from models.errors import BundleError, VocabularyError
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality
from models.model_card import model_card
from models.options import AnswerOptions, Options
from models.recognition import Recogniser
from models.systems import SYSTEMS, Task
from models.translation.recogniser import TranslatingRecogniser
from models.translation.tokens import PIECES_FILE, TOKENS_FILE, TranslationTokens
from models.version import VERSION
from models.vocabulary import Vocabulary

__all__ = ["Bundle", "CorpusCard", "DecodingOptions", "load_bundle", "save_bundle"]

WEIGHTS_FILE, RECIPE_FILE, CARD_FILE = "weights.safetensors", "recipe.yaml", "README.md"
TOKENS_FOLDER = "tokens"
CLASSES_FILES: Mapping[Task, str] = {"slr": "vocabulary.json", "islr": "classes.json"}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was read and checked; its weights stay on disk until `network` is called.

    options, inputs, decoding: of the system's own classes. classes: what its outputs are, glosses or isolated signs.
    metrics, provenance: plain JSON values. signray: the version that wrote it.
    """

    folder: Path
    system: str
    task: Task
    options: Options
    inputs: Inputs
    classes: Vocabulary | ClassMap
    decoding: AnswerOptions
    corpus: CorpusCard
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    signray: str
    files: Mapping[str, FileEntry]
    tied: Mapping[str, str]

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights: equal for equal networks."""
        return self.files[WEIGHTS_FILE].sha256

    @property
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer, the system's default first."""
        return SYSTEMS[self.system].answering

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses of a continuous recogniser. Raises BundleError where it recognises isolated signs."""
        if not isinstance(self.classes, Vocabulary):
            raise BundleError(f"{self.folder}: recognises isolated signs ({self.system}), and a recogniser of sentences is needed")
        return self.classes

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What of a clip its network looks at."""
        return self.inputs.modalities

    @property
    def translates(self) -> bool:
        return SYSTEMS[self.system].translates

    @property
    def tokens(self) -> TranslationTokens | None:
        """A translator's tokens; None where the network doesn't translate. Raises VocabularyError where they are damaged."""
        return TranslationTokens.load(self.folder / TOKENS_FOLDER) if self.translates else None

    def network(self, device: str = "cpu") -> nn.Module:
        """The network with its weights, on `device`, in evaluation mode. Raises BundleError where the weights don't fit the options."""
        network = built(SYSTEMS[self.system].build, self.options, len(self.classes))
        fill_network(network, self.folder / WEIGHTS_FILE, self.tied)
        return network.to(device).eval()

    def recogniser(self, device: str = "cpu", decoding: AnswerOptions | None = None) -> Recogniser | Classifier:
        """The network ready to answer, by the bundle's decoding options unless others are given."""
        system, network, decoding = SYSTEMS[self.system], self.network(device), decoding or self.decoding
        if isinstance(self.classes, ClassMap):
            member = Member(system=system, network=network, inputs=self.inputs, head=decoding.head)
            return Classifier(members={self.system: member}, classes=self.classes, decoding=decoding)
        assert isinstance(decoding, DecodingOptions)
        tokens = self.tokens
        if tokens is not None:
            return TranslatingRecogniser(system=system, network=network, inputs=self.inputs, vocabulary=self.classes, decoding=decoding, tokens=tokens)
        return Recogniser(system=system, network=network, inputs=self.inputs, vocabulary=self.classes, decoding=decoding)

    def samples(self) -> list[Clip]:
        """The clips that travel with the bundle, with their annotation."""
        return [read_sample(self.folder / name) for name in sorted(self.files) if name.startswith(f"{SAMPLES_FOLDER}/") and name.endswith(".npz")]


def save_bundle(
    folder: Path,
    *,
    system: str,
    options: Options,
    inputs: Inputs,
    state_dict: Mapping[str, Tensor],
    classes: Vocabulary | ClassMap,
    decoding: AnswerOptions,
    corpus: CorpusCard,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    recipe: Mapping[str, Any] | None = None,
    samples: Sequence[Clip] = (),
    tokens: TranslationTokens | None = None,
) -> Bundle:
    """Write a bundle, in place of an older one at `folder`: it is written beside and renamed at the end, so there is never half of one.

    Equal arguments give equal bytes. tokens: of a network that translates.
    The caller sees to it that the data's licence allows `samples`. Raises BundleError where `folder`
    holds something else or can't be written, ValueError for metrics or provenance that JSON can't hold.
    """
    with bundle_folder(Path(folder)) as staging:
        tied = write_weights(staging / WEIGHTS_FILE, state_dict)
        task = SYSTEMS[system].task
        classes.save(staging / CLASSES_FILES[task])
        write_samples(staging / SAMPLES_FOLDER, samples)
        if tokens is not None:
            tokens.save(staging / TOKENS_FOLDER)
        if recipe is not None:
            (staging / RECIPE_FILE).write_text(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
        record = BundleRecord(
            format=FORMAT,
            kind="network",
            signray=VERSION,
            task=task,
            system=system,
            network=options.model_dump(mode="json"),
            inputs=inputs.model_dump(mode="json"),
            decoding=decoding.model_dump(mode="json"),
            corpus=corpus,
            metrics=plain(metrics),
            provenance=plain(provenance),
            tied=tied,
            files=file_entries(staging),
        )
        write_record(staging, record, model_card(record, classes, decoding, inputs, num_weights=_num_weights(state_dict, tied)))
    return load_bundle(folder)


@contextmanager
def bundle_folder(folder: Path) -> Iterator[Path]:
    """A folder to write a bundle into, which takes the place of `folder` at the end. Raises BundleError as `save_bundle`."""
    if folder.exists() and not (folder / RECORD_FILE).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise BundleError(f"{folder} is there and holds no bundle: choose another folder")
    staging = folder.parent / f".{folder.name}.writing"
    try:
        shutil.rmtree(staging, ignore_errors=True)  # what a killed process left
        staging.mkdir(parents=True)
        yield staging
        _move(staging, folder)
    except OSError as error:
        raise BundleError(f"{folder}: the bundle can't be written ({error.strerror or error}): free space there, or choose another folder") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(staging, ignore_errors=True)


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Size and checksum of every file below `folder`."""
    return {path.relative_to(folder).as_posix(): _entry(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def write_record(folder: Path, record: BundleRecord | EnsembleRecord, card: str) -> None:
    """`bundle.json` and the model card."""
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    _write_synced(folder / RECORD_FILE, json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and compare every checksum.

    Raises BundleError for a folder that is none, of a newer version, of an unknown system or kind, with unknown keys, or with a file that
    is missing or differs from what was written.
    """
    folder = Path(folder)
    record = read_record(folder)
    if not isinstance(record, BundleRecord):
        raise BundleError(f"{folder}: an ensemble, and the bundle of one network is needed: give one of {folder / 'members'}")
    system = SYSTEMS.get(record.system)
    if system is None:
        raise BundleError(f"{folder}: a bundle of the system {record.system!r}, which signray {VERSION} doesn't know; it knows {', '.join(SYSTEMS)}")
    classes_file = CLASSES_FILES[system.task]
    tokens = (f"{TOKENS_FOLDER}/{TOKENS_FILE}", f"{TOKENS_FOLDER}/{PIECES_FILE}") if system.translates else ()
    for name in (WEIGHTS_FILE, classes_file, *tokens):
        if name not in record.files:
            raise BundleError(f"{folder / RECORD_FILE}: lists no {name}: the bundle is incomplete")
    check_files(folder, record.files)
    where = str(folder / RECORD_FILE)
    decoding = parsed(system.decoding, record.decoding, where=where, key="decoding")
    if decoding.head not in system.answering:
        raise BundleError(f"{where}: decoding.head: {decoding.head!r} is no head of {record.system}; there are: {', '.join(system.answering)}")
    try:
        classes = (Vocabulary if system.task == "slr" else ClassMap).load(folder / classes_file)
    except VocabularyError as error:
        raise BundleError(str(error)) from None
    return Bundle(
        folder=folder,
        system=record.system,
        task=system.task,
        options=parsed(system.options, record.network, where=where, key="network"),
        inputs=parsed(system.inputs, record.inputs, where=where, key="inputs"),
        classes=classes,
        decoding=decoding,
        corpus=record.corpus,
        metrics=record.metrics,
        provenance=record.provenance,
        signray=record.signray,
        files=record.files,
        tied=record.tied,
    )


def check_files(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Raises BundleError for the first file that is missing, outside the folder, or differs from what was written."""
    for name, entry in files.items():
        _check_file(folder, name, entry)


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BundleError(f"{folder / RECORD_FILE}: names the file {name!r}, which lies outside the bundle")
    path = folder / name
    size = path.stat().st_size if path.is_file() else None
    if size != entry.size:
        state = "is missing" if size is None else f"has {size} bytes instead of {entry.size}"
        raise BundleError(f"{path} {state}: the bundle is incomplete; copy it again")
    if _digest(path) != entry.sha256:
        raise BundleError(f"{path}: its contents differ from what was written (checksum): the bundle is corrupted; copy it again")


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=_digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _num_weights(state: Mapping[str, Tensor], tied: Mapping[str, str]) -> int:
    return sum(tensor.numel() for name, tensor in state.items() if tensor.is_floating_point() and name not in tied)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _move(staging: Path, folder: Path) -> None:
    """`staging` in place of `folder`; an older bundle there is put aside for the moment between the two renames."""
    aside = folder.parent / f".{folder.name}.old"
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    staging.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)

"""Posteriors of members on a split, or what translators' encoders make of it: computed once, in pieces over the cluster or in this process, and kept on disk.

A file is named by the digest of all that decides its content: the bundle's weights, network and input options and classes, the shards, the
split, the head, the version. So it can't be taken for that of another bundle or shard; a damaged one is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models.answering import Unanswered
from models.bundle import CLASSES_FILES, WEIGHTS_FILE, Bundle
from models.errors import ShardError
from models.posteriors import PosteriorReader, Posteriors
from models.recognition import SentenceAnswerer
from models.system import TEXT
from models.systems import SYSTEMS
from models.translation.encoding import EncodingReader
from models.translation.recogniser import TranslatingRecogniser
from models.version import VERSION
from workloads.evaluation_runners import RunPieces, pieces
from workloads.scoring import Answer
from workloads.shards import ShardSet

FORMAT = 1
TIMED_CLIPS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Logits (P, V) float32 of one head, the clips' steps one after the other; lengths (N,): steps of each clip, 0 where `reasons` says why.

    names: of the clips, in the order of the shards. latency_ms: of one clip alone, median of a few where the posteriors were computed.
    """

    names: tuple[str, ...]
    logits: NDArray[np.float32]
    lengths: NDArray[np.int64]
    reasons: Mapping[str, str]
    latency_ms: float

    @cached_property
    def clips(self) -> list[NDArray[np.float32]]:
        """Logits (S, V) of each clip."""
        return np.split(self.logits, np.cumsum(self.lengths)[:-1])


def identity(bundle: Bundle, shards: ShardSet, split: str, head: str | None = None) -> dict[str, Any]:
    """What decides the posteriors of `head`, by default the one that `bundle.decoding` names."""
    return {
        "format": FORMAT,
        "signray": VERSION,
        "system": bundle.system,
        "weights": bundle.checksum,
        "classes": bundle.files[CLASSES_FILES[bundle.task]].sha256,
        "network": bundle.options.model_dump(mode="json"),
        "inputs": bundle.inputs.model_dump(mode="json"),
        "head": head or bundle.decoding.head,
        "shards": shards.checksum,
        "split": split,
    }


def cache_file(cache: Path, facts: Mapping[str, Any]) -> Path:
    """Where the posteriors of an identity lie."""
    return cache / f"{hashlib.sha256(_text(facts).encode()).hexdigest()}.safetensors"


def read_posteriors(
    members: Mapping[str, Bundle], shards: ShardSet, split: str, *, cache: Path, run_pieces: RunPieces, batch_size: int = 8, texts: bool = False
) -> dict[str, Table]:
    """Posteriors of each member's head, from the cache or computed and put there; members that share a bundle share its forward passes.

    texts: in their place, what the encoder of a translator makes of the clips.

    The same whatever `run_pieces` and whatever was there. Errors: ShardError for an unknown split or a damaged shard.
    """
    shards.files(split)  # an unknown split is told before the work
    head_of = {name: TEXT if texts else bundle.decoding.head for name, bundle in members.items()}
    facts = {name: identity(bundle, shards, split, head_of[name]) for name, bundle in members.items()}
    found = {name: _load(cache_file(cache, facts[name]), facts[name]) for name in members}
    for folder in dict.fromkeys(bundle.folder for name, bundle in members.items() if found[name] is None):
        waiting = [name for name, bundle in members.items() if bundle.folder == folder and found[name] is None]
        heads = {name: head_of[name] for name in waiting}
        computed = _compute(members[waiting[0]], tuple(dict.fromkeys(heads.values())), shards, split, run_pieces, batch_size)
        for name in waiting:
            found[name] = computed[heads[name]]
            _store(cache_file(cache, facts[name]), facts[name], computed[heads[name]])
    return {name: table for name, table in found.items() if table is not None}


def _compute(bundle: Bundle, heads: tuple[str, ...], shards: ShardSet, split: str, run_pieces: RunPieces, batch_size: int) -> dict[str, Table]:
    reader, answerer, width = _readers(bundle, heads)
    numbered = dict(run_pieces(reader, pieces(shards, split), batch_size))
    answers = [answer for number in sorted(numbered) for answer in numbered[number]]
    latency = _latency_ms(answerer, shards, split)
    return {head: _table(answers, head, width, latency) for head in heads}


def _readers(bundle: Bundle, heads: tuple[str, ...]) -> tuple[PosteriorReader, PosteriorReader | SentenceAnswerer, int]:
    """What computes posteriors, what answers a clip as the bundle does where more than posteriors takes time, and the posteriors' width."""
    if heads != (TEXT,):
        reader = PosteriorReader(system=SYSTEMS[bundle.system], network=bundle.network(), inputs=bundle.inputs, heads=heads)
        return reader, reader, len(bundle.classes)
    answerer = bundle.recogniser()
    assert isinstance(answerer, TranslatingRecogniser)
    states = EncodingReader(system=answerer.system, network=answerer.network, inputs=answerer.inputs, tokens=answerer.tokens)
    return states, answerer, bundle.options.translator.mbart.d_model  # type: ignore[attr-defined]


def _table(answers: Sequence[Answer], head: str, width: int, latency_ms: float) -> Table:
    clips = [answer.outcome.logits[head] if isinstance(answer.outcome, Posteriors) else np.zeros((0, width), np.float32) for answer in answers]
    return Table(
        names=tuple(answer.name for answer in answers),
        logits=np.concatenate(clips) if clips else np.zeros((0, width), np.float32),
        lengths=np.array([len(clip) for clip in clips], np.int64),
        reasons={answer.name: answer.outcome.reason for answer in answers if isinstance(answer.outcome, Unanswered)},
        latency_ms=latency_ms,
    )


def _latency_ms(reader: PosteriorReader | SentenceAnswerer, shards: ShardSet, split: str) -> float:
    """Median time of a clip alone, in this process on the CPU; the first clip only warms up."""
    seconds = []
    for clip in islice(shards.rows(split, modalities=reader.modalities), TIMED_CLIPS + 1):
        began = time.perf_counter()
        list(reader.attempt([clip], batch_size=1, heads=[reader.head_names()[0]]))
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[1:] or seconds or [0.0])


def _store(path: Path, facts: Mapping[str, Any], table: Table) -> None:
    """Write beside and rename, so that a killed run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = {"names": table.names, "reasons": dict(table.reasons), "latency_ms": table.latency_ms}
    metadata = {"facts": _text(facts), "notes": json.dumps(notes), "digest": _digest(table.logits, table.lengths)}
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_bytes(save({"logits": table.logits, "lengths": table.lengths}, metadata))
    staging.replace(path)


def _load(path: Path, facts: Mapping[str, Any]) -> Table | None:
    """What was stored; None where there is nothing, or something damaged or of another identity."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            logits, lengths = file.get_tensor("logits"), file.get_tensor("lengths")
        if metadata["facts"] != _text(facts) or metadata["digest"] != _digest(logits, lengths):
            return None
        notes = json.loads(metadata["notes"])
        return Table(names=tuple(notes["names"]), logits=logits, lengths=lengths, reasons=notes["reasons"], latency_ms=notes["latency_ms"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def num_weights(bundle: Bundle) -> int:
    """Floating-point weights of a bundle's network, from the file's header."""
    with safe_open(bundle.folder / WEIGHTS_FILE, framework="numpy") as file:
        names = file.keys()  # the file itself can't be walked
        slices = [file.get_slice(name) for name in names if name not in bundle.tied]
        return sum(int(np.prod(entry.get_shape(), dtype=np.int64)) for entry in slices if str(entry.get_dtype()).startswith(("F", "BF")))


def check_names(tables: Mapping[str, Table], names: Sequence[str], where: str) -> None:
    """Raises ShardError where a member's posteriors are not of the clips `names`, in this order."""
    for member, table in tables.items():
        if list(table.names) != list(names):
            raise ShardError(f"{where}: its clips are not those that {member} was run on: the shards changed under the same checksum; run preprocess again")


def _digest(logits: NDArray[np.float32], lengths: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(logits).tobytes() + lengths.tobytes()).hexdigest()


def _text(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)

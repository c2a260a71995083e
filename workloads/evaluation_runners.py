"""Where the clips of an evaluation are recognised: in this process, or by a pool of actors of Ray Data.

The work comes in pieces of a few row groups. They are the same wherever they are done, so the batches are, and so the answers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cluster.environment import quiet_logging, quiet_ray_data, set_defaults
from cluster.ray_cluster import connect
from cluster.storage import Location
from cluster.store_access import assume_reachable
from models.classification import Classifier
from models.errors import SignrayError
from models.inputs.clip import Clip
from models.posteriors import PosteriorReader
from models.recognition import SentenceAnswerer
from workloads.scoring import Answer
from workloads.shards import ShardSet, read_row_groups, row_group_sizes

GROUPS_PER_PIECE = 2


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some row groups of one shard; num_clips: in them."""

    file: Location
    groups: tuple[int, ...]
    num_clips: int


Answering = SentenceAnswerer | Classifier | PosteriorReader
RunPieces = Callable[[Answering, Sequence[Piece], int], Iterator[tuple[int, list[Answer]]]]  # recogniser, pieces, batch size


def pieces(shards: ShardSet, split: str) -> list[Piece]:
    """The work on a split, in the order of the shards. Errors: ShardError for an unknown split or a damaged shard."""
    found = []
    for file in shards.files(split):
        sizes = row_group_sizes(file)
        for start in range(0, len(sizes), GROUPS_PER_PIECE):
            groups = tuple(range(start, min(start + GROUPS_PER_PIECE, len(sizes))))
            found.append(Piece(file=file.resolve(), groups=groups, num_clips=sum(sizes[group] for group in groups)))
    return found


def answer_piece(recogniser: Answering, piece: Piece, batch_size: int) -> list[Answer]:
    """The answers to the clips of a piece, in their order. Errors: ShardError for a damaged shard."""
    facts: list[dict[str, Any]] = []

    def noted(clips: Iterator[Clip]) -> Iterator[Clip]:
        for clip in clips:
            facts.append({"signer": clip.signer, "glosses": clip.glosses, "label": clip.label, "text": clip.text})
            yield clip

    outcomes = list(recogniser.attempt(noted(read_row_groups(piece.file, piece.groups, recogniser.modalities)), batch_size=batch_size))
    return [Answer(**fact, outcome=outcome) for fact, outcome in zip(facts, outcomes, strict=True)]


def in_this_process(recogniser: Answering, work: Sequence[Piece], batch_size: int) -> Iterator[tuple[int, list[Answer]]]:
    """The pieces' numbers and answers, one after the other, on the device where the network is."""
    for number, piece in enumerate(work):
        yield number, answer_piece(recogniser, piece, batch_size)


def with_ray(num_workers: int | None = None) -> RunPieces:
    """The same by `num_workers` actors (None: one per GPU of the cluster, or per CPU but one), in the order in which pieces are finished.

    Each actor holds the network, which travels with the work, and takes a GPU where the cluster has them;
    every node must see the shards.
    Errors: what reading raises of ours, as it is; ConnectionError where RAY_ADDRESS doesn't answer.
    """
    return partial(_with_ray, num_workers=num_workers)


def _with_ray(recogniser: Answering, work: Sequence[Piece], batch_size: int, *, num_workers: int | None) -> Iterator[tuple[int, list[Answer]]]:
    set_defaults()
    import ray

    with nullcontext() if ray.is_initialized() else connect():
        import ray.data

        quiet_logging()
        quiet_ray_data()
        gpus = int(ray.cluster_resources().get("GPU", 0))
        spare_cpus = int(ray.cluster_resources().get("CPU", 2)) - 1  # Ray Data itself needs one
        count = max(1, min(len(work), num_workers or gpus or spare_cpus))
        items = [{"number": number, "piece": pickle.dumps(piece)} for number, piece in enumerate(work)]
        results = ray.data.from_items(items, override_num_blocks=len(items)).map(
            PieceWorker,
            fn_constructor_args=(recogniser, batch_size),
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        for row in results.iter_rows():
            answers = pickle.loads(row["answers"])
            if isinstance(answers, SignrayError):
                raise answers
            yield row["number"], answers


class PieceWorker:
    """An actor of Ray Data that answers pieces."""

    def __init__(self, recogniser: Answering, batch_size: int) -> None:
        self._recogniser = recogniser.to("cuda") if torch.cuda.is_available() else recogniser
        self._batch_size = batch_size
        assume_reachable()  # the driver has read there

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """A user's mistake comes back as a value: raised here it would reach the driver wrapped in Ray's own error."""
        try:
            answers: list[Answer] | SignrayError = answer_piece(self._recogniser, pickle.loads(item["piece"]), self._batch_size)
        except SignrayError as error:
            answers = error
        return {"number": item["number"], "answers": pickle.dumps(answers)}

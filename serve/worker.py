"""The model of the service: a bundle that answers batches of clips of similar length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

from cluster.registry import local_folder
from models.answer_records import head_records, outcome_record
from models.answering import Unanswered
from models.bundle import Bundle
from models.classification import Classifier
from models.decoding.options import DecodingOptions
from models.ensemble import Ensemble, load
from models.inputs.clip import Clip
from models.recognition import SentenceAnswerer
from serve.settings import ServeSettings
from serve.tasks import Choice, Reply, Task

LONGEST_TO_SHORTEST = 1.25  # clips of a batch: more would spend the time on padding


class ModelWorker:
    """A bundle with its networks loaded. It needs no Ray, so that tests call it as it is."""

    def __init__(self, settings: ServeSettings) -> None:
        bundle = load(local_folder(settings.bundle, tracking_uri=settings.tracking_uri, store=settings.store))
        self.card = model_card(bundle, settings.bundle)
        self._recogniser = bundle.recogniser(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        list(self._recogniser.attempt([_still_clip(bundle)]))  # the first answer compiles kernels: some 300 ms that nobody should wait for

    def answer(self, tasks: Sequence[Task]) -> list[Reply]:
        """Replies in the order of the tasks; those with the same choice and of similar length go through the network together."""
        replies: dict[int, Reply] = {}
        for choice in dict.fromkeys(task.choice for task in tasks):
            positions = [position for position, task in enumerate(tasks) if task.choice == choice]
            if problem := self._refused(choice):
                replies.update(dict.fromkeys(positions, problem))
                continue
            for group in similar_lengths(positions, lambda position: tasks[position].clip.num_frames):
                replies.update(zip(group, self._group([tasks[position].clip for position in group], choice), strict=True))
        return [replies[position] for position in range(len(tasks))]

    def _refused(self, choice: Choice) -> Reply | None:
        answering = self._recogniser.answering
        if choice.head is not None and choice.head not in answering:
            return self._problem("unknown-head", f"head {choice.head!r}: no head of this model; there are {', '.join(answering)}")
        if choice.beam_width is not None and not isinstance(self._recogniser.options, DecodingOptions):
            return self._problem("invalid-parameter", f"beam_width {choice.beam_width}: this model recognises isolated signs, which need no search")
        return None

    def _group(self, clips: Sequence[Clip], choice: Choice) -> list[Reply]:
        recogniser = with_choice(self._recogniser, choice)
        start = time.perf_counter()
        heads = None if choice.heads else [recogniser.options.head]
        outcomes = list(recogniser.attempt(clips, batch_size=len(clips), heads=heads))
        network_ms = 1e3 * (time.perf_counter() - start)
        replies = []
        for outcome in outcomes:
            if isinstance(outcome, Unanswered):
                replies.append(self._problem("unusable-keypoints", outcome.reason))
            else:
                extra = {"heads": head_records(outcome)} if choice.heads else {}
                replies.append(Reply(record={**outcome_record(outcome), **extra}, model=self.card, network_ms=network_ms, batch_size=len(clips)))
        return replies

    def _problem(self, code: str, detail: str) -> Reply:
        return Reply(code=code, detail=detail, model=self.card)


def _still_clip(bundle: Bundle | Ensemble) -> Clip:
    first = bundle if isinstance(bundle, Bundle) else next(iter(bundle.members.values()))
    return Clip(name="warm-up", keypoints=np.zeros((16, first.inputs.layouts[0], 3), np.float32), frame_size=(256, 256), fps=25.0)


def with_choice(recogniser: SentenceAnswerer | Classifier, choice: Choice) -> SentenceAnswerer | Classifier:
    """The same networks, answering as the request wants."""
    wanted = {"head": choice.head, "beam_width": choice.beam_width}
    options = recogniser.options.model_copy(update={key: value for key, value in wanted.items() if value is not None})
    return replace(recogniser, decoding=options)  # type: ignore[arg-type]


def similar_lengths(positions: Sequence[int], length: Callable[[int], int]) -> list[list[int]]:
    """The positions in groups, the shortest first, whose longest clip is at most LONGEST_TO_SHORTEST times as long as their shortest."""
    groups: list[list[int]] = []
    for position in sorted(positions, key=length):
        if groups and length(position) <= LONGEST_TO_SHORTEST * length(groups[-1][0]):
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def model_card(bundle: Bundle | Ensemble, name: str) -> dict[str, Any]:
    """What `schemas.Model` tells of a bundle. A folder's own name is told, and not where it lies."""
    return {
        "name": name if name.startswith(("models:/", "runs:/")) else PurePosixPath(name).name,
        "task": bundle.task,
        "system": bundle.system,
        "corpus": bundle.corpus.name,
        "checksum": bundle.checksum,
        "signray": bundle.signray,
        "head": bundle.decoding.head,
        "heads": list(bundle.answering),
        "num_classes": len(bundle.classes),
        "metrics": dict(bundle.metrics),
    }

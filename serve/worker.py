"""The model of the service: a bundle that answers batches of clips of similar length, and that follows the registry's alias."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cluster.registry import alias_holder, local_folder, registry_uri
from models.answer_records import head_records, n_best_records, outcome_record
from models.answering import Unanswered
from models.bundle import Bundle
from models.classification import Classification, Classifier
from models.decoding.options import DecodingOptions
from models.ensemble import Ensemble, load
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.joint_recognition import JointRecogniser
from models.metrics.cleanup import clean
from models.recognition import Recognition, SentenceAnswerer
from models.translation.options import TranslationDecodingOptions
from models.vocabulary import Vocabulary
from serve.batching import similar_lengths
from serve.cards import common_layouts, modalities_of, model_card
from serve.members import Forward, MemberFailedError, Resting, remote_networks
from serve.samples import sample_card, sample_file
from serve.settings import ServeSettings
from serve.tasks import Choice, Reply, Task

logger = logging.getLogger("ray.serve")


class ModelWorker:
    """The bundle of the settings with its networks loaded; another one takes its place when the registry's alias moves. It needs no Ray."""

    def __init__(self, settings: ServeSettings, hosts: Sequence[Forward] = ()) -> None:
        """hosts: of the members' networks, where they run elsewhere."""
        self._settings, self._hosts = settings, hosts
        self._version = self._named_version()
        self._model = self._loaded(self._version)

    @property
    def card(self) -> Mapping[str, Any]:
        """What answers, as `schemas.Model`."""
        return self._model.card

    def answer(self, tasks: Sequence[Task]) -> list[Reply]:
        """As `LoadedModel.answer`; a batch is answered by one model from beginning to end."""
        return self._model.answer(tasks)

    def samples(self) -> list[dict[str, Any]]:
        """What `/v1/samples` lists."""
        return self._model.samples()

    def sample(self, number: int) -> bytes | None:
        """A sample clip as a keypoint file, or as a video where the model looks at pictures; None where there is no such."""
        return self._model.sample(number)

    def follow(self) -> bool:
        """Look where the alias points; load what it names and let it answer from now on. Whether it did.

        The old model answers until the new one is ready, and goes on where that can't be loaded. Raises what loading raises.
        """
        version = self._named_version()
        if version is None or version == self._version:
            return False
        self._model, self._version = self._loaded(version), version
        return True

    def _named_version(self) -> str | None:
        """Version that the alias names now; None where the settings name no alias."""
        name, at, alias = self._settings.bundle.removeprefix("models:/").partition("@")
        if not at or not self._settings.bundle.startswith("models:/"):
            return None
        version = alias_holder(name, alias, tracking_uri=registry_uri(self._settings.tracking_uri, self._settings.store))
        if version is None:
            raise LookupError(f"{self._settings.bundle}: the alias names no version; set it (tune/fusion.py promote)")
        return version

    def _loaded(self, version: str | None) -> LoadedModel:
        settings = self._settings
        uri = settings.bundle if version is None else f"{settings.bundle.partition('@')[0]}/{version}"
        bundle = load(local_folder(uri, tracking_uri=settings.tracking_uri, store=settings.store))
        card = {**model_card(bundle, settings), "version": version}
        if self._hosts and isinstance(bundle, Ensemble) and not bundle.translates:  # translators speak token by token: they stay together
            return LoadedModel(bundle, card, spread_recogniser(bundle, uri, self._hosts), settings)
        model = LoadedModel(bundle, card, bundle.recogniser(settings.device or ("cuda" if torch.cuda.is_available() else "cpu")), settings)
        model.warm_up()
        return model


class LoadedModel:
    """A bundle whose networks answer."""

    def __init__(self, bundle: Bundle | Ensemble, card: Mapping[str, Any], recogniser: SentenceAnswerer | Classifier, settings: ServeSettings) -> None:
        self.card = card
        self._bundle, self._recogniser = bundle, recogniser
        self._resting, self._refuse = Resting(settings.member_rest_s), settings.member_failure == "refuse"

    def warm_up(self) -> None:
        """The first answer compiles kernels: seconds that nobody should wait for."""
        list(with_choice(self._recogniser, Choice(n_best=2)).attempt([_still_clip(self._bundle)]))

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

    def samples(self) -> list[dict[str, Any]]:
        """What `/v1/samples` lists."""
        return [sample_card(number, clip) for number, clip in enumerate(self._samples)]

    def sample(self, number: int) -> bytes | None:
        """A sample clip as a keypoint file, or as a video where the model looks at pictures; None where there is no such."""
        return sample_file(self._samples[number]) if number < len(self._samples) else None

    @cached_property
    def _samples(self) -> list[Clip]:
        """None where pictures are read and no video is taken."""
        return self._bundle.samples() if "frames" not in self.card["modalities"] or "video" in self.card["takes"] else []

    def _refused(self, choice: Choice) -> Reply | None:
        members = self.card["members"]
        if choice.members is not None and (unknown := [name for name in choice.members if name not in members]):
            there = f"there are {', '.join(members)}" if members else "it is one network; choose a head"
            return self._problem("invalid-parameter", f"members {', '.join(unknown)}: no members of this model: {there}")
        answering = with_choice(self._recogniser, Choice(members=choice.members)).answering
        if choice.head is not None and choice.head not in answering:
            return self._problem("unknown-head", f"head {choice.head!r}: no head of this model; there are {', '.join(answering)}")
        if choice.beam_width is not None and not isinstance(self._recogniser.options, DecodingOptions):
            return self._problem("invalid-parameter", f"beam_width {choice.beam_width}: this model recognises isolated signs, which need no search")
        if choice.cleaned and not isinstance(self._bundle.classes, Vocabulary):
            return self._problem("invalid-parameter", "cleaned: this model recognises isolated signs, and there are rules for sentences only")
        return None

    def _group(self, clips: Sequence[Clip], choice: Choice) -> list[Reply]:
        """Replies to clips of similar length, without the members that fail where the settings allow it."""
        asked, silent = choice.members or tuple(self.card["members"]), self._resting.now()
        while True:
            failed = [name for name in asked if self._key(name) in silent]
            left = tuple(name for name in asked if name not in failed)
            if failed and (self._refuse or not left or choice.head in failed):
                problem = self._problem("member-failed", f"{', '.join(failed)}: no answer; try again")
                return [problem] * len(clips)
            try:
                return self._answers(clips, replace(choice, members=left) if failed else choice, failed)
            except MemberFailedError as failure:
                logger.warning("%s", failure)
                self._resting.failed(failure.key)
                silent.add(failure.key)

    def _key(self, member: str) -> str:
        assert isinstance(self._bundle, Ensemble)
        return self._bundle.members[member].folder.name

    def _answers(self, clips: Sequence[Clip], choice: Choice, failed: Sequence[str]) -> list[Reply]:
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
                record = {**outcome_record(outcome), **self._asked(outcome, choice), **({"members_failed": list(failed)} if failed else {})}
                replies.append(Reply(record=record, model=self.card, network_ms=network_ms, batch_size=len(clips)))
        return replies

    def _asked(self, outcome: Recognition | Classification, choice: Choice) -> dict[str, Any]:
        """What the record has beyond predict's, by the choice."""
        extra: dict[str, Any] = {"heads": head_records(outcome)} if choice.heads else {}
        if choice.members is not None:
            extra["members"] = list(choice.members)
        if isinstance(outcome, Recognition):
            if choice.n_best:
                extra["n_best"] = n_best_records(outcome)
            if choice.cleaned:
                corpus, classes = self._bundle.corpus, self._bundle.classes
                assert isinstance(classes, Vocabulary)
                extra["cleaned"] = clean(" ".join(outcome.answer.words), corpus.cleanup, lower_cased=classes.lower_case)
        return extra

    def _problem(self, code: str, detail: str) -> Reply:
        return Reply(code=code, detail=detail, model=self.card)


def spread_recogniser(ensemble: Ensemble, uri: str, hosts: Sequence[Forward]) -> Classifier | JointRecogniser:
    """An ensemble whose networks run on the hosts, all at once."""
    networks = remote_networks(ensemble, uri, hosts)
    threads = ThreadPoolExecutor(max_workers=len(networks), thread_name_prefix="members")
    return ensemble.recogniser(networks=networks, run=lambda calls: list(threads.map(lambda call: call(), calls)))


def _still_clip(bundle: Bundle | Ensemble) -> Clip:
    layouts = common_layouts(bundle) or [0]
    pictures = Pictures(array=np.zeros((16, 256, 256, 3), np.uint8)) if "frames" in modalities_of(bundle) else None
    return Clip(name="warm-up", keypoints=np.zeros((16, layouts[0], 3), np.float32), frames=pictures, frame_size=(256, 256), fps=25.0)


def with_choice(recogniser: SentenceAnswerer | Classifier, choice: Choice) -> SentenceAnswerer | Classifier:
    """The same networks, answering as the request wants."""
    wanted = {"head": choice.head, "beam_width": choice.beam_width}
    options = recogniser.options.model_copy(update={key: value for key, value in wanted.items() if value is not None})
    if choice.n_best is not None and isinstance(options, TranslationDecodingOptions):
        options = options.model_copy(update={"text": options.text.model_copy(update={"n_best": min(choice.n_best, options.text.beam_width)})})
    changes: dict[str, Any] = {"decoding": options}
    if choice.n_best is not None:
        changes["num_candidates" if isinstance(recogniser, Classifier) else "num_hypotheses"] = choice.n_best
    if choice.members is not None and isinstance(recogniser, Classifier | JointRecogniser):
        changes["members"] = {name: recogniser.members[name] for name in choice.members}
        changes["weights"] = {name: (recogniser.weights or {})[name] for name in choice.members}
    return replace(recogniser, **changes)

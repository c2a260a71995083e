"""Ensembles: several bundles and their fusion weights as one folder, which is read and used like a bundle.

bundle.json       members, weights, corpus, metrics, checksums of every file
members/<name>/   the members' bundles, whole; members that are heads of one network share the first one's
README.md         the model card
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from models.answering import Run, modalities_of, one_by_one
from models.batch import ENSEMBLE
from models.bundle import RECIPE_FILE, Bundle, CorpusCard, bundle_folder, check_files, file_entries, load_bundle, write_record
from models.bundle_record import FORMAT, RECORD_FILE, EnsembleRecord, MemberEntry, parsed, plain, read_record
from models.class_map import ClassMap
from models.classification import Classifier, Member
from models.decoding.options import DecodingOptions
from models.errors import BundleError
from models.fusion import FusionRule
from models.inputs.clip import Clip
from models.inputs.inputs import Modality
from models.joint_recognition import JointRecogniser
from models.model_card import TEXT_MEANS, TOP_K_MEANS, WER_MEANS, commands, known, metrics_table, purpose, sections_as_text
from models.options import AnswerOptions
from models.systems import SYSTEMS, Task
from models.translation.joint import JointTranslator
from models.translation.sharing import share_trunks
from models.version import VERSION
from models.vocabulary import Vocabulary

MEMBERS_FOLDER = "members"


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """An ensemble that was read and checked: of isolated signs, or of sentences with one vocabulary.

    weights: fusion weight of each member, by name; `fuse` says of what. A member's `decoding.head` is the head that counts.
    """

    folder: Path
    members: Mapping[str, Bundle]
    weights: Mapping[str, float]
    decoding: AnswerOptions
    corpus: CorpusCard
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    checksum: str
    signray: str
    task: Task = "islr"
    fuse: FusionRule = "logits"

    @property
    def system(self) -> str:
        """The members' systems, each once."""
        return "+".join(dict.fromkeys(bundle.system for bundle in self.members.values()))

    @property
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer, the default first."""
        return (ENSEMBLE, *self.members)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What any member looks at."""
        return modalities_of(bundle.inputs for bundle in self.members.values())

    @property
    def translates(self) -> bool:
        """Whether it answers texts: all its members do."""
        return all(bundle.translates for bundle in self.members.values())

    @property
    def classes(self) -> Vocabulary | ClassMap:
        return next(iter(self.members.values())).classes

    def recogniser(
        self, device: str = "cpu", decoding: AnswerOptions | None = None, *, networks: Mapping[Path, nn.Module] | None = None, run: Run = one_by_one
    ) -> Classifier | JointRecogniser:
        """The networks ready to answer, each and together; one that several members share is loaded once.

        networks: by the folders of their bundles, in place of those that would be loaded; run: how they are run (`models.answering.Run`).
        """
        networks = networks or {bundle.folder: bundle.network(device) for bundle in {bundle.folder: bundle for bundle in self.members.values()}.values()}
        members = {
            name: Member(system=SYSTEMS[bundle.system], network=networks[bundle.folder], inputs=bundle.inputs, head=bundle.decoding.head)
            for name, bundle in self.members.items()
        }
        decoding, classes = decoding or self.decoding, self.classes
        if isinstance(classes, ClassMap):
            return Classifier(members=members, classes=classes, decoding=decoding, weights=self.weights, rule=self.fuse, run=run)
        assert isinstance(decoding, DecodingOptions)
        answers: dict[str, Any] = {"members": members, "vocabulary": classes, "decoding": decoding, "weights": self.weights, "rule": self.fuse, "run": run}
        tokens = {name: own for name, bundle in self.members.items() if (own := bundle.tokens) is not None} if self.translates else {}
        if not tokens:
            return JointRecogniser(**answers)
        share_trunks([member.network for member in members.values()])
        return JointTranslator(**answers, tokens=tokens)

    def samples(self) -> list[Clip]:
        """The clips that travel with the first member."""
        return next(iter(self.members.values())).samples()


def save_ensemble(
    folder: Path,
    members: Mapping[str, Bundle],
    weights: Mapping[str, float],
    *,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    recipe: Mapping[str, Any] | None = None,
    fuse: FusionRule = "logits",
) -> Ensemble:
    """Write an ensemble of copies of `members`, in place of an older one at `folder`; sentences are decoded as the first member's are.

    Several members may be one bundle with another `decoding.head` each: it is copied once. Raises BundleError where the members' classes
    or vocabularies differ, or their tasks, or `folder` can't be written.
    """
    check_members(members, weights)
    first = next(iter(members.values()))
    decoding = first.decoding.model_copy(update={"head": ENSEMBLE})
    homes: dict[Path, str] = {}  # a bundle's folder → the member whose name it gets
    for name, bundle in members.items():
        homes.setdefault(bundle.folder, name)
    with bundle_folder(Path(folder)) as staging:
        for source, name in homes.items():
            shutil.copytree(source, staging / MEMBERS_FOLDER / name)
        if recipe is not None:
            (staging / RECIPE_FILE).write_text(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
        record = EnsembleRecord(
            format=FORMAT,
            kind="ensemble",
            signray=VERSION,
            task=first.task,
            fuse=fuse,
            members={
                name: MemberEntry(folder=f"{MEMBERS_FOLDER}/{homes[bundle.folder]}", weight=weights[name], head=bundle.decoding.head)
                for name, bundle in members.items()
            },
            decoding=decoding.model_dump(mode="json"),
            corpus=first.corpus,
            metrics=plain(metrics),
            provenance=plain(provenance),
            # The cards are for people to edit.
            files={name: entry for name, entry in file_entries(staging).items() if not name.endswith("/README.md")},
        )
        write_record(staging, record, _card(record, members))
    return load_ensemble(folder)


def load(folder: Path) -> Bundle | Ensemble:
    """Read a bundle or an ensemble and compare every checksum. Raises BundleError as `load_bundle`."""
    return load_ensemble(folder) if isinstance(read_record(Path(folder)), EnsembleRecord) else load_bundle(folder)


def load_ensemble(folder: Path) -> Ensemble:
    """Read an ensemble and compare every checksum. Raises BundleError as `load_bundle`, or where the members don't fit together."""
    folder = Path(folder)
    record = read_record(folder)
    if not isinstance(record, EnsembleRecord):
        raise BundleError(f"{folder}: the bundle of one network, and an ensemble is needed")
    check_files(folder, record.files)
    members = _members(folder, record)
    weights = {name: entry.weight for name, entry in record.members.items()}
    check_members(members, weights)
    first = next(iter(members.values()))
    decoding = parsed(type(first.decoding), record.decoding, where=str(folder / RECORD_FILE), key="decoding")
    if decoding.head not in (ENSEMBLE, *members):
        raise BundleError(f"{folder / RECORD_FILE}: decoding.head: {decoding.head!r} can't answer; there are: {', '.join((ENSEMBLE, *members))}")
    return Ensemble(
        folder=folder,
        members=members,
        weights=weights,
        decoding=decoding,
        corpus=record.corpus,
        metrics=record.metrics,
        provenance=record.provenance,
        checksum=_checksum(members, weights, record.fuse),
        signray=record.signray,
        task=first.task,
        fuse=record.fuse,
    )


def _members(folder: Path, record: EnsembleRecord) -> dict[str, Bundle]:
    bundles: dict[str, Bundle] = {}
    members: dict[str, Bundle] = {}
    for name, entry in record.members.items():
        if entry.folder not in {f"{MEMBERS_FOLDER}/{each}" for each in record.members}:
            raise BundleError(f"{folder / RECORD_FILE}: member {name!r} lies in {entry.folder!r}, and {MEMBERS_FOLDER}/{name} is expected")
        bundle = bundles.get(entry.folder) or load_bundle(folder / entry.folder)
        bundles[entry.folder] = bundle
        if entry.head not in bundle.answering:
            raise BundleError(f"{folder / RECORD_FILE}: members.{name}.head: {entry.head!r} is no head of {bundle.system}")
        members[name] = replace(bundle, decoding=bundle.decoding.model_copy(update={"head": entry.head}))
    return members


def _checksum(members: Mapping[str, Bundle], weights: Mapping[str, float], fuse: FusionRule) -> str:
    """Over what decides its answers; of signs, as before there were other rules and heads."""
    lines = [f"{bundle.checksum} {weights[name]!r}" + (f" {bundle.decoding.head}" if bundle.task == "slr" else "") for name, bundle in members.items()]
    return hashlib.sha256("\n".join(lines + ([fuse] if fuse != "logits" else [])).encode()).hexdigest()


def check_members(members: Mapping[str, Bundle], weights: Mapping[str, float]) -> None:
    """Raises BundleError where members have no weights, or other tasks, classes or glosses than the first."""
    if not members or set(members) != set(weights) or not sum(weights.values()) > 0:
        raise BundleError(f"an ensemble of {', '.join(members) or 'nothing'}: it needs members, a weight of each, and a sum of weights above 0")
    (first_name, first), *others = members.items()
    for name, bundle in others:
        if bundle.task != first.task:
            kinds = {"slr": "sentences", "islr": "isolated signs"}
            raise BundleError(
                f"{bundle.folder}: recognises {kinds[bundle.task]} ({bundle.system}), and {first_name} {kinds[first.task]}: an ensemble is of one kind"
            )
        if bundle.classes != first.classes:
            what = "classes" if first.task == "islr" else "glosses"
            raise BundleError(f"{bundle.folder}: the {what} of {name} are not those of {first_name}: train both on the same shards")
    if all(bundle.translates for bundle in members.values()):
        _check_translators(members)


def _check_translators(members: Mapping[str, Bundle]) -> None:
    """Raises BundleError where members can't make a sentence together, token by token."""
    (first_name, first), *others = members.items()
    wanted = first.tokens
    assert wanted is not None
    for name, bundle in others:
        tokens = bundle.tokens
        assert tokens is not None
        if tokens.text != wanted.text:
            raise BundleError(
                f"{bundle.folder}: {name} doesn't share the tokenizer of {first_name}, and members of an ensemble make one sentence token by token: "
                "train both from the same language model (init.translator)"
            )
        if _start(bundle) != _start(first):
            raise BundleError(f"{bundle.folder}: {name} begins its sentences with other tokens than {first_name}: set start_with_bos alike")
        if bool(bundle.modalities) != bool(first.modalities):
            raise BundleError(f"{bundle.folder}: gloss-to-text and networks that read clips ({name}, {first_name}): an ensemble is of one kind")


def _start(bundle: Bundle) -> tuple[int, ...]:
    start: tuple[int, ...] = bundle.options.translator.start  # type: ignore[attr-defined]
    return start


def _card(record: EnsembleRecord, bundles: Mapping[str, Bundle]) -> str:
    first, inputs = next(iter(bundles.values())), [bundle.inputs for bundle in bundles.values()]
    translates = all(bundle.translates for bundle in bundles.values())
    total = sum(entry.weight for entry in record.members.values())
    members = "\n".join(f"| {name} | {entry.weight:g} | {entry.weight / total:.1%} |" for name, entry in record.members.items())
    task = purpose(first.classes, modalities_of(inputs), translates=translates)
    fused = "whose logits are added" if record.fuse == "logits" else "whose probabilities are added"
    means = TOP_K_MEANS if first.task == "islr" else WER_MEANS.format(cleanup=record.corpus.cleanup)
    if translates:
        glosses = f" (of glosses: {fused.removeprefix('whose ')})" if first.modalities else ""
        fused = f"whose probabilities of each next token are averaged{glosses}"
        means = f"{TEXT_MEANS}\n\n{means}" if first.modalities else TEXT_MEANS
    return sections_as_text(
        {
            f"Ensemble of {', '.join(record.members)} on {record.corpus.name}": (
                f"{task} ({known(first.classes)}).\n"
                f"{len(record.members)} {_parts(record)}, {fused} with these weights; written by signray {record.signray}.\n\n"
                f"| member | weight | share |\n|---|---:|---:|\n{members}"
            ),
            "Data": f"- Corpus: {record.corpus.name}\n- Licence of the data: {record.corpus.licence}\n- Checksum of the shards: `{record.corpus.checksum}`",
            "Scores": f"{metrics_table(record.metrics) or 'None were recorded.'}\n\n{means}",
            "How to use": commands(inputs),
        }
    )


def _parts(record: EnsembleRecord) -> str:
    num_networks = len({entry.folder for entry in record.members.values()})
    return "networks" if num_networks == len(record.members) else f"heads of {num_networks} network{'s' if num_networks > 1 else ''}"

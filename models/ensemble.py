"""Ensembles: several bundles and their fusion weights as one folder, which is read and used like a bundle.

bundle.json       members, weights, corpus, metrics, checksums of every file
members/<name>/   the members' bundles, whole
README.md         the model card
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models.batch import ENSEMBLE
from models.bundle import RECIPE_FILE, Bundle, CorpusCard, bundle_folder, check_files, file_entries, load_bundle, write_record
from models.bundle_record import FORMAT, RECORD_FILE, EnsembleRecord, MemberEntry, parsed, plain, read_record
from models.class_map import ClassMap
from models.classification import Classifier, Member
from models.errors import BundleError
from models.inputs.clip import Clip
from models.model_card import TOP_K_MEANS, known, metrics_table, sections_as_text
from models.options import AnswerOptions
from models.systems import SYSTEMS, Task
from models.version import VERSION

MEMBERS_FOLDER = "members"


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """An ensemble that was read and checked. weights: fusion weight of each member's logits, by name."""

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

    @property
    def system(self) -> str:
        """The members' systems, each once."""
        return "+".join(dict.fromkeys(bundle.system for bundle in self.members.values()))

    @property
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer, the default first."""
        return (ENSEMBLE, *self.members)

    @property
    def classes(self) -> ClassMap:
        return _classes(next(iter(self.members.values())))

    def recogniser(self, device: str = "cpu", decoding: AnswerOptions | None = None) -> Classifier:
        """The networks ready to answer, each and together."""
        members = {
            name: Member(system=SYSTEMS[bundle.system], network=bundle.network(device), inputs=bundle.inputs, head=bundle.decoding.head)
            for name, bundle in self.members.items()
        }
        return Classifier(members=members, classes=self.classes, decoding=decoding or self.decoding, weights=self.weights)

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
) -> Ensemble:
    """Write an ensemble of copies of `members`, in place of an older one at `folder`.

    Raises BundleError where the members' classes or corpora differ, one isn't for isolated signs, or `folder` can't be written.
    """
    _check_members(members, weights)
    first = next(iter(members.values()))
    decoding = AnswerOptions(head=ENSEMBLE, low_confidence=first.decoding.low_confidence)
    with bundle_folder(Path(folder)) as staging:
        for name, bundle in members.items():
            shutil.copytree(bundle.folder, staging / MEMBERS_FOLDER / name)
        if recipe is not None:
            (staging / RECIPE_FILE).write_text(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
        record = EnsembleRecord(
            format=FORMAT,
            kind="ensemble",
            signray=VERSION,
            task=first.task,
            members={name: MemberEntry(folder=f"{MEMBERS_FOLDER}/{name}", weight=weights[name], head=bundle.decoding.head) for name, bundle in members.items()},
            decoding=decoding.model_dump(mode="json"),
            corpus=first.corpus,
            metrics=plain(metrics),
            provenance=plain(provenance),
            # The cards are for people to edit.
            files={name: entry for name, entry in file_entries(staging).items() if not name.endswith("/README.md")},
        )
        write_record(staging, record, _card(record, _classes(first)))
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
    for name, entry in record.members.items():
        if entry.folder != f"{MEMBERS_FOLDER}/{name}":
            raise BundleError(f"{folder / RECORD_FILE}: member {name!r} lies in {entry.folder!r}, and {MEMBERS_FOLDER}/{name} is expected")
    members = {name: load_bundle(folder / entry.folder) for name, entry in record.members.items()}
    weights = {name: entry.weight for name, entry in record.members.items()}
    _check_members(members, weights)
    decoding = parsed(AnswerOptions, record.decoding, where=str(folder / RECORD_FILE), key="decoding")
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
        checksum=hashlib.sha256("\n".join(f"{bundle.checksum} {weights[name]!r}" for name, bundle in members.items()).encode()).hexdigest(),
        signray=record.signray,
    )


def _check_members(members: Mapping[str, Bundle], weights: Mapping[str, float]) -> None:
    if not members or set(members) != set(weights) or not sum(weights.values()) > 0:
        raise BundleError(f"an ensemble of {', '.join(members) or 'nothing'}: it needs members, a weight of each, and a sum of weights above 0")
    (first_name, first), *others = members.items()
    for bundle in members.values():
        if bundle.task != "islr":
            raise BundleError(f"{bundle.folder}: recognises sentences ({bundle.system}); logits of members are fused for isolated signs only")
    for name, bundle in others:
        if bundle.classes != first.classes:
            raise BundleError(f"{bundle.folder}: the classes of {name} are not those of {first_name}: train both on the same shards")


def _classes(bundle: Bundle) -> ClassMap:
    assert isinstance(bundle.classes, ClassMap)
    return bundle.classes


def _card(record: EnsembleRecord, classes: ClassMap) -> str:
    total = sum(entry.weight for entry in record.members.values())
    members = "\n".join(f"| {name} | {entry.weight:g} | {entry.weight / total:.1%} |" for name, entry in record.members.items())
    return sections_as_text(
        {
            f"Ensemble of {', '.join(record.members)} on {record.corpus.name}": (
                f"Isolated sign recognition: keypoints of one sign in, its name out ({known(classes)}).\n"
                f"{len(record.members)} networks, whose logits are added with these weights; written by signray {record.signray}.\n\n"
                f"| member | weight | share |\n|---|---:|---:|\n{members}"
            ),
            "Data": f"- Corpus: {record.corpus.name}\n- Licence of the data: {record.corpus.licence}\n- Checksum of the shards: `{record.corpus.checksum}`",
            "Scores": f"{metrics_table(record.metrics) or 'None were recorded.'}\n\n{TOP_K_MEANS}",
            "How to use": "```\npython workloads/predict.py --bundle THIS_FOLDER clip.npz\n"
            "python workloads/evaluate.py --bundle THIS_FOLDER --shards SHARDS --split test\n```",
        }
    )

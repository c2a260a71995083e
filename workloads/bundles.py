"""Bundles as a user names them: a folder, a version in the model registry, or a released checkpoint that becomes one."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from cluster.registry import local_folder
from models.bundle import Bundle, CorpusCard, save_bundle
from models.bundle_weights import built
from models.class_map import ClassMap
from models.ensemble import Ensemble, load
from models.errors import BundleError, CheckpointError
from models.inputs.inputs import Inputs
from models.metrics.cleanup import rules_of
from models.options import AnswerOptions, Options
from models.systems import SYSTEMS
from models.translation.tokens import TranslationTokens
from models.vocabulary import Vocabulary
from workloads.shards import ShardSet

RUNS = Path("runs")  # where the embedded registry lies unless a URI says otherwise
BUNDLE_HELP = "folder of the bundle, s3://BUCKET/PREFIX, or models:/NAME@ALIAS or models:/NAME/VERSION of the model registry"
TRACKING_HELP = f"MLflow's URI, for models:/ (default: MLFLOW_TRACKING_URI, else the embedded one of {RUNS}/)"


def open_bundle(name: str, *, tracking_uri: str | None = None) -> Bundle | Ensemble:
    """The bundle that a user names (BUNDLE_HELP). Raises BundleError where there is none, ConnectionError where store or registry don't answer."""
    try:
        return load(local_folder(name, tracking_uri=tracking_uri, store=RUNS))
    except LookupError as error:
        raise BundleError(str(error)) from None


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def on_disk(text: str) -> Path:
    """A path of this machine, for argparse: what is named by a URI can't be written there."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: results go to a folder of this machine")
    return Path(text)


def corpus_card(shards: ShardSet) -> CorpusCard:
    """What a bundle says of the corpus that it was trained on, or is scored on."""
    corpus = shards.corpus
    return CorpusCard(
        name=corpus.corpus,
        lower_case=shards.vocabulary.lower_case,
        cleanup=rules_of(corpus.corpus),
        licence=corpus.licence,
        checksum=shards.checksum,
        extractors=tuple(corpus.extractors),
    )


def bundle_from_published(
    checkpoint: Path,
    folder: Path,
    *,
    system: str,
    options: Options,
    inputs: Inputs,
    classes: Vocabulary | ClassMap,
    decoding: AnswerOptions,
    corpus: CorpusCard,
    tokens: TranslationTokens | None = None,
    features: Path | None = None,
    unchecked: bool = False,
) -> Bundle:
    """A bundle at `folder` of a released checkpoint, which is read without running code of it.

    features: the released recogniser that made the features it was trained on, where it lacks the network that extracts them.
    Says on standard error what its statistics tell of it. Raises CheckpointError that names what doesn't fit the options, the classes or
    (unless `unchecked`) the inputs, BundleError where `folder` can't be written.
    """
    _check_features(system, features, checkpoint)
    network = built(SYSTEMS[system].build, options, len(classes))
    remark = SYSTEMS[system].load_published(network, checkpoint, inputs, unchecked)
    if remark:
        print(remark, file=sys.stderr)
    origin = {"published.checkpoint": checkpoint.name, "published.sha256": _digest(checkpoint)}
    load_features = SYSTEMS[system].load_features
    if load_features and features:
        load_features(network, features)
        origin |= {"published.features": features.name, "published.features_sha256": _digest(features)}
    return save_bundle(
        folder,
        system=system,
        options=options,
        inputs=inputs,
        state_dict=network.state_dict(),
        classes=classes,
        decoding=decoding,
        corpus=corpus,
        tokens=tokens,
        metrics={},
        provenance=origin,
    )


def _check_features(system: str, features: Path | None, checkpoint: Path) -> None:
    if SYSTEMS[system].load_features and features is None:
        raise CheckpointError(
            f"{checkpoint}: released checkpoints of {system} lack the network that extracts their features: name its released recogniser with --features"
        )
    if features is not None and not SYSTEMS[system].load_features:
        raise CheckpointError(f"--features {features}: released checkpoints of {system} are whole; leave it out")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

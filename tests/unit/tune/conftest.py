"""Shards and members that the tests of tune share."""

from __future__ import annotations

import pytest

from models.bundle import Bundle, CorpusCard
from models.dsta_slr.streams import Stream
from tests.unit.tiny import GLOSSES, save_tiny_bundle, tiny_network
from tests.unit.tiny_signs import SIGNS, save_tiny_sign_bundle, tiny_sign_clip
from tests.unit.workloads.corpora_on_disk import sample, write_manifest, write_npz, write_release
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.shards import ShardSet

CARD = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")
NUM_CLIPS = 20


def sentences(split: str, seed: int) -> list[dict[str, object]]:
    glosses = [" ".join(GLOSSES[(number + place) % 4] for place in range(number % 3 + 1)) for number in range(NUM_CLIPS)]
    return [sample(f"{split}/{number}", gloss, 24 + 4 * (number * 5 % 4), seed=seed + number) for number, gloss in enumerate(glosses)]


@pytest.fixture(scope="session")
def sentence_shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """dev and test of 20 clips (dev has one more, without annotation), `train` of one, whose references a network of random weights can't know."""
    folder = tmp_path_factory.mktemp("sentences")
    splits = {"train": [sample("train/0", "HAUS")], "dev": [*sentences("dev", 0), sample("dev/silent", "")], "test": sentences("test", 500)}
    source = write_release(folder / "corpus", splits, vocabulary=False)
    return preprocess(PreprocessOptions(corpus="phoenix2014t", source=source, out=folder / "shards"), in_this_process).shards


@pytest.fixture(scope="session")
def sentence_members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("mska")
    return {name: save_tiny_bundle(folder / name / "bundle", tiny_network(seed, scale=30), corpus=CARD) for seed, name in enumerate(("a", "b"))}


@pytest.fixture(scope="session")
def sign_shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """dev and test of 20 clips of seven signs, `train` of each sign once, `bare` without labels."""
    folder = tmp_path_factory.mktemp("signs")
    rows = []
    for number in range(2 * NUM_CLIPS + len(SIGNS) + 2):
        split = "train" if number < 7 else "dev" if number < 7 + NUM_CLIPS else "test" if number < 7 + 2 * NUM_CLIPS else "bare"
        write_npz(folder / f"{number}.npz", tiny_sign_clip(seed=number).keypoints, size=(512, 512))
        rows.append({"name": f"clip{number}", "path": f"{number}.npz", "split": split, "label": "" if split == "bare" else SIGNS[number % 7]})
    write_manifest(folder / "clips.csv", rows)
    options = PreprocessOptions(corpus="manifest", source=folder / "clips.csv", out=folder / "shards", num_keypoints=27)
    return preprocess(options, in_this_process).shards


@pytest.fixture(scope="session")
def sign_members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("dsta")
    streams = {"joint": Stream.JOINT, "bone": Stream.BONE, "joint_motion": Stream.JOINT_MOTION}
    return {name: save_tiny_sign_bundle(folder / name / "bundle", seed=seed, stream=stream) for seed, (name, stream) in enumerate(streams.items())}

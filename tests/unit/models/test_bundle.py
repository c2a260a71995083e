"""Bundles: what is written is read again, whole or not at all, and what doesn't fit is said in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.bundle import Bundle, CorpusCard, DecodingOptions, load_bundle
from models.bundle_weights import fill_network, write_weights
from models.errors import BundleError
from models.inputs.frames import Pictures
from models.inputs.keypoints import KeypointInputs
from models.mska.network import Mska
from models.version import VERSION
from models.vocabulary import Vocabulary
from tests.unit.models.media.videos import numbered
from tests.unit.tiny import OPTIONS, VOCABULARY, save_tiny_bundle, tiny_clip, tiny_network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle(saved: Bundle, tmp_path: Path) -> Path:
    """A copy of the saved bundle, to damage."""
    return Path(shutil.copytree(saved.folder, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    change(record)
    (bundle / "bundle.json").write_text(json.dumps(record))


def test_what_is_saved_is_read_again(saved: Bundle) -> None:
    assert saved == load_bundle(saved.folder)
    assert (saved.options, saved.inputs, saved.vocabulary, saved.decoding) == (OPTIONS, KeypointInputs(), VOCABULARY, DecodingOptions())
    assert saved.corpus == CorpusCard(name="synthetic", licence="generated: free to use")
    assert (saved.system, saved.task, saved.signray) == ("mska_slr", "slr", VERSION)
    assert saved.metrics == {"dev": {"wer": {"ensemble": 12.5, "fuse": None}}}


def test_the_network_answers_as_the_one_that_was_saved(saved: Bundle) -> None:
    batch = KeypointInputs().evaluation_batch([tiny_clip(num_frames=24), tiny_clip(num_frames=12)])
    state = torch.random.get_rng_state()
    network = saved.network()
    assert torch.equal(state, torch.random.get_rng_state()), "loading a bundle draws random numbers"
    assert not network.training
    with torch.no_grad():
        for name, logits in tiny_network()(batch).logits.items():
            torch.testing.assert_close(network(batch).logits[name], logits, rtol=0, atol=0)


def test_weights_are_float32_and_written_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False)
            self.second = nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

    network = Tied().to(torch.bfloat16)
    tied = write_weights(tmp_path / "w.safetensors", network.state_dict())
    stored = load_file(tmp_path / "w.safetensors")
    assert tied == {"second.weight": "first.weight"}
    assert {name: tensor.dtype for name, tensor in stored.items()} == {"first.weight": torch.float32}
    filled = Tied()
    fill_network(filled, tmp_path / "w.safetensors", tied)
    torch.testing.assert_close(filled.second.weight, network.first.weight.float(), rtol=0, atol=0)


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    clips = [tiny_clip("a/1", glosses=("HAUS",), text="das Haus", signer="s1"), tiny_clip("b", fps=None)]
    folders = [save_tiny_bundle(tmp_path / name, samples=clips).folder for name in ("one", "two")]
    contents = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} for folder in folders]
    assert contents[0] == contents[1]
    assert {str(path) for path in contents[0]} == {
        "README.md",
        "bundle.json",
        "recipe.yaml",
        "samples/00_a_1.npz",
        "samples/01_b.npz",
        "vocabulary.json",
        "weights.safetensors",
    }


def test_samples_come_back_with_their_annotation(tmp_path: Path) -> None:
    clips = [tiny_clip("a/1", glosses=("HAUS", "REGEN"), text="Regen am Haus", signer="s1"), tiny_clip("b", fps=None)]
    read = save_tiny_bundle(tmp_path / "bundle", samples=clips).samples()
    for sample, clip in zip(read, clips, strict=True):
        np.testing.assert_array_equal(sample.keypoints, clip.keypoints)
        assert {**vars(sample), "keypoints": None} == {**vars(clip), "keypoints": None}


@pytest.mark.parametrize(("width", "pixel_format"), [(64, "yuv420p"), (63, "yuv444p")])
def test_pictures_of_samples_are_videos_that_browsers_play(width: int, pixel_format: str, tmp_path: Path) -> None:
    """H.264 with half of the colour where that is possible: of an even size."""
    pictures = numbered(35, width=width)
    clip = replace(tiny_clip("a", num_frames=35), frames=Pictures(array=pictures))
    one, two = (save_tiny_bundle(tmp_path / name, samples=[clip]) for name in ("one", "two"))
    assert (one.folder / "samples/00_a.mp4").read_bytes() == (two.folder / "samples/00_a.mp4").read_bytes()
    with av.open(str(one.folder / "samples/00_a.mp4")) as container:
        assert (container.streams.video[0].codec_context.name, container.streams.video[0].codec_context.pix_fmt) == ("h264", pixel_format)
        assert container.streams.video[0].average_rate == 25
    [sample] = one.samples()
    assert sample.frames is not None
    difference = sample.frames.decode(range(35)).astype(int) - pictures
    assert np.abs(difference).mean() < 3
    np.testing.assert_array_equal(sample.keypoints, clip.keypoints)


def test_a_bundle_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    first = save_tiny_bundle(tmp_path / "bundle", tiny_network(0))
    second = save_tiny_bundle(tmp_path / "bundle", tiny_network(1), recipe=None)
    assert first.checksum != second.checksum == load_bundle(tmp_path / "bundle").checksum
    assert not (tmp_path / "bundle" / "recipe.yaml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_save_leaves_the_older_bundle_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save_tiny_bundle(tmp_path / "bundle")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.bundle._write_synced", full)
    with pytest.raises(BundleError, match=r"bundle: the bundle can't be written \(No space left on device\): free space"):
        save_tiny_bundle(tmp_path / "bundle", tiny_network(1))
    assert load_bundle(tmp_path / "bundle") == first
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="holds no bundle: choose another folder"):
        save_tiny_bundle(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_the_model_card_says_what_a_reader_must_know(saved: Bundle) -> None:
    card = (saved.folder / "README.md").read_text()
    for expected in ("# mska_slr on synthetic", "generated: free to use", "4 glosses", "| dev.wer.ensemble | 12.50 |", "rules `none`", "width 5", "below 0.5"):
        assert expected in card
    (saved.folder / "README.md").write_text(card + "\nA remark of the user.\n")
    load_bundle(saved.folder)


def test_metrics_that_json_cannot_hold_are_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither metrics nor provenance"):
        save_tiny_bundle(tmp_path / "bundle", metrics={"wer": torch.tensor(1.0)})
    assert not (tmp_path / "bundle").exists()


def newer(record: dict[str, Any]) -> None:
    record.update(format=2, signray="9.1", surprise=True)


DAMAGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (newer, f"a bundle of a newer version: format 2, written by signray 9.1; signray {VERSION} reads 1: upgrade signray"),
    (lambda r: r.update(kind="choir"), "a bundle of another kind, 'choir'"),
    (lambda r: r.pop("format"), "bundle.json: not the description of a bundle, it names no format"),
    (lambda r: r.update(system="mska_next"), "the system 'mska_next', which signray .* doesn't know; it knows mska_slr"),
    (lambda r: r["network"].update(num_subset=3), "bundle.json: unknown key 'network.num_subset', the nearest is 'num_subsets'"),
    (lambda r: r["inputs"].update(max_frames="long"), "bundle.json: inputs.max_frames: Input should be a valid integer"),
    (lambda r: r["decoding"].update(beam_width=0), "bundle.json: decoding.beam_width: Input should be greater than 0"),
    (lambda r: r["decoding"].update(head="nose"), "decoding.head: 'nose' is no head of mska_slr; there are: ensemble, left"),
    (lambda r: r["corpus"].update(cleanup="phoenix"), "cleanup: no rules are called 'phoenix'; there are: phoenix2014"),
    (lambda r: r["files"].pop("weights.safetensors"), "lists no weights.safetensors: the bundle is incomplete"),
    (lambda r: r["files"].update({"../outside": {"size": 0, "sha256": ""}}), "'../outside', which lies outside the bundle"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES, ids=[message[:40] for _, message in DAMAGES])
def test_a_description_that_does_not_fit_is_named(bundle: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=message) as raised:
        load_bundle(bundle)
    assert "\n" not in str(raised.value)


def test_damaged_files_are_named(bundle: Path) -> None:
    weights = bundle / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"weights.safetensors: its contents differ from what was written \(checksum\): the bundle is corrupted"):
        load_bundle(bundle)
    weights.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"weights.safetensors has \d+ bytes instead of \d+: the bundle is incomplete"):
        load_bundle(bundle)
    weights.unlink()
    with pytest.raises(BundleError, match=r"weights.safetensors is missing"):
        load_bundle(bundle)
    (bundle / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle.json: can't be read"):
        load_bundle(bundle)


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: no such bundle"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"not a bundle, it has no bundle.json"):
        load_bundle(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    larger = Vocabulary(entries=(*VOCABULARY.entries, "WIND"))
    bundle = save_tiny_bundle(tmp_path / "vocabulary", classes=larger)
    with pytest.raises(BundleError, match=r"the weights don't fit the bundle's options: heads.\w+.classifier.weight is \(8, 8\), the network has \(9, 8\)"):
        bundle.network()
    deeper = OPTIONS.model_copy(update={"blocks": (*OPTIONS.blocks, OPTIONS.blocks[1]._replace(in_channels=8, stride=1))})
    bundle = save_tiny_bundle(tmp_path / "blocks", Mska(deeper, len(VOCABULARY)))
    with pytest.raises(BundleError, match=r"they hold unknown 'streams.body.blocks.2.\S+' and \d+ more"):
        bundle.network()


def test_a_pickle_in_place_of_weights_is_not_run(bundle: Path) -> None:
    torch.save({"x": torch.zeros(1)}, bundle / "weights.safetensors")
    content = (bundle / "weights.safetensors").read_bytes()
    edit(bundle, lambda r: r["files"].update({"weights.safetensors": {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}}))
    with pytest.raises(BundleError, match="not a readable weights file"):
        load_bundle(bundle).network()


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION

"""Mapper, encoder input, losses and networks of translation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import kl_div

from models.batch import Batch, Heads
from models.errors import CheckpointError
from models.losses.translation import translation_loss
from models.mska.config import HeadOptions
from models.translation import published
from models.translation.config import GenerationOptions, MbartOptions, SignToTextOptions, TranslatorOptions, read_mbart_options
from models.translation.features import FeatureHeads
from models.translation.network import SignToText
from models.translation.translator import GlossToText
from tests.parity.adapters.translation import text_batch
from tests.unit.models.translation.tiny import TINY, TINY_TRANSLATOR, translator

BATCH = text_batch([[9, 8, 2, 1], [7, 2, 1, 1]], [[6, 9, 8, 2], [6, 7, 2, 6]])


def sources(batch: Batch, ids: list[list[int]], lengths: list[int]) -> Batch:
    return replace(batch, sources=torch.tensor(ids), source_lengths=torch.tensor(lengths))


def test_steps_are_followed_by_the_end_and_the_language() -> None:
    network = translator(1)
    mapped, lengths = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([5, 2, 1])
    inputs, mask = network.of_steps(mapped, lengths)
    assert inputs.shape == (3, 7, 16)
    table = network.gloss_embedding.weight
    for row, length in enumerate(lengths.tolist()):
        wanted = torch.cat([mapped[row, :length], table[[2, 8]], torch.zeros(5 - length, 16)]) * 4
        assert torch.allclose(inputs[row], wanted, atol=1e-6)
        assert mask[row].tolist() == [True] * (length + 2) + [False] * (5 - length)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_published_divergence(smoothing: float) -> None:
    logits = torch.randn(2, 4, 11, generator=torch.Generator().manual_seed(3), requires_grad=True)
    labels = torch.tensor([[4, 9, 2, 1], [5, 2, 1, 1]])
    target = torch.full((2, 4, 11), smoothing / 9)
    target.scatter_(-1, labels[..., None], 1 - smoothing)
    target[..., 1] = 0
    target[labels == 1] = 0
    wanted = kl_div(logits.log_softmax(-1), target, reduction="sum") / 2
    found = translation_loss(logits, labels, smoothing=smoothing)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    found.backward()
    assert torch.isfinite(logits.grad).all() if logits.grad is not None else False


def test_glosses_are_translated_alike_alone_and_together() -> None:
    torch.manual_seed(0)
    network = GlossToText(TINY_TRANSLATOR).eval()
    batch = sources(BATCH, [[9, 10, 11, 2, 8], [12, 2, 8, 1, 1]], [5, 3])
    text = network(batch).text
    assert text is not None
    assert text.logits is not None
    alone = network(sources(text_batch([[7, 2]], [[6, 7]]), [[12, 2, 8]], [3])).text
    assert alone is not None
    assert alone.logits is not None
    assert torch.allclose(alone.logits[0], text.logits[1, :2], atol=1e-5)
    with pytest.raises(ValueError, match="this one has none"):
        network(BATCH)


@pytest.mark.parametrize(("feature", "mapper"), [("gloss_feature", "projection"), ("gloss_probabilities", "embedding")])
def test_sign_to_text_maps_what_its_head_answers(feature: str, mapper: str) -> None:
    torch.manual_seed(0)
    options = SignToTextOptions.model_validate({"head": "rgb", "feature": feature, "mapper": mapper, "translator": TINY_TRANSLATOR})
    recogniser = FeatureHeads({"rgb": 12}, 9, HeadOptions(hidden_size=10, ff_size=14))
    network = SignToText(recogniser, options, feature_width=10, num_classes=9).eval()
    features, lengths = torch.randn(2, 6, 12), torch.tensor([6, 4])
    heads = network.translate(recogniser({"rgb": features}, lengths, masked=True), BATCH.text_inputs)
    assert heads.text is not None
    assert heads.text.logits is not None
    assert heads.text.logits.shape == (2, 4, 40)
    alone = network.translate(recogniser({"rgb": features[1:, :4]}, lengths[1:], masked=True), torch.tensor([[6, 7, 2, 6]]))
    assert alone.text is not None
    assert alone.text.logits is not None
    assert torch.allclose(alone.text.logits, heads.text.logits[1:], atol=1e-5)
    no_text = network.translate(Heads(logits=heads.logits, lengths=lengths, features=heads.features))
    assert no_text.text is not None
    assert no_text.text.logits is None


def test_checkpoints_of_another_vocabulary_are_told_apart() -> None:
    network = GlossToText(TINY_TRANSLATOR)
    state = {f"translation_network.model.{name}": value for name, value in network.translator.mbart.state_dict().items()}
    state["translation_network.gloss_embedding.weight"] = network.translator.gloss_embedding.weight.detach()
    published.load_g2t(network, state)
    other = GlossToText(TranslatorOptions(mbart=TINY.model_copy(update={"vocab_size": 41}), num_glosses=20))
    with pytest.raises(CheckpointError, match="the checkpoint has 40 text tokens, the language model's folder 41"):
        published.load_g2t(other, state)
    fewer = GlossToText(TranslatorOptions(mbart=TINY, num_glosses=19))
    with pytest.raises(CheckpointError, match="20 glosses of the language model, the language model's folder 19"):
        published.load_g2t(fewer, state)
    del state["translation_network.model.model.shared.weight"]
    with pytest.raises(CheckpointError, match=r"missing .*shared\.weight"):
        published.load_g2t(network, state)


def test_options_that_contradict_are_refused() -> None:
    for kind, values, message in (
        (MbartOptions, {"d_model": 10, "encoder_attention_heads": 3}, "doesn't divide among 3 encoder"),
        (TranslatorOptions, {"num_glosses": 8}, "gloss_language is 8"),
        (TranslatorOptions, {"language": 3000}, "language is 3000"),
        (GenerationOptions, {"beam_width": 2, "n_best": 3}, "n_best is 3"),
    ):
        with pytest.raises(ValueError, match=message):
            kind.model_validate(values)


def test_a_folders_configuration_is_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    translator(1).mbart.config.save_pretrained(tmp_path)
    assert read_mbart_options(tmp_path / "config.json") == TINY
    assert read_mbart_options(tmp_path / "config.json", dropout=0.1).dropout == 0.1
    with pytest.raises(CheckpointError, match=r"missing\.json: no such file"):
        read_mbart_options(tmp_path / "missing.json")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="type 'bert', and an mBART is needed"):
        read_mbart_options(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"vocab_size": "many"}')
    with pytest.raises(CheckpointError, match="not the configuration of an mBART"):
        read_mbart_options(tmp_path / "config.json")

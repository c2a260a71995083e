"""Kind `mska_slt`: MSKA's recogniser, the mapper and mBART; every loss; sentences generated both ways."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from models.batch import Batch, Heads
from models.losses.ctc import recognition_losses
from models.losses.translation import translation_loss
from models.mska import published as mska_published
from models.mska.network import Mska
from models.translation import published
from models.translation.config import BOS, GenerationOptions, SignToTextOptions, TranslatorOptions
from models.translation.generation import generate
from models.translation.network import SignToText
from tests.parity.adapters import mska_slr
from tests.parity.adapters.translation import mbart_options, overridden, rows, text_batch, translated
from tests.parity.case import Case, recipe_values
from tests.parity.comparison import Report

HEAD = "fuse"
GENERATION = "num_beams {beams}, length_penalty {penalty}, max_length {length}, no cache assumptions; formula weights, so the tokens have no meaning"
Answered = tuple[Heads, Tensor, Tensor, Tensor]


def run(case: Case, report: Report) -> None:
    network = build(case)
    batch = text_batch(case.inputs["labels"], case.inputs["decoder_input_ids"])
    inputs = mska_slr.make_inputs(case)
    heads, mapped, embedded, mask = answer(network, inputs, batch)
    assert heads.text is not None
    ours: dict[str, Any] = {f"{name}_gloss_feature": value for name, value in heads.features.items()}
    ours |= {f"{name}_gloss_logits": value for name, value in heads.logits.items()}
    ours |= {f"{name}_gloss_probabilities": value.softmax(-1) for name, value in heads.logits.items()}
    ours |= {"vl_mapper_out": mapped, "inputs_embeds": embedded, "attention_mask": mask}
    ours |= {"encoder_last_hidden_state": heads.text.states, "logits": heads.text.logits}
    report.compare_all("expected", ours, case.expected)
    report.compare_all("losses", losses(case, heads, batch, inputs), case["losses"])
    compare_generated(case, network, heads, report)


def build(case: Case) -> SignToText:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config, glosses = case.config, case.config["gloss_embedding"]
    options = SignToTextOptions(
        head=HEAD,
        feature=config["gloss_feature_ensemble"].removeprefix("fuse_"),
        mapper=config["mapper"]["type"],
        translator=TranslatorOptions(
            mbart=mbart_options(config["mbart"]),
            num_glosses=glosses["num_embeddings"],
            gloss_pad=glosses["padding_idx"],
            gloss_end=glosses["eos_index"],
            gloss_language=glosses["src_lang_index"],
            language=config["text_lang_index"],
        ),
    )
    recogniser = mska_slr.make_network(case)
    network = SignToText(recogniser, options, feature_width=recogniser.options.head.hidden_size, num_classes=recogniser.num_classes).eval()
    state = overridden(case, mska_slr.state(case, recogniser))
    mska_published.load(recogniser, published.recogniser_part(state))
    published.load_mapper(network, state)
    published.load_translator(network.translator, state)
    return network


@torch.no_grad()
def answer(network: SignToText, inputs: dict[str, Tensor], batch: Batch) -> Answered:
    """The published form: heads with the text's, and what the mapper and the encoder are given."""
    recogniser = network.recogniser
    assert isinstance(recogniser, Mska)
    recognised = recogniser.recognise(inputs["keypoints"], inputs["lengths"], masked=False)
    mapped = network.mapped(recognised)
    return network.translate(recognised, batch.text_inputs), mapped, *network.translator.of_steps(mapped, recognised.lengths)


def losses(case: Case, heads: Heads, batch: Batch, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The case's loss terms by their published names."""
    config = case.config
    assert heads.text is not None
    assert heads.text.logits is not None
    assert batch.text_targets is not None
    terms = recognition_losses(heads, inputs["targets"], inputs["target_lengths"], distillation=mska_slr.distilled(case))
    recognition = torch.stack(list(terms.values())).sum()
    translation = translation_loss(heads.text.logits, batch.text_targets, smoothing=config["label_smoothing"], pad=config["text_pad_index"])
    log_probs = heads.text.logits.log_softmax(-1).gather(-1, batch.text_targets[..., None]).squeeze(-1)
    likelihood = -log_probs[batch.text_targets != config["text_pad_index"]].sum()
    named = {f"recognition_loss_{name}": terms[f"ctc_{name}"] for name in heads.logits}
    return named | {
        "recognition_loss": recognition,
        "translation_loss": translation,
        "total_loss": recognition + translation,
        "token_negative_log_likelihood_sum": likelihood,
    }


def compare_generated(case: Case, network: SignToText, heads: Heads, report: Report) -> None:
    """Sentences that begin with the language, and those of the published call, which begin with `<s>` and the language."""
    recorded, options = case["generation"], network.translator.options
    found = recipe_values(GENERATION, re.sub(r"\s+", " ", recorded["note"]))
    search = GenerationOptions(beam_width=int(found["beams"]), length_penalty=found["penalty"], max_length=int(found["length"]))
    member = translated(heads, network.translator.mbart)
    for name, start in (("reference_call", (BOS, options.language)), ("lang_as_start", (options.language,))):
        if name in recorded:
            ours = rows(generate([member], search, start=start, forced_end=options.mbart.forced_end))
            report.compare_exact(f"generation.{name}.sequences", ours, recorded[name]["sequences"])

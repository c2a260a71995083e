"""Kinds `singlestream_slt` and `singlestream_slt_embedding`: extracted features → head → mapper → mBART, losses, generated ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.batch import valid_steps
from models.losses.ctc import ctc_loss
from models.losses.translation import translation_loss
from models.mska.published import HEAD_RENAMES
from models.published.loading import load_published
from models.translation import published
from models.translation.config import SignToTextOptions, TranslatorOptions
from models.translation.features import FeatureHeads
from models.translation.network import SignToText
from tests.parity import formula
from tests.parity.adapters.translation import generated_all, mbart_options, overridden, text_batch, translated
from tests.parity.adapters.video_recognition import head_options, targets
from tests.parity.case import Case, recipe_match
from tests.parity.comparison import Report
from tests.parity.weights import published_state

FEATURES = "abs(array('{name:text}', ({clips}, {steps}, {width}), seed={seed})); rows past the sample's length are zero"
HEAD = "rgb"
RENAMES = ((r"^heads\.rgb\.", "visual_head."), *((rf"^(visual_head\.){ours}", rf"\g<1>{theirs}") for ours, theirs in HEAD_RENAMES))


def run(case: Case, report: Report) -> None:
    network = build(case)
    heads_of = network.recogniser
    assert isinstance(heads_of, FeatureHeads)
    batch = text_batch(case.inputs["labels"], case.inputs["decoder_input_ids"])
    lengths = torch.tensor(case.inputs["sgn_lengths"])
    with torch.no_grad():
        recognised = heads_of({HEAD: features(case)}, lengths, masked=False)
        mapped = network.mapped(recognised)
        inputs, mask = network.translator.of_steps(mapped, lengths)
        heads = network.translate(recognised, batch.text_inputs)
    assert heads.text is not None
    assert heads.text.logits is not None
    logits = heads.logits[HEAD]
    ours = {
        "gloss_feature": logits.softmax(-1) if network.options.feature == "gloss_probabilities" else heads.features[HEAD],
        "gloss_logits": logits,
        "mapped_feature": mapped,
        "inputs_embeds": inputs,
        "attention_mask": mask,
        "encoder_last_hidden_state": heads.text.states,
        "logits": heads.text.logits,
        "sgn_mask": valid_steps(lengths, logits.shape[1])[:, None],
    }
    report.compare_all("expected", ours, case.expected)
    recognition = case.config["recognition_weight"] * ctc_loss(logits, lengths, *targets(case))
    assert batch.text_targets is not None
    translation = translation_loss(heads.text.logits, batch.text_targets, smoothing=case.config["label_smoothing"], pad=case.config["text_indices"]["pad"])
    total = recognition + case.config["translation_weight"] * translation
    report.compare_all("losses", {"recognition_loss": recognition, "translation_loss": translation, "total_loss": total}, case["losses"])
    options = network.translator.options
    wanted = case["generated"]["value"]
    found = generated_all([translated(heads, network.translator.mbart)], wanted, options.start, forced_end=options.mbart.forced_end)
    report.compare_all("generated", found, wanted)


def build(case: Case) -> SignToText:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config, recognition, mapper = case.config, case.config["RecognitionNetwork"], case.config["VLMapper"]
    glosses, text = config["translation_gloss_vocabulary"], config["text_indices"]
    options = SignToTextOptions(
        head=HEAD,
        feature=recognition.get("gloss_feature_ensemble", "gloss_feature"),
        mapper=mapper.get("type", "projection"),
        translator=TranslatorOptions(
            mbart=mbart_options(config["mbart"]),
            num_glosses=len(glosses),
            gloss_pad=glosses.index("<pad>"),
            gloss_end=glosses.index("</s>"),
            gloss_language=glosses.index(config["src_lang"]),
            language=text["language"],
        ),
    )
    head = head_options(recognition["visual_head"])
    recogniser = FeatureHeads({HEAD: recognition["visual_head"]["input_size"]}, config["num_classes"], head)
    network = SignToText(recogniser, options, feature_width=head.hidden_size, num_classes=config["num_classes"]).eval()
    load(network, recogniser, overridden(case, published_state(case)))
    return network


def load(network: SignToText, recogniser: nn.Module, state: dict[str, Tensor]) -> None:
    load_published(recogniser, published.recogniser_part(state), to_published=RENAMES, prefix="recognition_network.")
    published.load_mapper(network, state)
    published.load_translator(network.translator, state)


def features(case: Case) -> Tensor:
    """Extracted features (B, S, D), zero behind a clip's last step."""
    recipe = recipe_match(FEATURES, case.inputs["head_rgb_input"]["made"])
    value = torch.from_numpy(formula.array(recipe["name"], [int(recipe[axis]) for axis in ("clips", "steps", "width")], int(recipe["seed"]))).abs()
    return value * valid_steps(torch.tensor(case.inputs["sgn_lengths"]), value.shape[1])[:, :, None]

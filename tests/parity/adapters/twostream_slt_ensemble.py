"""Kind `twostream_slt_ensemble`: language models decoded together on inputs of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.batch import valid_steps
from models.losses.translation import translation_loss
from models.translation import published
from models.translation.config import TranslatorOptions
from models.translation.generation import Member, mean_log_probs
from models.translation.translator import Translator
from tests.parity import formula
from tests.parity.adapters.translation import generated_all, mbart_options, overridden
from tests.parity.case import Case, recipe_match
from tests.parity.comparison import Report
from tests.parity.weights import published_state

INPUTS = (
    "{scale}*array('{name:text}', ({clips}, {steps}, {width}), seed={seed}); rows past the sample's length are zero; "
    "already scaled, fed to the encoder as they are"
)


def run(case: Case, report: Report) -> None:
    config, order = case.config, case.config["order"]
    translators = build(case)
    inputs, labels = torch.tensor(case.inputs["decoder_input_ids"]), torch.tensor(case.inputs["labels"])
    ours: dict[str, Any] = {}
    losses: dict[str, Tensor] = {}
    members, logits = {}, []
    for number, (name, translator) in enumerate(zip(order, translators, strict=True)):
        embedded, mask = encoder_input(case, name)
        with torch.no_grad():
            states = translator.encode(embedded, mask)
            logits.append(translator.logits(states, mask, inputs))
        members[name] = Member(mbart=translator.mbart, states=states, mask=mask)
        ours |= {f"encoder_last_hidden_state_{name}": states, f"logits_{name}": logits[-1]}
        losses[f"model_{number}_translation_loss"] = translation_loss(
            logits[-1], labels, smoothing=config["label_smoothing"], pad=config["text_indices"]["pad"]
        )
    ours["combined_log_probabilities"] = mean_log_probs(logits, [1.0] * len(order))
    report.compare_all("expected", ours, case.expected)
    report.compare_all("losses", losses, case["losses"])
    compare_generated(case, members, report)


def compare_generated(case: Case, members: dict[str, Member], report: Report) -> None:
    start, forced_end = (case.config["text_indices"]["language"],), mbart_options(case.config["mbart"]).forced_end
    for key, wanted in case["generated"].items():
        if key == "ensemble":
            report.compare_all("generated.ensemble", generated_all(list(members.values()), wanted, start, forced_end=forced_end), wanted)
        elif key.startswith("each model alone"):
            alone = {name: generated_all([member], {key: None}, start, forced_end=forced_end)[key] for name, member in members.items()}
            report.compare_all(f"generated.{key}", alone, wanted)


def build(case: Case) -> list[Translator]:
    """The language models of the case in its order, loaded as from a published ensemble. Their gloss embedding isn't part of it."""
    options = TranslatorOptions(mbart=mbart_options(case.config["mbart"]), language=case.config["text_indices"]["language"], num_glosses=9)
    state = overridden(case, published_state(case))
    found = []
    for number in range(len(case.config["order"])):
        translator = Translator(options).eval()
        mbart = translator.mbart
        assert isinstance(mbart, nn.Module)
        published.load_member(mbart, state, number)
        found.append(translator)
    return found


def encoder_input(case: Case, name: str) -> tuple[Tensor, Tensor]:
    """Inputs (B, E, D) of a model's encoder and their mask (B, E)."""
    entry = case.inputs[f"inputs_embeds_{name}"]
    recipe = recipe_match(INPUTS, entry["made"])
    value = torch.from_numpy(formula.array(recipe["name"], [int(recipe[axis]) for axis in ("clips", "steps", "width")], int(recipe["seed"])))
    mask = valid_steps(torch.tensor(entry["lengths"]), value.shape[1])
    return float(recipe["scale"]) * value * mask[:, :, None], mask

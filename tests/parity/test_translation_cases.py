"""Cases of the translation kinds with other sizes, seeds, languages and searches; their figures come from transformers' own forward and generate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from tests.parity import formula
from tests.parity.adapters import mska_slt, singlestream_slt, twostream_slt_ensemble
from tests.parity.case import Case, Record
from tests.parity.run import Status
from tests.parity.test_network_cases import load, run

Values = dict[str, Any]
PAD, EOS = 1, 2


def case_of(folder: Path, values: Values) -> Case:
    return Case(path=folder / "case.json", record=Record(json.loads(json.dumps(values)), ""))


def resized(values: Values, sizes: dict[int, int]) -> None:
    """Every axis of the parameters by `sizes`, old → new."""
    values["parameters"] = [[name, [sizes.get(size, size) for size in shape]] for name, shape in values["parameters"]]


def text(row: list[int], longest: int, language: int) -> tuple[list[int], list[int]]:
    """Labels and decoder input of token ids, written by the published rule: rolled, so that shorter rows show the language once more."""
    ids = [*row, EOS, language] + [PAD] * (longest - len(row))
    return [PAD if token == language else token for token in ids], [language, *ids[:-1]]


def generated(mbart: Any, states: Tensor, mask: Tensor, start: int, *, beams: int, penalty: float, longest: int) -> list[list[int]]:
    found: list[list[int]] = mbart.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        num_beams=beams,
        length_penalty=penalty,
        max_length=longest,
        decoder_start_token_id=start,
    ).tolist()
    return found


def test_single_stream_cases_of_other_sizes_pass(tmp_path: Path) -> None:
    values, language, lengths, seed = load("singlestream_slt"), 5, [4, 11, 7], 21
    glosses = [*values["config"]["translation_gloss_vocabulary"], "neu", "anders"]
    sizes = {29: 37, 832: 48, 24: 15, 33: len(glosses), 64: 32}
    resized(values, sizes)
    config = values["config"]
    config["RecognitionNetwork"]["visual_head"]["input_size"] = 48
    config |= {"num_classes": 15, "translation_gloss_vocabulary": glosses, "src_lang": "zh_CSL", "input_embed_scale": math.sqrt(32)}
    config["mbart"] |= {"vocab_size": 37, "d_model": 32}
    config["text_indices"]["language"] = language
    config["override"] = config["override"].replace("0.5", "1.25")
    labels, inputs = map(list, zip(*(text(row, 6, language) for row in ([30, 31, 12, 9, 36, 8], [7, 9], [33, 33, 10])), strict=True))
    values["seed"] = seed
    values["inputs"] = {
        "head_rgb_input": {"made": f"abs(array('head_rgb_input', (3, 11, 48), seed={seed})); rows past the sample's length are zero"},
        "sgn_lengths": lengths,
        "gloss_labels": {"value": [[8, 14], [12, 2], [9, 9]], "lengths": [2, 1, 2]},
        "labels": labels,
        "decoder_input_ids": inputs,
    }
    case = case_of(tmp_path, values)
    network = singlestream_slt.build(case)
    mbart, table = network.translator.mbart, network.translator.gloss_embedding.weight.detach()
    features = torch.from_numpy(np.abs(formula.array("head_rgb_input", (3, 11, 48), seed)))
    for row, length in enumerate(lengths):
        features[row, length:] = 0
    with torch.no_grad():
        _, feature = network.recogniser.heads["rgb"](features, torch.arange(11)[None] < torch.tensor(lengths)[:, None], masked=False)  # type: ignore[union-attr, index, operator]
        mapped = network.mapper(feature)
    embedded = torch.zeros(3, 13, 32)
    for row, length in enumerate(lengths):
        embedded[row, : length + 2] = torch.cat([mapped[row, :length], table[[glosses.index("</s>"), glosses.index("zh_CSL")]]]) * math.sqrt(32)
    mask = (torch.arange(13)[None] < torch.tensor(lengths)[:, None] + 2).long()
    with torch.no_grad():
        out = mbart(inputs_embeds=embedded, attention_mask=mask, decoder_input_ids=torch.tensor(inputs))
    target = torch.full(out.logits.shape, 0.2 / 35).scatter_(-1, torch.tensor(labels)[..., None], 0.8)
    target[..., PAD] = 0
    target[torch.tensor(labels) == PAD] = 0
    loss = torch.nn.functional.kl_div(out.logits.log_softmax(-1), target, reduction="sum") / 3
    values["expected"] = {
        "inputs_embeds": formula.describe(embedded.numpy()),
        "attention_mask": formula.describe(mask.numpy()),
        "encoder_last_hidden_state": formula.describe(out.encoder_last_hidden_state.numpy()),
        "logits": formula.describe(out.logits.numpy()),
    }
    values["losses"] = {"translation_loss": loss.item()}
    searches = {f"num_beams={beams}, length_penalty={penalty:g}, max_length={longest}": (beams, penalty, longest) for beams, penalty, longest in SEARCHES}
    states = out.encoder_last_hidden_state
    values["generated"]["value"] = {
        name: generated(mbart, states, mask, language, beams=beams, penalty=penalty, longest=longest) for name, (beams, penalty, longest) in searches.items()
    }
    assert run(tmp_path, values) == Status.PASSED
    values["losses"]["translation_loss"] *= 1.001
    assert run(tmp_path, values) == Status.MISSED


SEARCHES = [(1, 1.0, 20), (3, 1.0, 9), (5, 0.5, 22), (6, 2.0, 12)]


def test_ensemble_cases_of_other_members_pass(tmp_path: Path) -> None:
    """Two models of other sizes; what they say together is checked on the mean of their probabilities, what each says alone by transformers."""
    values, language, seed = load("twostream_slt_ensemble"), 8, 7
    values["parameters"] = [entry for entry in values["parameters"] if ".model_list.2." not in entry[0]]
    values["aliases"] = {name: source for name, source in values["aliases"].items() if ".model_list.2." not in name}
    resized(values, {23: 31, 64: 48})
    values["config"]["mbart"] |= {"vocab_size": 31, "d_model": 48}
    values["config"] |= {"order": ["video", "joint"]}
    values["config"]["text_indices"]["language"] = language
    lengths = {"video": [6, 3, 9], "joint": [2, 8, 5]}
    labels, inputs = map(list, zip(*(text(row, 4, language) for row in ([30, 22, 12, 9], [7, 9], [20, 20, 10])), strict=True))
    made = values["inputs"]["inputs_embeds_video"]["made"].replace("2*array", "1.5*array").replace("(2, 9, 64), seed=0", f"(3, 9, 48), seed={seed}")
    values["inputs"] = {
        f"inputs_embeds_{name}": {"made": made.replace("inputs_embeds_video", f"inputs_embeds_{name}"), "lengths": counts} for name, counts in lengths.items()
    } | {"labels": labels, "decoder_input_ids": inputs}
    values["seed"] = seed
    case = case_of(tmp_path, values)
    probabilities, alone = [], {}
    for name, translator in zip(("video", "joint"), twostream_slt_ensemble.build(case), strict=True):
        embedded = torch.from_numpy(np.float32(1.5) * formula.array(f"inputs_embeds_{name}", (3, 9, 48), seed))
        mask = (torch.arange(9)[None] < torch.tensor(lengths[name])[:, None]).long()
        with torch.no_grad():
            out = translator.mbart(inputs_embeds=embedded * mask[:, :, None], attention_mask=mask, decoder_input_ids=torch.tensor(inputs))
        probabilities.append(out.logits.softmax(-1))
        alone[name] = generated(translator.mbart, out.encoder_last_hidden_state, mask, language, beams=4, penalty=1.0, longest=13)
    combined = torch.stack(probabilities).sum(0).log().log_softmax(-1)
    values["expected"] = {"combined_log_probabilities": formula.describe(combined.numpy())}
    values["losses"] = {}
    values["generated"] = {"note": "", "each model alone, num_beams=4, length_penalty=1, max_length=13": alone}
    assert run(tmp_path, values) == Status.PASSED
    alone["joint"][1][2] += 1
    assert run(tmp_path, values) == Status.MISSED


def test_mska_cases_with_an_embedding_mapper_pass(tmp_path: Path) -> None:
    """As CSL-Daily: gloss probabilities, a soft look-up, an even batch of other lengths."""
    values, seed, lengths = load("mska_slt"), 9, [24, 32, 16]
    blocks = [[4, 4, 1, 7, 2], [4, 8, 2, 3, 1], [8, 8, 2, 3, 2]]
    from models.mska import published
    from models.mska.config import BlockShape, HeadOptions, MskaOptions
    from models.mska.network import Mska

    options = MskaOptions(blocks=tuple(BlockShape(*row) for row in blocks), num_subsets=3, head=HeadOptions(hidden_size=16, ff_size=24))
    recogniser = Mska(options, 30)
    config = values["config"]
    heads = {name: {**config["heads"][name], "input_size": width, "hidden_size": 16, "ff_size": 24} for name, width in options.head_inputs.items()}
    config |= {"net": blocks, "num_subset": 3, "num_classes": 30, "heads": heads, "gloss_feature_ensemble": "gloss_probabilities"}
    config["mapper"] = {"type": "embedding", "in_features": 30, "out_features": 64}
    del config["cross_distillation"]  # as the published translation configurations lack it
    translation = [entry for entry in values["parameters"] if entry[0].startswith("translation_network.")]
    names = {name: list(value.shape) for name, value in published.export(recogniser).items()}
    values["parameters"] = [*([name, shape] for name, shape in names.items()), ["vl_mapper.mapping.weight", [64, 30]], *translation]
    values["constants"] = list(published.tables(recogniser))
    labels, inputs = map(list, zip(*(text(row, 4, 6) for row in ([70, 42, 62, 39], [37, 39], [50])), strict=True))
    values["inputs"] |= {
        "keypoint": {"shape": [3, 3, 32, 133], "how": values["inputs"]["keypoint"]["how"]},
        "src_length": lengths,
        "gloss_labels": {"value": [[5, 6], [7, 8], [9, 4]]},
        "gls_lengths": [2, 2, 2],
        "labels": labels,
        "decoder_input_ids": inputs,
    }
    values["seed"] = seed
    network = mska_slt.build(case_of(tmp_path, values))
    given = mska_slt.mska_slr.make_inputs(case_of(tmp_path, values))
    with torch.no_grad():
        heads_found = network.recogniser.recognise(given["keypoints"], given["lengths"], masked=False)  # type: ignore[operator]
        mapped = heads_found.logits["fuse"].softmax(-1) @ network.mapper.weight.T  # type: ignore[operator]
    table, embedded = network.translator.gloss_embedding.weight.detach(), torch.zeros(3, 10, 64)
    for row, length in enumerate((6, 8, 4)):
        embedded[row, : length + 2] = torch.cat([mapped[row, :length], table[[2, 8]]]) * 8
    mask = (torch.arange(10)[None] < torch.tensor([8, 10, 6])[:, None]).long()
    with torch.no_grad():
        out = network.translator.mbart(inputs_embeds=embedded, attention_mask=mask, decoder_input_ids=torch.tensor(inputs))
    values["expected"] = {"vl_mapper_out": formula.describe(mapped.numpy()), "logits": formula.describe(out.logits.numpy())}
    values["losses"] = {}
    values["generation"] = {
        "note": values["generation"]["note"].replace("max_length 14", "max_length 18").replace("num_beams 5", "num_beams 3"),
        "lang_as_start": {
            "sequences": generated(network.translator.mbart, out.encoder_last_hidden_state, mask, 6, beams=3, penalty=1.0, longest=18),
        },
    }
    assert run(tmp_path, values) == Status.PASSED

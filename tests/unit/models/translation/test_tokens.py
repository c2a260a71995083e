"""Tokens and pruning on a small mBART that is laid out as the public one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import MBartForConditionalGeneration, MBartTokenizer

from models.errors import CheckpointError, VocabularyError
from models.inputs.clip import Clip
from models.translation.config import MbartOptions, TranslatorOptions
from models.translation.language_model import LanguageModel, retied
from models.translation.pruning import everything, prune, read_full
from models.translation.small import save_small_mbart
from models.translation.tokens import GlossTokens, TextTokens, TranslationTokens
from models.translation.translator import Translator
from tests.parity.adapters.translation import text_batch
from tests.unit.models.translation.tiny import TINY

TEXTS = ["im norden gibt es regen .", "morgen scheint die sonne .", "heute gibt es im süden wind und regen .", "der mann kommt morgen nicht ."]
GLOSSES = ["REGEN", "NORD", "Sonne"]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mbart") / "full"
    save_small_mbart(folder, TEXTS * 3, TINY, num_pieces=60, seed=3)
    return folder


@pytest.fixture(scope="module")
def model(full: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return prune(read_full(full), texts=TEXTS[:2], glosses=GLOSSES, language="de_DE", out=tmp_path_factory.mktemp("pruned") / "lm")


def clip(text: str | None, *glosses: str) -> Clip:
    return Clip(name="", keypoints=torch.zeros(4, 0, 3).numpy(), frame_size=(1, 1), glosses=glosses, text=text)


def test_ids_are_those_of_transformers_own_tokenizer(full: Path, tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes((full / "sentencepiece.bpe.model").read_bytes())
    record = {"tokenizer_class": "MBartTokenizer", "src_lang": "de_DE", "tgt_lang": "de_DE"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(record), encoding="utf-8")
    theirs = MBartTokenizer.from_pretrained(tmp_path)
    pieces = (full / "sentencepiece.bpe.model").read_bytes()
    ours = TextTokens(model=pieces, kept=everything(pieces), language="de_DE")
    for text in (*TEXTS, "xyz qwert"):
        assert ours.encode(text) == theirs(text_target=text)["input_ids"]
        assert ours.decode(ours.encode(text)).strip() == theirs.decode(ours.encode(text), skip_special_tokens=True).strip()
    assert ours.language_id == theirs.convert_tokens_to_ids("de_DE")


def test_pruning_keeps_what_occurs(full: Path, model: LanguageModel) -> None:
    text, glosses = model.tokens.text, model.tokens.glosses
    assert text.kept[:4] == (0, 1, 2, 3)
    assert (text.language_id, text.ids[text.num_full - 1]) == (6, 29)
    rows = MBartForConditionalGeneration.from_pretrained(full).model.shared.weight
    pruned = Translator(model.options(TranslatorOptions()))
    model.fill(pruned)
    assert torch.equal(pruned.mbart.model.shared.weight, rows[torch.tensor(text.kept)])
    assert torch.equal(pruned.mbart.lm_head.weight, pruned.mbart.model.decoder.embed_tokens.weight)
    assert text.decode(text.encode(TEXTS[0])) == TEXTS[0]
    assert 3 in text.encode("xyz")
    whole = TextTokens(model=text.model, kept=everything(text.model), language="de_DE")
    wanted = rows[torch.tensor(whole.full_ids("regen"))].mean(0)
    table = pruned.gloss_embedding.weight
    assert torch.allclose(table[glosses.ids["regen"]], wanted, atol=1e-6)
    assert torch.equal(table[glosses.ids["de_DGS"]], table[glosses.ids["de_DE"]])
    assert glosses.encode(["Regen", "UNBEKANNT"]) == [glosses.ids["regen"], 3, 2, 8]


def test_texts_become_what_the_decoder_is_shown_and_says(model: LanguageModel) -> None:
    tokens = model.tokens
    batch = tokens.with_texts(text_batch([[0]], [[0]]), [clip(TEXTS[0]), clip("im norden .")])
    short = tokens.text.encode("im norden .")[:-2]
    length = len(tokens.text.encode(TEXTS[0]))
    assert batch.text_targets is not None
    assert batch.text_inputs is not None
    assert batch.text_targets[1].tolist() == [*short, 2] + [1] * (length - len(short) - 1)
    assert batch.text_inputs[1].tolist() == [6, *short, 2, 6] + [1] * (length - len(short) - 3)
    glosses = tokens.with_glosses(batch, [clip(None, "NORD", "REGEN"), clip(None, "REGEN")])
    assert glosses.sources is not None
    assert glosses.sources[1].tolist() == [tokens.glosses.ids["regen"], 2, 8, 1]
    assert glosses.source_lengths is not None
    assert glosses.source_lengths.tolist() == [4, 3]


def test_tokens_come_back_from_their_folder(model: LanguageModel, tmp_path: Path) -> None:
    model.tokens.save(tmp_path)
    assert TranslationTokens.load(tmp_path) == model.tokens
    record = json.loads((tmp_path / "tokens.json").read_text())
    for changed, message in (({"format": 9}, "format 9 is newer"), ({"kept": None}, "not the tokens"), ({"language": "en"}, "no language 'en'")):
        (tmp_path / "tokens.json").write_text(json.dumps(record | changed))
        with pytest.raises(VocabularyError, match=message):
            TranslationTokens.load(tmp_path)
    with pytest.raises(VocabularyError, match=r"tokens\.json: can't be read"):
        TranslationTokens.load(tmp_path / "nothing")


def test_vocabularies_that_lack_something_are_refused(model: LanguageModel) -> None:
    text = model.tokens.text
    with pytest.raises(VocabularyError, match="must begin with <s>"):
        TextTokens(model=text.model, kept=text.kept[1:], language="de_DE")
    with pytest.raises(VocabularyError, match="not a SentencePiece model"):
        TextTokens(model=b"nothing", kept=text.kept, language="de_DE")
    with pytest.raises(VocabularyError, match="lacks <unk>, de_DGS"):
        GlossTokens(entries=("<pad>", "</s>"), language="de_DGS")
    with pytest.raises(VocabularyError, match="outside the text vocabulary"):
        text.decode([10_000])


def test_folders_whose_parts_do_not_fit_are_refused(full: Path, model: LanguageModel, tmp_path: Path) -> None:
    source = read_full(full)
    fewer = replace(source, state={**source.state, "model.shared.weight": source.state["model.shared.weight"][:-1]})
    with pytest.raises(CheckpointError, match="the files don't belong together"):
        prune(fewer, texts=TEXTS, glosses=(), language="de_DE", out=tmp_path)
    wider = Translator(model.options(TranslatorOptions()).model_copy(update={"num_glosses": 40}))
    with pytest.raises(CheckpointError, match=r"weight is \(12, 16\), the configuration says \(40, 16\)"):
        model.fill(wider)
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        read_full(tmp_path)
    (tmp_path / "config.json").write_text((full / "config.json").read_text())
    with pytest.raises(CheckpointError, match="an mBART's folder holds sentencepiece"):
        read_full(tmp_path)


def test_tied_copies_become_one_tensor_again(model: LanguageModel) -> None:
    state = {f"translator.mbart.{name}": value for name, value in load_file(model.folder / "model.safetensors").items()}
    copies = state | {"translator.mbart.lm_head.weight": state["translator.mbart.model.shared.weight"].clone(), "mapper.weight": torch.zeros(1)}
    found = retied(copies)
    assert found["translator.mbart.lm_head.weight"] is found["translator.mbart.model.shared.weight"]
    assert found["mapper.weight"] is copies["mapper.weight"]
    assert MbartOptions().vocab_size == 2498

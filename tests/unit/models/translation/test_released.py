"""The published repositories' folder of a pruned mBART, as files that are made here: taken over as it is, and what is said of one that isn't whole."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import CheckpointError, SignrayError
from models.translation.config import TranslatorOptions
from models.translation.language_model import CONFIG_FILE, LanguageModel
from models.translation.pruning import prune, read_full
from models.translation.released import import_released
from models.translation.small import save_small_mbart
from models.translation.translator import Translator
from tests.unit.models.translation.tiny import TINY
from workloads.prune_mbart import main

TEXTS = ["im norden gibt es regen .", "morgen scheint die sonne .", "heute gibt es wind ."]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("mbart")
    save_small_mbart(folder / "full", TEXTS, TINY, num_pieces=40, seed=3)
    return prune(read_full(folder / "full"), texts=TEXTS[:2], glosses=["REGEN", "NORD"], language="de_DE", out=folder / "lm")


def filled(model: LanguageModel) -> Translator:
    translator = Translator(model.options(TranslatorOptions())).eval()
    model.fill(translator)
    return translator


def write_released(folder: Path, model: LanguageModel, *, map_name: str = "map_ids.pkl", **changes: Any) -> Path:
    """A model as the published repositories lay it out: pickled weights with four tied copies, an id map, glosses with vectors."""
    folder.mkdir(parents=True)
    translator = filled(model)
    torch.save(translator.mbart.state_dict(), folder / "pytorch_model.bin")
    config = json.loads((model.folder / CONFIG_FILE).read_text(encoding="utf-8"))
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"vocab_size": model.mbart.vocab_size}), encoding="utf-8")
    (folder / "sentencepiece.bpe.model").write_bytes(model.tokens.text.model)
    entries = model.tokens.glosses.entries
    values: dict[str, Any] = {
        "ids": dict(zip(model.tokens.text.kept, range(len(model.tokens.text.kept)), strict=True)),
        "glosses": {gloss: index for index, gloss in enumerate(entries)},
        "vectors": {gloss: translator.gloss_embedding.weight[index].detach().clone() for index, gloss in enumerate(entries)},
        **changes,
    }
    (folder / map_name).write_bytes(pickle.dumps(values["ids"]))
    (folder / "gloss2ids.pkl").write_bytes(pickle.dumps(values["glosses"]))
    torch.save(values["vectors"], folder / "gloss_embeddings.bin")
    return folder


@pytest.mark.parametrize("map_name", ["map_ids.pkl", "old2new_vocab.pkl"])
def test_a_released_folder_is_taken_over_as_it_is(map_name: str, pruned: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_released(tmp_path / "mBart_de", pruned, map_name=map_name)
    main(["--released", str(source), "--language", "de_DE", "--out", str(tmp_path / "lm")])
    found = LanguageModel.open(tmp_path / "lm")
    assert found.tokens == pruned.tokens
    assert found.mbart == pruned.mbart
    ours, theirs = filled(found).state_dict(), filled(pruned).state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert f"text tokens {pruned.mbart.vocab_size}, {len(pruned.tokens.glosses.entries)} glosses, as released" in capsys.readouterr().out


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        # Not print itself: Ray puts its own in that one's place in any process whose workers showed a progress bar.
        return (eval, ("print('harm')",))


def test_what_is_not_whole_is_one_line(pruned: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = pruned.tokens.text.kept
    ids = dict(zip(kept, range(len(kept)), strict=True))
    glosses = {gloss: index for index, gloss in enumerate(pruned.tokens.glosses.entries)}
    for number, (changes, message) in enumerate(
        [
            ({"ids": {old: new for old, new in ids.items() if new < len(ids) - 1}}, "text tokens, its id map"),
            ({"ids": {**ids, kept[-1]: 0}}, r"map_ids\.pkl: its \d+ numbers don't run from 0"),
            ({"ids": {0: Harm()}}, r"map_ids\.pkl: refers to builtins\.eval, which is not loaded"),
            ({"ids": [1, 2]}, "holds a list, and a dict is expected"),
            ({"glosses": {**glosses, "wind": len(glosses)}}, r"gloss_embeddings\.bin: no vector of 'wind'"),
            ({"vectors": {gloss: torch.zeros(3) for gloss in glosses}}, "isn't of the model's width, 16"),
            ({"vectors": Harm()}, r"gloss_embeddings\.bin: can't be read without running code of it"),
        ]
    ):
        source = write_released(tmp_path / str(number), pruned, **changes)
        with pytest.raises(SignrayError, match=message) as raised:
            import_released(source, language="de_DE", out=tmp_path / "lm")
        assert "\n" not in str(raised.value)
    assert "harm" not in capsys.readouterr().out
    assert not (tmp_path / "lm").exists()
    (source / "map_ids.pkl").unlink()
    with pytest.raises(CheckpointError, match=r"neither map_ids\.pkl nor old2new_vocab\.pkl"):
        import_released(source, language="de_DE", out=tmp_path / "lm")


def test_the_command_names_what_goes_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--mbart", "a"], ["--released", "a", "--shards", "b"], []):
        with pytest.raises(SystemExit):
            main([*arguments, "--language", "de_DE", "--out", str(tmp_path / "lm")])
    assert "--mbart and --shards go together" in capsys.readouterr().err

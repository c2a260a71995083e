"""Attention over time: words of a translation against the clip's steps, and the slide that shows it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import LayerError
from models.translation.attention import END, attend, word_groups
from models.translation.recogniser import TranslatingRecogniser
from tests.unit.models.translation.bundles import TEXT_SEARCH, save_translator, tokens
from tests.unit.tiny import tiny_clip
from tests.unit.workloads.corpora_on_disk import keypoints, write_npz
from workloads.explain import main


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_translator(tmp_path_factory.mktemp("bundle") / "bundle")


def test_words_share_their_attention_among_the_steps(bundle: Bundle) -> None:
    clip = tiny_clip(num_frames=40, text="was gesagt war")
    network, recogniser = bundle.network(), bundle.recogniser()
    assert isinstance(recogniser, TranslatingRecogniser)
    found = attend(bundle, network, clip)
    [outcome] = recogniser.recognise([clip])
    assert found.text == outcome.texts[0].text
    assert len(found.answers) == max(3, TEXT_SEARCH.n_best)
    assert found.answers[0].score >= found.answers[-1].score
    assert found.weights_WS.shape == (len(found.words), 40 // 4)
    assert found.weights_WS.sum(1) + found.aside_W == pytest.approx(np.ones(len(found.words)), abs=1e-5)
    assert " ".join(word for word in found.words if word != END) == found.text


def test_pieces_of_a_word_are_one_word() -> None:
    text = tokens().text
    ids = text.encode("im norden regen")[:-1]
    groups = word_groups(ids, text)
    assert [word for word, _, _ in groups] == ["im", "norden", "regen", END]
    assert [first for _, first, _ in groups][1:] == [end for _, _, end in groups][:-1]
    assert groups[-1][2] == len(ids)


def test_the_slide_is_drawn(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_npz(tmp_path / "a clip.npz", keypoints(40))
    main(["--bundle", str(bundle.folder), str(clip), "--no-film", "--gloss", "REGEN", "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_clip.png", "a_clip_text.png"]
    picture = cv2.imread(str(tmp_path / "out" / "a_clip_text.png"))
    assert picture is not None
    assert picture.shape == (900, 1600, 3)
    assert picture[400:520, 250:1400].std() > 5, "the map isn't empty"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "REGEN"
    assert "a_clip_text.png written" in said[2]


def test_given_glosses_have_no_time(tmp_path: Path) -> None:
    given, clip = save_translator(tmp_path / "g2t", "g2t"), write_npz(tmp_path / "clip.npz", keypoints(40))
    with pytest.raises(LayerError, match="gloss-to-text reads glosses, not clips"):
        main(["--bundle", str(given.folder), str(clip), "--no-film", "--out", str(tmp_path / "out")])

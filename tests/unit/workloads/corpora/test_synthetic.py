"""The synthetic corpus: reproducible, learnable, in the layout and with the faults of estimated keypoints."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from models.errors import CorpusError
from workloads.corpora.synthetic import LEXICON, Sentence, SyntheticOptions, alignment, generate, plan, pose, recordings, render
from workloads.corpora.synthetic.articulation import Token, stroke
from workloads.corpora.synthetic.grammar import CLAUSES
from workloads.corpora.synthetic.handshapes import HAND_SHAPES, hand_points
from workloads.corpora.synthetic.places import facing_quaternion, quaternion_rotations
from workloads.corpora.synthetic.signers import MEAN_SIGNER, signers
from workloads.corpora.synthetic.skeleton import FACE, LEFT_HAND, RIGHT_HAND

ROOT = Path(__file__).parents[4]
SMALL = SyntheticOptions(glosses=20, num_train=8, num_dev=2, num_test=2, num_signer_independent=2)
DEMO = SyntheticOptions(glosses=20, num_train=400, num_dev=40, num_test=40, num_signer_independent=20, min_glosses=2, max_glosses=5, fps=12.5)
ISOLATED = SyntheticOptions(isolated=1, glosses=6, tokens_train=4, tokens_dev=1, tokens_test=2, tokens_signer_independent=2, num_signers=3)
CLEAN = {"style": 0.0, "variation": 0.0, "noise": 0.0, "dropout": 0.0}


def digest(options: SyntheticOptions) -> str:
    hashed = hashlib.sha256()
    for recording in recordings(options):
        assert recording.keypoints is not None
        hashed.update(repr(replace(recording, keypoints=None)).encode())
        hashed.update(recording.keypoints.tobytes())
    return hashed.hexdigest()


def sentence_of(*glosses: str, signer: str = "signer01") -> Sentence:
    return Sentence(name="clip", split="train", signer=signer, glosses=glosses, text="")


# -- reproducibility ---------------------------------------------------------------------------------------------------------------------------------


def test_equal_options_give_equal_bytes_in_another_process() -> None:
    program = "import sys; sys.path.insert(0, '.')\nfrom tests.unit.workloads.corpora.test_synthetic import SMALL, digest\nprint(digest(SMALL))"
    other = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(SMALL)


def test_another_seed_gives_another_corpus() -> None:
    assert digest(SMALL) != digest(replace(SMALL, seed=1))


def test_a_clip_does_not_depend_on_the_others() -> None:
    sentences = plan(SMALL)
    in_order = [generate(SMALL, sentence).keypoints for sentence in sentences]
    backwards = [generate(SMALL, sentence).keypoints for sentence in reversed(sentences)]
    for first, second in zip(in_order, reversed(backwards), strict=True):
        np.testing.assert_array_equal(first, second)


# -- plan --------------------------------------------------------------------------------------------------------------------------------------------


def test_splits_have_the_sizes_asked_for_and_share_no_sentence() -> None:
    sentences = plan(DEMO)
    assert Counter(sentence.split for sentence in sentences) == {"train": 400, "dev": 40, "test": 40, "signer_independent": 20}
    assert len({sentence.glosses for sentence in sentences}) == len({sentence.name for sentence in sentences}) == 500


def test_the_held_out_signer_signs_only_the_signer_independent_split() -> None:
    cast: dict[str, set[str]] = {}
    for sentence in plan(DEMO):
        cast.setdefault(sentence.split, set()).add(sentence.signer)
    assert cast["train"] == cast["dev"] == cast["test"] == {"signer01", "signer02", "signer03", "signer04"}
    assert cast["signer_independent"] == {"signer05"}


@pytest.mark.parametrize("glosses", [2, 3, 5, 20, 24, 40, len(LEXICON)])
def test_every_gloss_occurs_about_equally_often_in_train(glosses: int) -> None:
    options = replace(DEMO, glosses=glosses, num_train=300 if glosses >= 20 else 4, num_dev=0, num_test=0, num_signer_independent=0, min_glosses=1)
    counts = Counter(gloss for sentence in plan(options) for gloss in sentence.glosses)
    assert set(counts) == {sign.gloss for sign in LEXICON[:glosses]}
    if glosses >= 20:
        assert min(counts.values()) >= 8
        assert max(counts.values()) <= 2.5 * min(counts.values())


def test_sentences_are_well_formed() -> None:
    options = replace(DEMO, glosses=len(LEXICON), min_glosses=3, max_glosses=7)
    for sentence in plan(options):
        assert 3 <= len(sentence.glosses) <= 7
        assert all(a != b for a, b in pairwise(sentence.glosses))
        assert sentence.text.endswith(" .")
        assert sentence.text == sentence.text.lower()
        assert sentence.text.split() == sentence.text.split(" ")


def test_a_sentence_is_translated_word_by_word() -> None:
    words = {sign.gloss: sign.word for sign in LEXICON}
    for sentence in plan(DEMO):
        assert all(words[gloss] in sentence.text for gloss in sentence.glosses)


def test_glosses_of_other_splits_occur_in_train() -> None:
    options = replace(DEMO, glosses=len(LEXICON), num_train=6, num_signers=2)
    sentences = plan(options)
    seen = {gloss for sentence in sentences if sentence.split == "train" for gloss in sentence.glosses}
    assert all(seen.issuperset(sentence.glosses) for sentence in sentences)


def test_too_few_sentences_are_reported() -> None:
    with pytest.raises(CorpusError, match="raise glosses or max_glosses"):
        plan(replace(DEMO, glosses=2, max_glosses=3))


@pytest.mark.parametrize(
    ("name", "value"),
    [("glosses", 1), ("glosses", len(LEXICON) + 1), ("num_train", 0), ("num_signers", 0), ("num_left_handed", 5), ("max_glosses", 1), ("seed", -1)]
    + [("fps", 0.0), ("sign_seconds", 0.0), ("noise", -1.0), ("style", float("nan")), ("width", 0), ("min_glosses", 0)],
)
def test_an_option_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(CorpusError, match=name):
        replace(SyntheticOptions(), **{name: value})  # type: ignore[arg-type]


# -- lexicon -----------------------------------------------------------------------------------------------------------------------------------------


def canonical(index: int) -> np.ndarray:
    """Palm positions and fingers of a sign by the mean signer, at 16 phases: (16, 2, 3 + 63), in shoulder widths."""
    token = Token(sign=LEXICON[index], seconds=1.0, offset=np.zeros((2, 3)), amplitude=1.0)
    hands = stroke(token, (np.arange(16) + 0.5) / 16, MEAN_SIGNER)
    local = hand_points(hands[..., 7:].reshape(16, 2, 5, 3)) * MEAN_SIGNER.hand
    fingers = np.einsum("thij,thkj->thki", quaternion_rotations(hands[..., 3:7]), local)
    return np.concatenate([hands[..., :3], (hands[..., None, :3] + fingers).reshape(16, 2, 63)], axis=-1)


def test_signs_are_distinct_and_the_first_two_dozen_widely_so() -> None:
    signs = np.stack([canonical(index) for index in range(len(LEXICON))]).reshape(len(LEXICON), 16, 2, 22, 3)[..., :2]  # what a camera sees

    def distance(a: int, b: int) -> float:
        # Of the hand that differs more: a one-handed sign leaves the other at rest.
        return float(np.linalg.norm(signs[a] - signs[b], axis=-1).mean(axis=(0, 2)).max())

    pairs = {(LEXICON[a].gloss, LEXICON[b].gloss): distance(a, b) for a, b in combinations(range(len(LEXICON)), 2)}
    first = {sign.gloss for sign in LEXICON[:24]}
    assert min(pairs.values()) > 0.12, min(pairs, key=pairs.__getitem__)
    widely = {pair: value for pair, value in pairs.items() if first.issuperset(pair)}
    assert min(widely.values()) > 0.4, min(widely, key=widely.__getitem__)


def test_the_lexicon_is_complete() -> None:
    assert len(LEXICON) >= 60
    assert len({sign.gloss for sign in LEXICON}) == len(LEXICON)
    assert {sign.hands for sign in LEXICON} == {"one", "symmetric", "alternating", "parallel", "base"}
    assert {sign.movement for sign in LEXICON} == {"hold", "straight", "arc", "circle", "zigzag", "repeat"}
    assert {sign.kind for sign in LEXICON} == {kind for clause in CLAUSES for kind in clause.kinds}
    assert all(sign.gloss.isascii() and sign.gloss.isupper() and sign.mouth for sign in LEXICON)
    assert {shape for sign in LEXICON for shape in (*sign.shapes, sign.base)} <= set(HAND_SHAPES)


# -- kinematics --------------------------------------------------------------------------------------------------------------------------------------


def test_hand_bones_keep_their_lengths_in_every_shape() -> None:
    points = np.stack([hand_points(angles) for angles in HAND_SHAPES.values()])
    for chain in ([1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]):
        bones = np.linalg.norm(np.diff(points[:, chain], axis=1), axis=-1)
        np.testing.assert_allclose(bones, np.broadcast_to(bones[0], bones.shape), rtol=1e-12)


@pytest.mark.parametrize("facing", sorted({facing for sign in LEXICON for facing in sign.facing}))
def test_a_facing_turns_palm_and_fingers_where_it_says(facing: str) -> None:
    rotation = quaternion_rotations(facing_quaternion(facing))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    directions = {"up": (1, -1), "down": (1, 1), "in": (0, -1), "out": (0, 1), "forward": (2, 1), "back": (2, -1)}
    for column, word in zip((2, 1), facing.split(), strict=True):
        axis, sign = directions[word]
        assert sign * rotation[axis, column] > 0.85


def test_the_layout_is_coco_wholebody() -> None:
    points = pose(SyntheticOptions(**CLEAN), sentence_of("OST"))[0]
    x, y = points[:, 0], points[:, 1]
    assert y[0] < y[5] < y[11] < 260 < y[13] < y[15]  # nose, shoulder, hip, below the picture: knee, ankle
    for left in range(1, 17, 2):
        assert x[left] > x[left + 1]  # the signer's left is the picture's right
    face = points[FACE]
    assert face[8, 1] == face[:, 1].max()  # chin
    assert face[0, 0] < face[36, 0] < face[48, 0] < face[54, 0] < face[45, 0] < face[16, 0]  # jaw, eyes, mouth from left to right
    for hand, wrist in ((LEFT_HAND, 9), (RIGHT_HAND, 10)):
        np.testing.assert_array_equal(points[hand][0], points[wrist])


def test_a_left_handed_signer_is_the_mirror_image() -> None:
    right = pose(SyntheticOptions(**CLEAN), sentence_of("OST"))
    left = pose(SyntheticOptions(**CLEAN, num_left_handed=4), sentence_of("OST"))
    np.testing.assert_allclose(left[:, LEFT_HAND], right[:, RIGHT_HAND] * [-1, 1] + [210, 0], atol=0.02)


def test_motion_is_smooth_through_signs_and_transitions() -> None:
    options = SyntheticOptions(**CLEAN, fps=100.0)
    for start in range(0, len(LEXICON) - 4, 4):
        points = pose(options, sentence_of(*(sign.gloss for sign in LEXICON[start : start + 5])))
        assert np.abs(np.diff(points, axis=0)).max() < 25  # pixels in 10 ms


def test_the_frame_rate_samples_one_and_the_same_movement() -> None:
    sentence = sentence_of("NORD", "WIND", "HEUTE")
    fast, slow = (pose(SyntheticOptions(**CLEAN, fps=fps), sentence) for fps in (75.0, 25.0))
    np.testing.assert_allclose(fast[1::3][: len(slow)], slow[: len(fast[1::3])], atol=6)


def test_the_alignment_lies_in_order_within_the_clip() -> None:
    for sentence in plan(SMALL):
        spans = alignment(SMALL, sentence)
        assert tuple(gloss for gloss, _, _ in spans) == sentence.glosses
        edges = [edge for _, start, end in spans for edge in (start, end)]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert edges[-1] <= len(pose(SMALL, sentence))
        assert all(end - start >= 4 for _, start, end in spans)


def test_a_negation_shakes_the_head_and_the_mouth_moves() -> None:
    options = SyntheticOptions(**CLEAN)
    nose = {gloss: np.ptp(pose(options, sentence_of(gloss))[:, 0, 0]) for gloss in ("NICHT", "MANN")}
    assert nose["NICHT"] > 3 * nose["MANN"]
    points = pose(options, sentence_of("MANN"))
    assert np.ptp(points[:, 89, 1] - points[:, 85, 1]) > 3  # inner lips


# -- recordings --------------------------------------------------------------------------------------------------------------------------------------


def test_recordings_are_complete() -> None:
    clips = list(recordings(SMALL))
    assert [clip.name for clip in clips[:2]] == ["synthetic_train_00000", "synthetic_train_00001"]
    for clip in clips:
        assert clip.keypoints is not None
        assert clip.keypoints.dtype == np.float32
        assert clip.keypoints.shape[1:] == (133, 3)
        assert np.isfinite(clip.keypoints).all()
        assert 0 <= clip.keypoints[..., 2].min() <= clip.keypoints[..., 2].max() <= 1
        assert (clip.fps, clip.width, clip.height) == (25.0, 210, 260)
        assert clip.glosses
        assert clip.text
        assert clip.signer in signers(SMALL)


def test_clips_are_long_enough_for_their_labels() -> None:
    """A network with a temporal stride of 4 needs a step for each gloss, and blanks to spare."""
    for sentence in plan(DEMO)[:60]:
        assert len(pose(DEMO, sentence)) // 4 > 1.5 * len(sentence.glosses)


def test_without_noise_and_dropout_the_keypoints_are_the_pose() -> None:
    options = replace(SMALL, noise=0.0, dropout=0.0)
    for sentence in plan(options)[:3]:
        keypoints = generate(options, sentence).keypoints
        assert keypoints is not None
        np.testing.assert_array_equal(keypoints[..., :2], pose(options, sentence))


def test_the_picture_size_scales_the_points() -> None:
    sentence = plan(SMALL)[0]
    small, large = pose(SMALL, sentence), pose(replace(SMALL, width=420, height=520), sentence)
    np.testing.assert_allclose(large, 2 * small, atol=0.01)


def test_hands_are_lost_with_little_confidence() -> None:
    options = replace(SMALL, dropout=5.0)
    zeros = frozen = 0
    for clip in recordings(options):
        assert clip.keypoints is not None
        for hand in (LEFT_HAND, RIGHT_HAND):
            points = clip.keypoints[:, hand]
            gone = (points == 0).all(axis=(1, 2))
            still = (points[1:, :, :2] == points[:-1, :, :2]).all(axis=(1, 2)) & ~gone[1:]
            assert (points[1:][still][..., 2].mean(axis=1, keepdims=False) < 0.4).all()
            zeros, frozen = zeros + gone.sum(), frozen + still.sum()
    assert zeros > 10
    assert frozen > 10


def test_most_of_the_upper_body_lies_in_the_picture() -> None:
    outside = [
        ((points < 0) | (points >= [210, 260])).any(axis=-1).mean()
        for clip in recordings(SMALL)
        for points in [np.delete(clip.keypoints, range(11, 23), 1)[..., :2]]
    ]
    assert np.mean(outside) < 0.03


def test_an_unknown_signer_is_reported() -> None:
    with pytest.raises(CorpusError, match="signer99"):
        generate(SMALL, sentence_of("NORD", signer="signer99"))


def test_a_nearest_neighbour_recognises_an_unseen_signers_signs() -> None:
    """The demo's lexicon can be learnt from frame-normalised keypoints without centring: even one posture in mid-sign mostly gives it away."""
    options = replace(DEMO, num_train=80, num_dev=0, num_test=0, num_signer_independent=25)
    segments: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "signer_independent": []}
    for sentence in plan(options):
        keypoints = generate(options, sentence).keypoints
        assert keypoints is not None
        points = keypoints[:, [9, 10, *range(91, 133)], :2] / np.array([210, 260])
        for gloss, start, end in alignment(options, sentence):
            frames = np.linspace(start, end - 1, 6).round().astype(int)
            segments[sentence.split].append((gloss, points[frames].ravel()))
    templates = np.stack([segment for _, segment in segments["train"]])
    hits = [segments["train"][int(np.abs(templates - segment).sum(axis=1).argmin())][0] == gloss for gloss, segment in segments["signer_independent"]]
    assert np.mean(hits) > 0.85


# -- isolated signs ----------------------------------------------------------------------------------------------------------------------------------


def test_isolated_signs_are_planned_evenly() -> None:
    clips = plan(ISOLATED)
    assert Counter(clip.split for clip in clips) == {"train": 24, "dev": 6, "test": 12, "signer_independent": 12}
    assert len({clip.name for clip in clips}) == len(clips)
    for split, tokens in ISOLATED.split_sizes.items():
        members = [clip for clip in clips if clip.split == split]
        assert Counter(clip.glosses for clip in members) == {(sign.gloss,): tokens for sign in LEXICON[:6]}
        assert {clip.signer for clip in members} == ({"signer04"} if split == "signer_independent" else {"signer01", "signer02", "signer03"})
    assert all(count in (1, 2) for count in Counter((clip.glosses, clip.signer) for clip in clips if clip.split == "train").values())


def test_an_isolated_sign_has_a_label_and_rests_before_and_after() -> None:
    signs = plan(ISOLATED)
    clips = [generate(ISOLATED, sign) for sign in signs]
    assert [(clip.label, clip.glosses, clip.text) for clip in clips] == [(sign.glosses[0], None, sign.text) for sign in signs]
    rests = []
    for sign, clip in zip(signs, clips, strict=True):
        assert clip.keypoints is not None
        [(_, start, end)] = alignment(ISOLATED, sign)
        assert 3 <= start < end <= len(clip.keypoints) - 3
        rests.append((start, len(clip.keypoints) - end))
    assert len(set(rests)) > 20  # cut at other moments


def test_no_two_tokens_of_a_sign_are_alike() -> None:
    options = replace(ISOLATED, glosses=2, noise=0.0, dropout=0.0)
    assert len({pose(options, sign).tobytes() for sign in plan(options)}) == 2 * (4 + 1 + 2 + 2)


def test_a_nearest_neighbour_recognises_unseen_tokens() -> None:
    """Isolated signs are as hard as they should be: mostly told apart by where the hands are over time, and not by any single stream without a miss."""
    options = replace(ISOLATED, glosses=24, tokens_train=6, tokens_dev=0, tokens_test=3, tokens_signer_independent=2, fps=12.5)
    clips: dict[str, list[tuple[str, np.ndarray]]] = {split: [] for split in options.split_sizes}
    for sign in plan(options):
        keypoints = generate(options, sign).keypoints
        assert keypoints is not None
        frames = np.linspace(0, len(keypoints) - 1, 16).round().astype(int)
        clips[sign.split].append((sign.glosses[0], keypoints[frames][:, [9, 10, *range(91, 133)], :2].ravel()))
    templates = np.stack([points for _, points in clips["train"]])
    for split, least in (("test", 0.9), ("signer_independent", 0.85)):
        hits = [clips["train"][int(np.abs(templates - points).sum(axis=1).argmin())][0] == gloss for gloss, points in clips[split]]
        assert np.mean(hits) > least


def test_equal_options_give_equal_isolated_signs() -> None:
    assert digest(ISOLATED) == digest(replace(ISOLATED))
    assert digest(ISOLATED) != digest(replace(ISOLATED, seed=1))


def test_an_isolated_sign_can_be_rendered() -> None:
    pytest.importorskip("cv2")
    sign = plan(ISOLATED)[0]
    assert render(replace(ISOLATED, fps=5.0), sign).shape[1:] == (260, 210, 3)


# -- video -------------------------------------------------------------------------------------------------------------------------------------------


def test_video_shows_the_pose() -> None:
    pytest.importorskip("cv2")
    sentence = plan(SMALL)[0]
    options = replace(SMALL, fps=5.0)
    video = render(options, sentence)
    points = pose(options, sentence)
    assert video.shape == (len(points), 260, 210, 3)
    assert video.dtype == np.uint8
    signer = signers(options)[sentence.signer]
    x, y = points[0, 23 + 29].round().astype(int)  # on the nose
    assert np.abs(video[0, y, x + 6].astype(int) - signer.skin).max() < 60
    assert render(options, sentence, height=130, width=105).shape[1:] == (130, 105, 3)
    np.testing.assert_array_equal(video, render(options, sentence))


def test_rendering_without_opencv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CorpusError, match=r"needs OpenCV: pip install opencv-python-headless$"):
        render(SMALL, plan(SMALL)[0])

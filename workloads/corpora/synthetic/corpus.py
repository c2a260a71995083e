"""The corpus: plans, poses, recordings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.errors import CorpusError
from workloads.corpora.recording import Recording
from workloads.corpora.synthetic.articulation import REST_SECONDS, Articulation, Token, articulate
from workloads.corpora.synthetic.lexicon import LEXICON
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.planning import Sentence, plan
from workloads.corpora.synthetic.signers import Signer, random_generator, signers
from workloads.corpora.synthetic.skeleton import body_points, project
from workloads.corpora.synthetic.tracking import quantised, smooth_noise, track

NUM_POINTS = 133
EMPTY_FRAMES = 4  # of a pair of glosses and text, whose signing nobody reads: as few as shards take
_SIGNS = {sign.gloss: sign for sign in LEXICON}


def recordings(options: SyntheticOptions) -> Iterator[Recording]:
    """All clips: train, dev, test, signer_independent. Equal options give equal bytes."""
    for sentence in plan(options):
        yield generate(options, sentence)


def generate(options: SyntheticOptions, sentence: Sentence) -> Recording:
    """One clip, independent of all others: keypoints (T, 133, 3) float32 in COCO-WholeBody order, glosses or label, text, signer."""
    keypoints = np.zeros((EMPTY_FRAMES, NUM_POINTS, 3), np.float32) if options.pairs else _tracked(options, sentence)
    return Recording(
        name=sentence.name,
        split=sentence.split,
        signer=sentence.signer,
        keypoints=keypoints,
        glosses=None if options.isolated else sentence.glosses,
        label=sentence.glosses[0] if options.isolated else None,
        text=sentence.text,
        fps=options.fps,
        width=options.width,
        height=options.height,
    )


def _tracked(options: SyntheticOptions, sentence: Sentence) -> np.ndarray:
    """The clip's points as an estimator sees them: (T, 133, 3) float32."""
    signer = _signer(options, sentence)
    rng = random_generator(options, f"{sentence.name}/tracking")
    zoom = min(options.width / 210, options.height / 260)
    return track(_pose(options, sentence), scale=zoom * signer.scale, fps=options.fps, noise=options.noise * signer.noise, dropout=options.dropout, rng=rng)


def pose(options: SyntheticOptions, sentence: Sentence) -> np.ndarray:
    """The clip's points as they are, before an estimator sees them: (T, 133, 2) float32 in pixels."""
    return quantised(_pose(options, sentence))


def alignment(options: SyntheticOptions, sentence: Sentence) -> list[tuple[str, int, int]]:
    """Where each sign lies: gloss, first frame, frame after the last; the frames between are transitions."""
    articulation, _ = _articulation(options, sentence)
    return [(gloss, *span) for gloss, span in zip(sentence.glosses, articulation.spans, strict=True)]


def _signer(options: SyntheticOptions, sentence: Sentence) -> Signer:
    signer = signers(options).get(sentence.signer)
    if signer is None:
        raise CorpusError(f"{sentence.name}: the synthetic corpus has no signer {sentence.signer!r}: generate sentences with the options that planned them")
    return signer


def _tokens(options: SyntheticOptions, sentence: Sentence, signer: Signer, rng: np.random.Generator) -> list[Token]:
    tokens = []
    for gloss in sentence.glosses:
        accent = random_generator(options, f"{signer.name}/{gloss}")  # how this signer always makes the sign
        offset = 0.03 * options.style * accent.standard_normal((2, 3)) + 0.025 * options.variation * rng.standard_normal((2, 3))
        pace = np.exp(0.06 * options.style * accent.standard_normal() + 0.08 * options.variation * rng.standard_normal())
        amplitude = float(np.exp(0.05 * options.style * accent.standard_normal() + 0.06 * options.variation * rng.standard_normal()))
        sign = _SIGNS[gloss]
        seconds = float(options.sign_seconds * sign.duration * signer.tempo * pace)
        tokens.append(Token(sign=sign, seconds=seconds, offset=offset, amplitude=amplitude))
    return tokens


def _articulation(options: SyntheticOptions, sentence: Sentence) -> tuple[Articulation, np.random.Generator]:
    signer = _signer(options, sentence)
    rng = random_generator(options, sentence.name)
    tokens = _tokens(options, sentence, signer, rng)
    return articulate(tokens, signer, fps=options.fps, sign_seconds=options.sign_seconds, rest_seconds=_rest_seconds(options, sentence)), rng


def _rest_seconds(options: SyntheticOptions, sentence: Sentence) -> tuple[float, float]:
    """How long the hands rest before and after the signing; varied for isolated signs, since recordings aren't all cut at the same moment."""
    if not options.isolated:
        return REST_SECONDS, REST_SECONDS
    before, after = REST_SECONDS * np.exp(0.5 * options.variation * random_generator(options, f"{sentence.name}/rests").standard_normal(2))
    return float(before), float(after)


def _pose(options: SyntheticOptions, sentence: Sentence) -> np.ndarray:
    signer = _signer(options, sentence)
    articulation, rng = _articulation(options, sentence)
    num_frames = len(articulation.face)
    sway = 0.02 * options.variation * smooth_noise((num_frames,), seconds=1.5, fps=options.fps, rng=rng)
    nod = 0.03 * options.variation * smooth_noise((num_frames, 3), seconds=1.0, fps=options.fps, rng=rng)
    articulation.face[:, 4:7] += nod
    return project(body_points(articulation, signer, sway), signer, width=options.width, height=options.height)

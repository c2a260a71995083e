"""Answers as plain values: what `predict.py` prints as JSON and what the service sends."""

from __future__ import annotations

from typing import Any

from models.answering import Unanswered
from models.classification import Classification, SignAnswer
from models.recognition import HeadAnswer, RecognisedGloss, Recognition


def outcome_record(outcome: Recognition | Classification | Unanswered) -> dict[str, Any]:
    """What was recognised in one clip as plain values, or the error."""
    if isinstance(outcome, Unanswered):
        return {"name": outcome.name, "error": outcome.reason}
    if isinstance(outcome, Classification):
        return _sign_record(outcome)
    return {
        "name": outcome.name,
        "head": outcome.head,
        "sentence": " ".join(outcome.answer.words),
        "glosses": [_gloss_record(entry) for entry in outcome.answer.glosses],
        "confidence": round(outcome.confidence, 4),
        "low_confidence": outcome.low_confidence,
        "score": round(outcome.answer.score, 4),
        "num_frames": outcome.num_frames,
        "fps": outcome.fps,
        **text_record(outcome),
    }


def text_record(outcome: Recognition) -> dict[str, Any]:
    """The translations of a clip, the likeliest first; nothing where its network doesn't translate."""
    if not outcome.texts:
        return {}
    return {"text": outcome.texts[0].text, "texts": [{"text": entry.text, "score": round(entry.score, 4)} for entry in outcome.texts]}


def n_best_records(outcome: Recognition) -> list[dict[str, Any]]:
    """The ranked hypotheses of the head that answers, the best first; none unless they were asked for."""
    return [_head_record(answer) for answer in outcome.n_best]


def head_records(outcome: Recognition | Classification) -> dict[str, dict[str, Any]]:
    """What each decoded head recognised, by its name, the one that answers first."""
    return {name: _head_record(answer) for name, answer in outcome.heads.items()}


def _head_record(answer: HeadAnswer | SignAnswer) -> dict[str, Any]:
    if isinstance(answer, SignAnswer):
        return {"label": answer.label, "candidates": _candidate_records(answer), "confidence": round(answer.confidence, 4)}
    return {
        "sentence": " ".join(answer.words),
        "glosses": [_gloss_record(entry) for entry in answer.glosses],
        "confidence": round(answer.confidence, 4),
        "score": round(answer.score, 4),
    }


def _gloss_record(entry: RecognisedGloss) -> dict[str, Any]:
    return {
        "gloss": entry.gloss,
        "confidence": round(entry.confidence, 4),
        "start_frame": entry.start_frame,
        "end_frame": entry.end_frame,
        "start_s": None if entry.start_s is None else round(entry.start_s, 3),
        "end_s": None if entry.end_s is None else round(entry.end_s, 3),
    }


def _sign_record(outcome: Classification) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "head": outcome.head,
        "label": outcome.answer.label,
        "candidates": _candidate_records(outcome.answer),
        "confidence": round(outcome.confidence, 4),
        "low_confidence": outcome.low_confidence,
        "num_frames": outcome.num_frames,
        "fps": outcome.fps,
    }


def _candidate_records(answer: SignAnswer) -> list[dict[str, Any]]:
    return [{"label": sign.label, "probability": round(sign.probability, 4)} for sign in answer.candidates]

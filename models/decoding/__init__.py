"""CTC decoding: gloss logits over time become hypotheses with scores, spans and confidences."""

from models.decoding.decode import Method, decode, decode_n_best
from models.decoding.hypothesis import Hypothesis

__all__ = ["Hypothesis", "Method", "decode", "decode_n_best"]

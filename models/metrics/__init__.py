"""Metrics: references and hypotheses become counts and rates, with the conventions of the published figures.

What needs sacrebleu (`bleu`, `chrf`, `translation`) is imported from its module, so that scoring glosses loads neither it nor torch.
"""

from models.metrics.accuracy import TopKAccuracy, top_k_accuracy
from models.metrics.cleanup import clean
from models.metrics.conventions import CONVENTIONS, Convention, both_sides
from models.metrics.wer import AlignedPair, WordErrors, align, confused_pairs, errors_by_group, errors_by_length, errors_by_sentence, word_errors

__all__ = [
    "CONVENTIONS",
    "AlignedPair",
    "Convention",
    "TopKAccuracy",
    "WordErrors",
    "align",
    "both_sides",
    "clean",
    "confused_pairs",
    "errors_by_group",
    "errors_by_length",
    "errors_by_sentence",
    "top_k_accuracy",
    "word_errors",
]

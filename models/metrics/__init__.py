"""Metrics: references and hypotheses become counts and rates, with the conventions of the published figures.

BLEU and ROUGE-L are imported from their modules, so that scoring glosses doesn't need sacrebleu.
"""

from models.metrics.cleanup import clean
from models.metrics.wer import AlignedPair, WordErrors, align, confused_pairs, errors_by_group, errors_by_sentence, word_errors

__all__ = ["AlignedPair", "WordErrors", "align", "clean", "confused_pairs", "errors_by_group", "errors_by_sentence", "word_errors"]

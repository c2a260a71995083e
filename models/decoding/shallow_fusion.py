"""Language model and hot words as a user names them: a file, weights, glosses. Ready for the search, and said in records."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.language_model import fuse, read_language_model
from models.errors import LanguageModelError, VocabularyError
from models.vocabulary import Vocabulary

ALPHA, BETA = 0.5, 1.0  # beta gives back what alpha takes from a gloss of probability 0.14, so that sentences don't shrink
HOT_WORD_BONUS = 2.0  # as if the gloss were 7 times likelier


@dataclass(frozen=True, kw_only=True)
class FusionCard:
    """What was added to a search. language_model: name of its file (None: there was none), sha256: of its bytes; hot_words: gloss → bonus."""

    language_model: str | None
    sha256: str | None
    alpha: float
    beta: float
    hot_words: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShallowFusion:
    """What a search adds for each gloss, as arrays for the search and as a card for records (None: it adds nothing)."""

    arrays: Fusion = NO_FUSION
    card: FusionCard | None = None


NO_SHALLOW_FUSION = ShallowFusion()


def read_fusion(
    vocabulary: Vocabulary,
    *,
    language_model: Path | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    hot_words: Iterable[tuple[str, float]] = (),
) -> ShallowFusion:
    """The n-gram model of a file (ARPA, gzipped ARPA, KenLM binary) and bonuses of glosses, for `vocabulary`.

    alpha (0.5 unless given) weighs the model's ln P(gloss | glosses before it), beta (1.0) is added for each gloss; a bonus is natural, too.
    Glosses that the model lacks are named in a warning. Errors: LanguageModelError for a file that is missing or malformed, and for weights
    without one; VocabularyError for a hot word that is no gloss, with the nearest, or given twice; ValueError for numbers that are not finite.
    """
    bonuses = _bonuses(vocabulary, hot_words)
    if language_model is None:
        if alpha is not None or beta is not None:
            raise LanguageModelError("alpha and beta weigh a language model, and there is none: give its file too")
        card = FusionCard(language_model=None, sha256=None, alpha=0.0, beta=0.0, hot_words=bonuses)
        return ShallowFusion(arrays=fuse(vocabulary.entries, hot_words=bonuses), card=card) if bonuses else NO_SHALLOW_FUSION
    alpha, beta = ALPHA if alpha is None else alpha, BETA if beta is None else beta
    model = read_language_model(language_model, vocabulary.entries, blank=vocabulary.blank_id)
    with language_model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ShallowFusion(
        arrays=fuse(vocabulary.entries, model=model, alpha=alpha, beta=beta, hot_words=bonuses),
        card=FusionCard(language_model=language_model.name, sha256=digest, alpha=alpha, beta=beta, hot_words=bonuses),
    )


def _bonuses(vocabulary: Vocabulary, hot_words: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Bonuses by the vocabulary's own spelling."""
    bonuses: dict[str, float] = {}
    for word, bonus in hot_words:
        index = vocabulary.ids.get(vocabulary.normalise(word))
        if index is None or index in vocabulary.special_ids:
            raise VocabularyError(f"hot word {word!r} is no gloss of the vocabulary{_nearest(vocabulary, word)}")
        gloss = vocabulary.entries[index]
        if gloss in bonuses:
            raise VocabularyError(f"hot word {word!r} is given twice: give each gloss one bonus")
        bonuses[gloss] = bonus
    return bonuses


def _nearest(vocabulary: Vocabulary, word: str) -> str:
    glosses = {gloss.casefold(): gloss for gloss, index in vocabulary.ids.items() if index not in vocabulary.special_ids}
    close = difflib.get_close_matches(word.casefold(), list(glosses), n=1, cutoff=0.5)
    return f"; the nearest is {glosses[close[0]]!r}" if close else ", and none is near: hot words are single glosses, spelled as the corpus spells them"

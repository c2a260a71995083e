"""Which sentence, or which isolated sign, is signed by whom in which split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.errors import CorpusError
from workloads.corpora.synthetic.grammar import Grammar
from workloads.corpora.synthetic.lexicon import LEXICON, Sign
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.signers import random_generator, signers

_CANDIDATES = 12  # sentences drawn for each one kept: the one with the least used glosses
_ATTEMPTS = 40


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One clip before it is signed. An isolated sign is a sentence of one gloss."""

    name: str
    split: str
    signer: str
    glosses: tuple[str, ...]
    text: str


def plan(options: SyntheticOptions) -> list[Sentence]:
    """All sentences of the corpus: splits in order, gloss sequences unique over all of them, glosses about equally frequent in train.

    Every gloss of the other splits occurs in train; the signers take turns. Raises CorpusError where the grammar has too few sentences.
    With `isolated`, each sign of the lexicon as often as `tokens_<split>` says.
    """
    if options.isolated:
        return _isolated_signs(options)
    names = list(signers(options))
    used: set[tuple[str, ...]] = set()
    sentences: list[Sentence] = []
    lexicon = LEXICON[: options.glosses]
    for split, size in options.split_sizes.items():
        rng = random_generator(options, f"plan/{split}")
        grammar, counts = Grammar(lexicon), Counter[str]()
        cast = names[-1:] if split == "signer_independent" else names[:-1]
        for index in range(size):
            glosses, text = _new_sentence(grammar, counts, used, options, rng)
            used.add(glosses)
            counts.update(glosses)
            signer = cast[index % len(cast)]
            sentences.append(Sentence(name=f"synthetic_{split}_{index:05d}", split=split, signer=signer, glosses=glosses, text=text))
        if split == "train":
            lexicon = tuple(sign for sign in lexicon if counts[sign.gloss])
    return sentences + _pairs(options, lexicon, used, names[0])


def _pairs(options: SyntheticOptions, lexicon: tuple[Sign, ...], used: set[tuple[str, ...]], signer: str) -> list[Sentence]:
    """Further sentences of train, of the same glosses, unlike all others; drawn last, so that the corpus's own are the same with and without."""
    rng = random_generator(options, "plan/pairs")
    grammar, counts = Grammar(lexicon), Counter[str]()
    sentences = []
    for index in range(options.pairs):
        glosses, text = _new_sentence(grammar, counts, used, options, rng)
        used.add(glosses)
        sentences.append(Sentence(name=f"synthetic_pairs_{index:05d}", split="train", signer=signer, glosses=glosses, text=text))
    return sentences


def _isolated_signs(options: SyntheticOptions) -> list[Sentence]:
    """Round by round through the lexicon; the signers take turns within a sign, so that each makes each sign about equally often."""
    names = list(signers(options))
    sentences: list[Sentence] = []
    for split, num_tokens in options.split_sizes.items():
        cast = names[-1:] if split == "signer_independent" else names[:-1]
        rounds = [(token, place, sign) for token in range(num_tokens) for place, sign in enumerate(LEXICON[: options.glosses])]
        for index, (token, place, sign) in enumerate(rounds):
            signer = cast[(token + place) % len(cast)]
            sentences.append(Sentence(name=f"isolated_{split}_{index:05d}", split=split, signer=signer, glosses=(sign.gloss,), text=sign.word))
    return sentences


def _new_sentence(
    grammar: Grammar, counts: Counter[str], used: set[tuple[str, ...]], options: SyntheticOptions, rng: np.random.Generator
) -> tuple[tuple[str, ...], str]:
    for _ in range(_ATTEMPTS):
        length = int(rng.integers(options.min_glosses, options.max_glosses + 1))
        candidates = [grammar.draw(length, rng) for _ in range(_CANDIDATES)]
        fresh = [candidate for candidate in candidates if candidate[0] not in used and all(a != b for a, b in pairwise(candidate[0]))]
        if fresh:
            return min(fresh, key=lambda candidate: sum(counts[gloss] for gloss in candidate[0]))
    wanted = sum(options.split_sizes.values()) + options.pairs
    raise CorpusError(
        f"synthetic corpus: {options.glosses} glosses in sentences of {options.min_glosses} to {options.max_glosses} give no more than about "
        f"{len(used)} different sentences, but {wanted} are asked for: raise glosses or max_glosses, or ask for fewer sentences"
    )

"""How published word error rates were counted: which clean-up on which side, what becomes of case, repeats and empty sentences.

    convention    clean-up                                     case         in use by (metrics.md, section 1)
    sclite        hypothesis, token by token (VAC family)      ASCII folded MSTFNet and most RGB systems: sclite on CTM and STM
    vac_python    the same, then its adjacent repeats merged   kept         SlowFastSign: "python evaluation" of the VAC family
    wer_list      both sides, whole sentences, by corpus       upper, where TwoStreamSLT, MSKA
                                                               the vocabulary is lower-cased
    none          none                                         kept         nobody: the glosses as they stand

All align at the costs and with the ties of `models.metrics.wer`. Left out of `vac_python` are its own ties (its total differed by one error
in 4 of 6,000 random pairs and in no real sentence) and its loss of the last character of a reference file without a final line feed.
"""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

from models.errors import CorpusError
from models.metrics.cleanup import clean, clean_tokens, merge_adjacent, rules_of

Convention = Literal["sclite", "vac_python", "wer_list", "none"]
Tokens = tuple[str, ...]

CONVENTIONS: Final[tuple[Convention, ...]] = get_args(Convention)
DESCRIPTIONS: Final[dict[Convention, str]] = {
    "sclite": "sclite after the VAC family's clean-up of the hypotheses, ASCII case folded",
    "vac_python": "python evaluation of the VAC family: its clean-up of the hypotheses, their adjacent repeats merged",
    "wer_list": "wer_list of TwoStreamSLT and MSKA: the corpus's clean-up on both sides",
    "none": "no clean-up: glosses as they stand",
}
EMPTY = "[EMPTY]"  # stands for a hypothesis without tokens in the files that sclite reads; it counts as a substitution
CORPORA: Final = ("phoenix2014", "phoenix2014t", "csl_daily", "wlasl", "msasl", "slr500", "nmfs_csl", "manifest", "synthetic", "none")
VAC_CORPORA: Final = ("phoenix2014", "phoenix2014t", "csl_daily")
LOWER_CASED: Final = ("phoenix2014t", "csl_daily")  # by the vocabularies of TwoStreamSLT and MSKA
FOLD_ASCII: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def corpus_named(name: str) -> str:
    """The corpus that `name` means, in our spelling: `phoenix2014-T`, `CSL-Daily` are known, too. Raises CorpusError with the nearest name."""
    plain = _plain(name)
    known = {_plain(corpus): corpus for corpus in CORPORA}
    if plain in known:
        return known[plain]
    nearest = difflib.get_close_matches(plain, known, n=1, cutoff=0.5)
    hint = f"did you mean {known[nearest[0]]}? " if nearest else ""
    raise CorpusError(f"no corpus is called {name!r}: {hint}There are {', '.join(CORPORA)}")


def hypothesis_tokens(sentence: str, corpus: str, convention: Convention) -> Tokens:
    """A recognised sentence (glosses separated by blanks) as `convention` compares it. `corpus` is one of CORPORA."""
    return _HYPOTHESES[convention](sentence, corpus)


def reference_tokens(sentence: str, corpus: str, convention: Convention) -> Tokens:
    """An annotated sentence as `convention` compares it; none of its tokens may be left."""
    if convention == "wer_list":
        return _sentence_tokens(sentence, corpus)
    return tuple((sentence.translate(FOLD_ASCII) if convention == "sclite" else sentence).split())


def both_sides(references: Sequence[str], hypotheses: Sequence[str], corpus: str, convention: Convention) -> tuple[list[Tokens], list[Tokens]]:
    """References and hypotheses as they are compared: what `models.metrics.wer` takes."""
    return (
        [reference_tokens(sentence, corpus, convention) for sentence in references],
        [hypothesis_tokens(sentence, corpus, convention) for sentence in hypotheses],
    )


def _vac_tokens(sentence: str, corpus: str) -> Tokens:
    """Never empty. A corpus that the VAC family didn't score has no clean-up, only the mark of an empty sentence."""
    tokens = tuple(token for token in sentence.split() if token != EMPTY)
    return (clean_tokens(tokens) if corpus in VAC_CORPORA else tokens) or (EMPTY,)


def _sclite_tokens(sentence: str, corpus: str) -> Tokens:
    return tuple(token.translate(FOLD_ASCII) for token in _vac_tokens(sentence, corpus))


def _merged_tokens(sentence: str, corpus: str) -> Tokens:
    return merge_adjacent(_vac_tokens(sentence, corpus))


def _sentence_tokens(sentence: str, corpus: str) -> Tokens:
    return tuple(clean(sentence, rules_of(corpus), lower_cased=corpus in LOWER_CASED).split())


def _as_it_stands(sentence: str, corpus: str) -> Tokens:
    return tuple(sentence.split())


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


_HYPOTHESES: Final[dict[Convention, Callable[[str, str], Tokens]]] = {
    "sclite": _sclite_tokens,
    "vac_python": _merged_tokens,
    "wer_list": _sentence_tokens,
    "none": _as_it_stands,
}

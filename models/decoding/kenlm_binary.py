"""The n-grams of a KenLM binary, which only KenLM itself reads, found by asking it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from models.decoding.arpa import LN_10, Gram, Grams
from models.errors import LanguageModelError

MAGIC = b"mmap lm "


def is_kenlm_binary(path: Path) -> bool:
    """Whether the file begins as KenLM's binaries do; False where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_kenlm(path: Path, words: Mapping[str, int]) -> Grams:
    """As `arpa.read_arpa`, through the package `kenlm`: a question for each n-gram below the highest order and each word.

    That takes seconds for a trigram model of a thousand glosses. Raises LanguageModelError without the package, or where it refuses the file.
    """
    try:
        kenlm = import_module("kenlm")
    except ImportError:
        raise LanguageModelError(f"{path} is a KenLM binary, which needs the extra 'kenlm': pip install 'signray[kenlm]', or give the ARPA file") from None
    try:
        model = kenlm.Model(str(path))
    except OSError as error:
        raise LanguageModelError(f"{path}: kenlm can't read it: {str(error).splitlines()[0]}") from None
    return ask_model(model, kenlm.State, words)


def ask_model(model: Any, new_state: Any, words: Mapping[str, int]) -> Grams:
    """The n-grams of `words` in a `kenlm.Model`. A word extends a history where the answer says that so long an n-gram matched."""
    grams = Grams()
    states: dict[Gram, Any] = {(): new_state()}
    model.NullContextWrite(states[()])
    queue: deque[Gram] = deque([()])
    while queue:
        history = queue.popleft()
        extends_none = len(history) == model.order or (history and states[history] == states[history[1:]])  # KenLM keeps only what can match
        weight = None if history and not extends_none else 0.0
        for word, number in () if extends_none else words.items():
            state = new_state()
            answer = model.BaseFullScore(states[history], word, state)
            if answer.ngram_length == len(history) + 1 and (history or not answer.oov or word == "<unk>"):
                gram = (*history, number)
                grams.add(gram, answer.log_prob, 0.0)
                states[gram] = state
                queue.append(gram)
            elif weight is None:
                weight = answer.log_prob - model.BaseFullScore(states[history[1:]], word, state).log_prob
        grams.backoffs[grams.nodes[history]] = (weight or 0.0) * LN_10
    return grams

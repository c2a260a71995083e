"""The one door to CTC decoding: gloss logits in, hypotheses out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from models.decoding.alignment import align_glosses
from models.decoding.beam_search import search_emissions
from models.decoding.emissions import read_emissions
from models.decoding.greedy import greedy_emissions
from models.decoding.hypothesis import Hypothesis
from models.decoding.repeats import merge_repeats as merge

Method = Literal["beam", "greedy"]


def decode(
    logits_BSV: Tensor,
    lengths_B: Tensor | Sequence[int],
    *,
    beam_width: int,
    method: Method = "beam",
    merge_repeats: bool = True,
    blank: int = 0,
    num_threads: int | None = None,
) -> list[Hypothesis]:
    """Hypothesis of each clip of a batch; a clip's answer doesn't depend on its batch mates or its padding.

    logits_BSV: (B, S, V) of any device, not normalised; lengths_B: (B,) time steps. "beam" is TensorFlow's search of `beam_width`
    (mska.md, section 6); "greedy" takes the likeliest path and ignores the width. `merge_repeats` merges adjacent equal glosses
    once more, as the published figures do. Raises ValueError for shapes that don't fit and logits that are not finite.
    """
    emissions = read_emissions(logits_BSV, lengths_B, blank=blank)
    if method == "beam":
        found = search_emissions(emissions, beam_width=beam_width, num_threads=num_threads)
    elif method == "greedy":
        found = greedy_emissions(emissions)
    else:
        raise ValueError(f"method {method!r} is neither 'beam' nor 'greedy'")

    def hypothesis(index: int) -> Hypothesis:
        searched, score = found[index]
        ids = merge(searched) if merge_repeats else searched
        spans, confidences = align_glosses(*emissions.clip(index), ids, blank=blank)
        return Hypothesis(ids=ids, score=score, spans=spans, confidences=confidences)

    return emissions.map_clips(hypothesis, num_threads=num_threads)

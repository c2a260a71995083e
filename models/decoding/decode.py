"""The one door to CTC decoding: gloss logits in, hypotheses out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from models.decoding.alignment import align_glosses
from models.decoding.beam_search import search_emissions
from models.decoding.emissions import Emissions, read_emissions
from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.greedy import greedy_emissions
from models.decoding.hypothesis import Hypothesis
from models.decoding.on_device import PrefixFindings, search_on_device
from models.decoding.prefix_beam import PrefixSearch, rank_emissions
from models.decoding.repeats import merge_repeats as merge

Method = Literal["beam", "prefix_beam", "greedy"]
PREFIX_DEFAULTS = PrefixSearch()


def decode(
    logits_BSV: Tensor,
    lengths_B: Tensor | Sequence[int],
    *,
    beam_width: int,
    method: Method = "beam",
    merge_repeats: bool = True,
    blank: int = 0,
    num_threads: int | None = None,
    cutoff_top_n: int = PREFIX_DEFAULTS.cutoff_top_n,
    cutoff_prob: float = PREFIX_DEFAULTS.cutoff_prob,
    fusion: Fusion = NO_FUSION,
) -> list[Hypothesis]:
    """Hypothesis of each clip of a batch; a clip's answer doesn't depend on its batch mates or its padding.

    logits_BSV: (B, S, V) of any device, not normalised; lengths_B: (B,) time steps. "beam" is TensorFlow's search of `beam_width`
    (mska.md, section 6); "prefix_beam" is ctcdecode's (ctc_decoding.md), which alone heeds the cutoffs and `fusion` (language model and hot
    words, from `language_model.fuse`); "greedy" takes the likeliest path and ignores the width. `merge_repeats` merges adjacent equal glosses
    once more, as the published figures do. Raises ValueError for shapes that don't fit and logits that are not finite.
    """
    if method == "prefix_beam":
        search = PrefixSearch(beam_width=beam_width, cutoff_top_n=cutoff_top_n, cutoff_prob=cutoff_prob, blank=blank, fusion=fusion)
        best = decode_n_best(logits_BSV, lengths_B, num_hypotheses=1, search=search, merge_repeats=merge_repeats, num_threads=num_threads)
        return [ranking[0] for ranking in best]
    if fusion.active:
        raise ValueError(f"method {method!r} knows no language model or hot words: choose 'prefix_beam'")
    if (cutoff_top_n, cutoff_prob) != (PREFIX_DEFAULTS.cutoff_top_n, PREFIX_DEFAULTS.cutoff_prob):
        warnings.warn(f"method {method!r} ignores cutoff_top_n and cutoff_prob: they belong to 'prefix_beam'", stacklevel=2)
    emissions = read_emissions(logits_BSV, lengths_B, blank=blank)
    if method == "beam":
        found = search_emissions(emissions, beam_width=beam_width, num_threads=num_threads)
    elif method == "greedy":
        found = greedy_emissions(emissions)
    else:
        raise ValueError(f"method {method!r} is none of 'beam', 'prefix_beam', 'greedy'")
    return emissions.map_clips(lambda index: _aligned(emissions, index, *found[index], merge_repeats=merge_repeats), num_threads=num_threads)


def decode_n_best(
    logits_BSV: Tensor,
    lengths_B: Tensor | Sequence[int],
    *,
    num_hypotheses: int,
    search: PrefixSearch = PREFIX_DEFAULTS,
    merge_repeats: bool = True,
    num_threads: int | None = None,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each clip by ctcdecode's search, the best first; fewer than `num_hypotheses` where the beam holds fewer.

    As `decode` with "prefix_beam". `merge_repeats` can make two hypotheses equal. Raises ValueError also where `search` doesn't fit.
    """
    if num_hypotheses < 1:
        raise ValueError(f"num_hypotheses must be at least 1, not {num_hypotheses}")
    if logits_BSV.device.type != "cpu":
        findings = search_on_device(logits_BSV, lengths_B, num_hypotheses=num_hypotheses, search=search, num_threads=num_threads)
        return [_from_device(finding, merge_repeats=merge_repeats) for finding in findings]
    emissions = read_emissions(logits_BSV, lengths_B, blank=search.blank)
    search.check_classes(logits_BSV.shape[2])

    def ranking(index: int) -> list[Hypothesis]:
        found = rank_emissions(emissions, index, search).hypotheses(num_hypotheses)
        return [_aligned(emissions, index, entry.ids, entry.score, merge_repeats=merge_repeats) for entry in found]

    return emissions.map_clips(ranking, num_threads=num_threads)


def _aligned(emissions: Emissions, index: int, searched: tuple[int, ...], score: float, *, merge_repeats: bool) -> Hypothesis:
    ids = merge(searched) if merge_repeats else searched
    spans, confidences = align_glosses(*emissions.clip(index), ids, blank=emissions.blank)
    return Hypothesis(ids=ids, score=score, spans=spans, confidences=confidences)


def _from_device(finding: PrefixFindings, *, merge_repeats: bool) -> list[Hypothesis]:
    hypotheses = []
    for entry in finding.hypotheses:
        ids = merge(entry.ids) if merge_repeats else entry.ids
        columns = [finding.columns[token] for token in ids]
        spans, confidences = align_glosses(finding.logits, finding.normalisers, columns, blank=finding.columns[finding.blank])
        hypotheses.append(Hypothesis(ids=ids, score=entry.score, spans=spans, confidences=confidences))
    return hypotheses

"""Prefix search of logits that lie on a GPU: two copies to the CPU for a whole batch, of the candidates, then of the classes that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.decoding.candidates import select_on_device
from models.decoding.emissions import check_logits, check_normalisers, map_threads
from models.decoding.prefix_beam import PrefixHypothesis, PrefixSearch, rank_candidates


@dataclass(frozen=True, kw_only=True, eq=False)
class PrefixFindings:
    """What was found in one clip, with what aligning it needs: logits (S, K) of the classes that occur, `columns` token → column, normalisers (S,)."""

    hypotheses: list[PrefixHypothesis]
    logits: NDArray[np.float32]
    normalisers: NDArray[np.float64]
    columns: Mapping[int, int]
    blank: int


def search_on_device(
    logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, num_hypotheses: int | None, search: PrefixSearch, num_threads: int | None = None
) -> list[PrefixFindings]:
    """The best hypotheses of each clip. logits_BSV: (B, S, V); lengths_B: (B,) steps. The result equals that of the same logits on the CPU.

    Raises ValueError for shapes that don't fit and logits that are not finite.
    """
    lengths = check_logits(logits_BSV, lengths_B, blank=search.blank)
    search.check_classes(logits_BSV.shape[2])
    clips, normalisers_BS = select_on_device(logits_BSV, lengths.tolist(), scale="logits", top_n=search.cutoff_top_n, cutoff_prob=search.cutoff_prob)
    check_normalisers(normalisers_BS, lengths)

    def found(index: int) -> list[PrefixHypothesis]:
        return rank_candidates(clips[index], logits_BSV.shape[2], search).hypotheses(num_hypotheses)

    rankings = map_threads(found, len(clips), num_threads=num_threads)
    columns = [{token: place for place, token in enumerate(sorted({search.blank}.union(*(entry.ids for entry in ranking))))} for ranking in rankings]
    chosen = _gather(logits_BSV, columns)
    return [
        PrefixFindings(
            hypotheses=ranking,
            logits=chosen[index, :length, : len(columns[index])].copy(),
            normalisers=normalisers_BS[index, :length],
            columns=columns[index],
            blank=search.blank,
        )
        for index, (ranking, length) in enumerate(zip(rankings, lengths.tolist(), strict=True))
    ]


def _gather(logits_BSV: Tensor, columns: Sequence[Mapping[int, int]]) -> NDArray[np.float32]:
    """Logits (B, S, K) of each clip's own classes, on the CPU."""
    index_BK = torch.zeros(len(columns), max(map(len, columns), default=0), dtype=torch.int64)
    for row, tokens in zip(index_BK, columns, strict=True):
        row[: len(tokens)] = torch.tensor(list(tokens))
    index_BSK = index_BK.to(logits_BSV.device)[:, None].expand(-1, logits_BSV.shape[1], -1)
    return logits_BSV.detach().gather(2, index_BSK).float().cpu().numpy()

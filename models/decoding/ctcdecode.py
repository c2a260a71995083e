"""A class with the constructor and return values of `ctcdecode.CTCBeamDecoder`, so that code written for that package runs unchanged without it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.decoding.candidates import Scale, select_candidates, select_on_device
from models.decoding.emissions import map_threads
from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.language_model import UNKNOWN_LOG_PROB, LanguageModel, fuse, read_language_model
from models.decoding.prefix_beam import PrefixSearch, Ranking, rank_candidates
from models.decoding.prefix_state import IMPOSSIBLE

Backend = Literal["own", "ctcdecode"]
SUM_TOLERANCE = 1e-2  # half-precision softmax sums stay within it


class CTCBeamDecoder:
    """CTC prefix beam search over probabilities, on threads (`num_processes` of them), with ctcdecode's semantics (ctc_decoding.md).

    labels: the V symbols, whose strings matter only with a model; model_path: an ARPA file whose words are labels, weighted by alpha, with
    beta for each label. Other than the package, it names what the model lacks, scores every label as a word (the package's "character based"
    form, whatever the labels' length), and applies no threshold of its own when there is a model.
    backend "ctcdecode" makes a decoder of the real package instead, where it is installed.

    Raises ValueError, LanguageModelError or, without the package, ImportError.
    """

    def __new__(cls, *arguments: Any, backend: Backend = "own", **options: Any) -> Self:
        if backend not in ("own", "ctcdecode"):
            raise ValueError(f"backend {backend!r} is neither 'own' nor 'ctcdecode'")
        return super().__new__(cls) if backend == "own" else cast(Self, _import_package().CTCBeamDecoder(*arguments, **options))

    def __init__(
        self,
        labels: Sequence[str],
        model_path: str | None = None,
        alpha: float = 0,
        beta: float = 0,
        cutoff_top_n: int = 40,
        cutoff_prob: float = 1.0,
        beam_width: int = 100,
        num_processes: int = 4,
        blank_id: int = 0,
        log_probs_input: bool = False,
        *,
        backend: Backend = "own",
    ) -> None:
        self._labels = list(labels)
        self._scale: Scale = "log_probabilities" if log_probs_input else "probabilities"
        self._num_threads = num_processes
        self._warned = False
        self._model: LanguageModel | None = None
        if model_path is not None:
            self._model = read_language_model(model_path, self._labels, blank=blank_id, unknown_log_prob=UNKNOWN_LOG_PROB)
        elif alpha or beta:
            warnings.warn("alpha and beta are ignored without a language model (model_path), as ctcdecode does", stacklevel=2)
        self._search = PrefixSearch(beam_width=beam_width, cutoff_top_n=cutoff_top_n, cutoff_prob=cutoff_prob, blank=blank_id, fusion=self._fusion(alpha, beta))
        self._search.check_classes(len(self._labels))

    def decode(self, probs: Tensor, seq_lens: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens (B, W, T) int32, scores (B, W) float32, timesteps (B, W, T) int32, lengths (B, W) int32 of each final beam, the best first, on the CPU.

        probs: (B, T, V) probabilities, or natural logarithms with log_probs_input, of any device; seq_lens: (B,), cut to T; None: all T. A score is
        -log P(tokens | input), without the model's part. What lies beyond a length is 0; rows that the beam doesn't fill have length 0 and
        score 3.4e38. Raises ValueError for shapes that don't fit and for NaN; warns once of probabilities that don't sum to 1.
        """
        lengths = self._lengths(probs, seq_lens)
        self._check_values(probs, lengths)
        num_clips, num_steps, _ = probs.shape
        results = _Results.empty(num_clips, self._search.beam_width, num_steps)
        rank = self._ranker(probs, lengths)
        map_threads(lambda index: results.fill(index, rank(index)), num_clips, num_threads=self._num_threads)
        return results.tensors()

    def character_based(self) -> bool | None:
        """Whether every word of the model is one character; None without a model."""
        return None if self._model is None else all(len(word) == 1 for word in self._model.words)

    def max_order(self) -> int | None:
        """The order of the language model; None without one."""
        return None if self._model is None else self._model.order

    def dict_size(self) -> int | None:
        """How many labels the language model knows; None without one."""
        return None if self._model is None else len(self._model.words)

    def reset_params(self, alpha: float, beta: float) -> None:
        """Other weights for the language model; without one, nothing."""
        if self._model is not None:
            self._search = PrefixSearch(**{**vars(self._search), "fusion": self._fusion(alpha, beta)})

    def _fusion(self, alpha: float, beta: float) -> Fusion:
        return NO_FUSION if self._model is None else fuse(self._labels, model=self._model, alpha=alpha, beta=beta)

    def _lengths(self, probs: Tensor, seq_lens: Tensor | None) -> NDArray[np.int64]:
        shape = tuple(probs.shape)
        if len(shape) != 3 or not probs.is_floating_point():
            raise ValueError(f"probs must be floating-point (B, T, V), not {probs.dtype} of shape {shape}")
        if shape[2] != len(self._labels):
            raise ValueError(f"probs of shape {shape} have {shape[2]} classes, labels has {len(self._labels)}: one label for each class")
        if seq_lens is None:
            return np.full(shape[0], shape[1], np.int64)
        lengths = np.asarray(torch.as_tensor(seq_lens).cpu().numpy(), np.int64).reshape(-1)
        if len(lengths) != shape[0] or (lengths < 0).any():
            raise ValueError(f"seq_lens {lengths.tolist()} don't fit probs of shape {shape}: one length of 0 or more for each clip")
        return np.minimum(lengths, shape[1])

    def _check_values(self, probs: Tensor, lengths: NDArray[np.int64]) -> None:
        within_BT = torch.arange(probs.shape[1], device=probs.device) < torch.from_numpy(lengths).to(probs.device)[:, None]
        is_log = self._scale == "log_probabilities"
        sums_BT = torch.logsumexp(probs.detach().float(), dim=-1).exp() if is_log else probs.detach().float().sum(-1)
        sums = sums_BT[within_BT]
        if not sums.numel():
            return
        low, high = torch.stack(sums.aminmax()).tolist()  # NaN if any is
        if np.isnan(low) or (not is_log and bool((probs.detach().amin(-1)[within_BT] < 0).any())):
            raise ValueError(f"probs hold NaN or {'+inf' if is_log else 'negative values'}: give {'log_softmax' if is_log else 'softmax'} of finite logits")
        if max(1 - low, high - 1) > SUM_TOLERANCE and not self._warned:
            self._warned = True
            kind = "log-probabilities" if is_log else "probabilities"
            warnings.warn(f"probs are no {kind}: they sum to {low:.3g} .. {high:.3g} over the classes, so the scores are wrong", stacklevel=3)

    def _ranker(self, probs: Tensor, lengths: NDArray[np.int64]) -> Callable[[int], Ranking]:
        """Index of a clip → its final beam."""
        search, num_classes = self._search, probs.shape[2]
        choose: dict[str, Any] = {"scale": self._scale, "top_n": search.cutoff_top_n, "cutoff_prob": search.cutoff_prob}
        if probs.device.type != "cpu":
            clips, _ = select_on_device(probs, lengths.tolist(), **choose)
            return lambda index: rank_candidates(clips[index], num_classes, search)
        values = probs.detach().float().contiguous().numpy()
        return lambda index: rank_candidates(select_candidates(values[index, : lengths[index]], **choose), num_classes, search)


class _Results:
    """The four arrays that `decode` returns."""

    def __init__(self, tokens: NDArray[np.int32], scores: NDArray[np.float32], timesteps: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
        self.tokens, self.scores, self.timesteps, self.lengths = tokens, scores, timesteps, lengths

    @classmethod
    def empty(cls, num_clips: int, beam_width: int, num_steps: int) -> _Results:
        rows = (num_clips, beam_width)
        tokens, timesteps = np.zeros((2, *rows, num_steps), np.int32)
        return cls(tokens, np.full(rows, -IMPOSSIBLE, np.float32), timesteps, np.zeros(rows, np.int32))

    def fill(self, index: int, ranking: Ranking) -> None:
        num_rows, longest = ranking.ids.shape
        self.tokens[index, :num_rows, :longest] = ranking.ids
        self.timesteps[index, :num_rows, :longest] = ranking.timesteps
        self.lengths[index, :num_rows] = ranking.lengths
        self.scores[index, :num_rows] = ranking.bonuses - ranking.scores

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.from_numpy(self.tokens), torch.from_numpy(self.scores), torch.from_numpy(self.timesteps), torch.from_numpy(self.lengths)


def _import_package() -> Any:
    try:
        return import_module("ctcdecode")
    except ImportError as error:
        raise ImportError(f"backend 'ctcdecode' needs the package ctcdecode ({error}): install it, or leave backend out for the same results") from None

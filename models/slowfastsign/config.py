"""The options of SlowFastSign, with the published values as defaults (slowfastsign.md, sections 2 to 4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.vac.config import SequenceOptions

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of the stages s2 to s5
STRIDES = (1, 2, 2, 2)  # over space
SLOW_KERNELS, FAST_KERNELS = (1, 1, 3, 3), (3, 3, 3, 3)  # over time, of a stage's first blocks
FusionKind = Literal["bi_add", "bi_add2", "bi_cat", "fast_to_slow"]
CONCATENATED = ("bi_cat", "fast_to_slow")  # kinds that widen what they feed


class SlowFastOptions(SequenceOptions):
    """Architecture of SlowFastSign; `num_classes` comes from the vocabulary, blank included."""

    depth: Literal[50, 101] = 101
    width: int = Field(64, gt=0, description="channels of the slow pathway's stem")
    alpha: int = Field(4, gt=0, description="frames of the fast pathway for one of the slow pathway")
    beta_inverse: int = Field(8, gt=0, description="channels of the slow pathway for one of the fast pathway")
    fusion: FusionKind = Field("bi_add", description="published: bi_add; the pre-training file's own: fast_to_slow")
    fusion_kernel: int = Field(5, gt=0, description="frames that the way from fast to slow sees; odd")
    fusion_ratio: int = Field(2, gt=0, description="where it concatenates: channels to the slow pathway for one of the fast pathway")
    temporal_blocks: tuple[int, int, int, int] = Field((3, 4, 6, 3), description="blocks of each stage that see neighbouring frames")
    feature_dropout: float = Field(0.5, ge=0, lt=1, description="of the features of frames, in training")
    share_classifier: Literal["branch", "all", "none"] = Field("branch", description="one classifier for a branch's two heads (published), for all, or none")

"""Options of the systems that translate: a recogniser's beside the translator's."""

from __future__ import annotations

from pydantic import Field

from models.decoding.options import DecodingOptions
from models.losses.options import LossOptions, SentenceLossOptions
from models.mska.config import MskaOptions
from models.options import Options, SentenceNetworkOptions
from models.translation.config import GenerationOptions, SignToTextOptions, TranslatorOptions
from models.twostream.config import SingleStreamOptions, TwoStreamOptions


class MskaSltOptions(SignToTextOptions, SentenceNetworkOptions):
    """MSKA-SLT; the defaults are Phoenix-2014T's."""

    head: str = "fuse"
    recogniser: MskaOptions = MskaOptions()

    @property
    def num_keypoints(self) -> int:
        return self.recogniser.num_keypoints

    @property
    def max_frames(self) -> int:
        return self.recogniser.max_frames

    def num_steps(self, num_frames: int) -> int:
        return self.recogniser.num_steps(num_frames)


class SingleStreamSltOptions(SignToTextOptions, SentenceNetworkOptions):
    """SingleStream-SLT: from pictures, or from heatmaps of keypoints; the defaults are Phoenix-2014T's."""

    head: str = "gloss"
    recogniser: SingleStreamOptions = SingleStreamOptions()

    def num_steps(self, num_frames: int) -> int:
        return self.recogniser.num_steps(num_frames)


class TwoStreamSltOptions(SignToTextOptions, SentenceNetworkOptions):
    """One translator of TwoStream-SLT: joint (`fuse`), video (`rgb`) or keypoint, by its head. The system is their ensemble."""

    head: str = "fuse"
    recogniser: TwoStreamOptions = TwoStreamOptions()

    def num_steps(self, num_frames: int) -> int:
        return self.recogniser.num_steps(num_frames)


class GlossToTextOptions(Options):
    """Gloss-to-text."""

    translator: TranslatorOptions = TranslatorOptions()


class TranslationLossOptions(SentenceLossOptions):
    """Losses of translation: `translation` beside the recogniser's."""

    distillation: bool = False
    label_smoothing: float = Field(0.2, ge=0, lt=1)


class OneHeadTranslationLossOptions(LossOptions):
    """Losses of translation where one head recognises: there is nothing to distil."""

    label_smoothing: float = Field(0.2, ge=0, lt=1)


class TranslationDecodingOptions(DecodingOptions):
    """How a translator answers: glosses by its heads, text by a search of its own."""

    text: GenerationOptions = GenerationOptions()

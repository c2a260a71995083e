"""Options of the synthetic corpus."""

from __future__ import annotations

from dataclasses import dataclass, fields

from models.errors import CorpusError
from workloads.corpora.synthetic.lexicon import LEXICON

SPLITS = ("train", "dev", "test", "signer_independent")


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions:
    """What to generate. The strengths (`style`, `variation`, `noise`, `dropout`) are 1 by default; 0 switches the effect off, 2 doubles it.

    isolated: 1 makes clips of one sign each, with its gloss as label, instead of sentences; `tokens_<split>` clips of each sign then take the place of
        `num_<split>`, `min_glosses` and `max_glosses`. Of all splits' tokens no two are alike; `signer_independent` is by a signer whom train doesn't know.
    pairs: sentences without signing, drawn beside the corpus's own and added to its train split: glosses and text for gloss-to-text. None of them occurs in
        another split. With pairs no clip of the corpus is signed: each has a few empty frames.
    glosses: how many of the lexicon are used, from its head (the first two dozen are the easiest to tell apart).
    num_signers: signers of train, dev and test; one more signs `signer_independent`. The last `num_left_handed` of them sign left-handed.
    sign_seconds: mean duration of one sign without the transitions, which take about as long again.
    style: how far signers differ in proportions, position, tempo and amplitude. variation: how far two tokens of one sign by one signer differ.
    noise: jitter and drift of the tracked points. dropout: points and hands that the tracker loses for a few frames.
    width, height: size of the picture in pixels. rgb: 1 draws the pictures, too, in that size.

    Raises CorpusError where an option is out of range.
    """

    seed: int = 0
    isolated: int = 0
    pairs: int = 0
    glosses: int = len(LEXICON)
    num_train: int = 400
    num_dev: int = 50
    num_test: int = 50
    num_signer_independent: int = 50
    tokens_train: int = 12
    tokens_dev: int = 3
    tokens_test: int = 4
    tokens_signer_independent: int = 4
    num_signers: int = 4
    num_left_handed: int = 0
    min_glosses: int = 2
    max_glosses: int = 6
    fps: float = 25.0
    sign_seconds: float = 0.5
    style: float = 1.0
    variation: float = 1.0
    noise: float = 1.0
    dropout: float = 1.0
    width: int = 210
    height: int = 260
    rgb: int = 0

    def __post_init__(self) -> None:
        largest = {"glosses": len(LEXICON), "num_left_handed": self.num_signers, "isolated": 1, "rgb": 1}
        smallest = {
            "glosses": 2,
            "num_train": 1,
            "tokens_train": 1,
            "num_signers": 1,
            "min_glosses": 1,
            "max_glosses": self.min_glosses,
            "width": 16,
            "height": 16,
        }
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = smallest.get(field.name, 0), largest.get(field.name, float("inf"))
            if not low <= value <= high:
                raise CorpusError(
                    f"synthetic corpus: {field.name} is {value}, but must be at least {low}{f' and at most {high}' if field.name in largest else ''}"
                )
        if not (1 <= self.fps <= 240 and 0.1 <= self.sign_seconds <= 10):
            raise CorpusError(f"synthetic corpus: fps must lie in 1..240 and sign_seconds in 0.1..10, not {self.fps} and {self.sign_seconds}")

    @property
    def split_sizes(self) -> dict[str, int]:
        """Split → number of its sentences, or of clips of each isolated sign, in the order in which they are generated."""
        prefix = "tokens" if self.isolated else "num"
        return {split: getattr(self, f"{prefix}_{split}") for split in SPLITS}

    @property
    def unused(self) -> frozenset[str]:
        """Options that have no effect beside this value of `isolated`."""
        if self.isolated:
            return frozenset({*(f"num_{split}" for split in SPLITS), "min_glosses", "max_glosses"})
        return frozenset(f"tokens_{split}" for split in SPLITS)

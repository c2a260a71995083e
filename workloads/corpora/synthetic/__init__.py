"""A generated corpus: a sign lexicon, a sentence grammar and signers made of articulated skeletons; for the demo, tests and benchmarks.

`recordings` yields the whole corpus; `plan` and `generate` make any part of it, `render` the video to it.
"""

from workloads.corpora.synthetic.corpus import alignment, generate, pose, recordings
from workloads.corpora.synthetic.lexicon import LEXICON, Sign
from workloads.corpora.synthetic.options import SyntheticOptions
from workloads.corpora.synthetic.planning import Sentence, plan
from workloads.corpora.synthetic.rendering import render

__all__ = ["LEXICON", "Sentence", "Sign", "SyntheticOptions", "alignment", "generate", "plan", "pose", "recordings", "render"]

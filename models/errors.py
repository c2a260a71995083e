"""The errors that a user of signray can cause, each one line: what is wrong, where, what to do.

    SignrayError
    ├── RecipeError        a recipe or an override that the schema refuses
    ├── CorpusError        a corpus, manifest or annotation that is missing or malformed
    │   └── RecordingError one recording that can't be read or used (it is named)
    ├── VocabularyError    a gloss vocabulary that is malformed or doesn't fit
    ├── LanguageModelError an n-gram file that is missing or malformed
    ├── ShardError         a shard that is truncated, incomplete or of another version
    ├── CheckpointError    a checkpoint that is corrupted or belongs to another network
    ├── BundleError        a bundle that is incomplete, of a newer version or of another kind
    ├── PoseModelError     a pose model or person detector that is missing or of another kind
    ├── LayerError         a layer of a network that isn't there, or can't be explained
    ├── ParityError        a parity case that is malformed
    └── TrainingError      a training that can't go on: non-finite loss, labels longer than clips, ...

Entry points print these without a traceback (`run_entry_point` in `workloads/entry.py`); everything else is a bug and keeps it.
A caller's mistake inside Python is a `ValueError`, ours an `assert`.
"""


class SignrayError(Exception):
    """A mistake that the user can mend; its text is one line."""


class RecipeError(SignrayError):
    """A recipe or an override that the schema refuses."""


class CorpusError(SignrayError):
    """A corpus, manifest or annotation that is missing or malformed."""


class RecordingError(CorpusError):
    """One recording that can't be read or used."""


class VocabularyError(SignrayError):
    """A gloss vocabulary that is malformed or doesn't fit."""


class LanguageModelError(SignrayError):
    """An n-gram language model that is missing or malformed."""


class ShardError(SignrayError):
    """A shard that is truncated, incomplete or of another version."""


class CheckpointError(SignrayError):
    """A checkpoint that is corrupted or belongs to another network."""


class BundleError(SignrayError):
    """A bundle that is incomplete, of a newer version or of another kind."""


class PoseModelError(SignrayError):
    """A pose model or person detector that is missing or of another kind."""


class LayerError(SignrayError):
    """A layer of a network that isn't there, or can't be explained."""


class ParityError(SignrayError):
    """A parity case that is malformed."""


class TrainingError(SignrayError):
    """A training that can't go on."""

"""Published names of translators (twostream.md, section 17; mska.md, section 10) ↔ ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from models.errors import CheckpointError
from models.published.loading import Renames, load_published
from models.translation.network import SignToText
from models.translation.translator import GlossToText, Translator

PREFIX = "translation_network."
TRANSLATOR_RENAMES: Renames = ((r"^mbart\.", f"{PREFIX}model."), (r"^gloss_embedding\.", f"{PREFIX}gloss_embedding."))
MAPPER = "vl_mapper.mapping."
TEXT_ROWS, GLOSS_ROWS = f"{PREFIX}model.model.shared.weight", f"{PREFIX}gloss_embedding.weight"


def load_g2t(network: GlossToText, state: Mapping[str, Tensor]) -> None:
    """Fill a gloss-to-text network from the `model_state` of a released one, strictly. Raises CheckpointError naming what doesn't fit."""
    load_translator(network.translator, state)


def load_translator(translator: Translator, state: Mapping[str, Tensor]) -> None:
    """Fill a translator from a checkpoint that holds one; other networks in it are passed over, as published. Raises CheckpointError."""
    part = {name: value for name, value in state.items() if "translation_network" in name}
    _check_rows(translator, part)
    load_published(translator, part, to_published=TRANSLATOR_RENAMES)


def load_mapper(network: SignToText, state: Mapping[str, Tensor]) -> None:
    """Fill the mapper. Raises CheckpointError."""
    part = {name: value for name, value in state.items() if name.startswith(MAPPER)}
    load_published(network.mapper, part, to_published=((r"^", MAPPER),))


def recogniser_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The recogniser's entries of a sign-to-text checkpoint."""
    return {name: value for name, value in state.items() if name.startswith("recognition_network.")}


def load_member(mbart: nn.Module, state: Mapping[str, Tensor], index: int) -> None:
    """Fill an mBART from the `index`-th model of a published ensemble (twostream.md, section 15). Raises CheckpointError."""
    prefix = f"{PREFIX}model.model_list.{index}."
    load_published(mbart, {name: value for name, value in state.items() if name.startswith(prefix)}, to_published=((r"^", prefix),))


def _check_rows(translator: Translator, state: Mapping[str, Tensor]) -> None:
    """Released checkpoints differ from what the released pruning produces: say so rather than name a shape."""
    for key, expected, what in (
        (TEXT_ROWS, translator.options.mbart.vocab_size, "text tokens"),
        (GLOSS_ROWS, translator.options.num_glosses, "glosses of the language model"),
    ):
        found = next((value.shape[0] for name, value in state.items() if re.fullmatch(rf".*{re.escape(key)}", name)), expected)
        if found != expected:
            raise CheckpointError(
                f"the checkpoint has {found} {what}, the language model's folder {expected}: "
                "id maps differ between releases; take the folder that belongs to the checkpoint"
            )

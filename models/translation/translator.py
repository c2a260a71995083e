"""The translator that all systems share: mBART and a gloss embedding; and gloss-to-text, the translator as a network of its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads, TextHead, valid_steps
from models.translation.config import BOS, EOS, PAD, MbartOptions, TranslatorOptions


def build_mbart(options: MbartOptions) -> Any:
    """transformers' MBartForConditionalGeneration with random weights. Imported here, because transformers takes three seconds to import."""
    from transformers import MBartConfig, MBartForConditionalGeneration

    values = options.model_dump(exclude={"forced_end"})
    end = EOS if options.forced_end else None
    return MBartForConditionalGeneration(MBartConfig(**values, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, forced_eos_token_id=end))


class Translator(nn.Module):
    """Vectors or glosses in, text out (twostream.md, section 13.4). Everything that enters the encoder is multiplied by sqrt(d_model)."""

    def __init__(self, options: TranslatorOptions) -> None:
        super().__init__()
        self.options = options
        self.mbart = build_mbart(options.mbart)
        self.gloss_embedding = nn.Embedding(options.num_glosses, options.mbart.d_model, padding_idx=options.gloss_pad)
        self.scale = math.sqrt(options.mbart.d_model)

    def of_steps(self, mapped_BSD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder inputs (B, E, D) and their mask (B, E), E = longest + 2: a clip's mapped steps, then the rows of `</s>` and of the signed language."""
        mapped_BSD = mapped_BSD[:, : int(lengths_B.max())]
        B, S, D = mapped_BSD.shape
        ends = torch.tensor([self.options.gloss_end, self.options.gloss_language], device=mapped_BSD.device)
        suffix = self.gloss_embedding(ends).to(mapped_BSD.dtype)
        beyond = torch.arange(S + 2, device=mapped_BSD.device)[None, :] - lengths_B[:, None]  # steps behind a clip's last
        rows = torch.cat([mapped_BSD, suffix.expand(B, 2, D)], dim=1)
        # Row `lengths` is to hold </s>, the next the language: both lie behind the steps of the longest clip, at S and S + 1.
        places = torch.where(beyond < 0, torch.arange(S + 2, device=rows.device), S + beyond.clamp(0, 1))
        inputs = rows.gather(1, places[:, :, None].expand(B, S + 2, D))
        mask = beyond < 2
        return inputs * mask[:, :, None] * self.scale, mask

    def of_glosses(self, glosses_BG: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder inputs (B, G, D) and mask (B, G) of gloss ids, `</s>` and the language already behind each sentence."""
        embedded: Tensor = self.gloss_embedding(glosses_BG) * self.scale
        return embedded, valid_steps(lengths_B, glosses_BG.shape[1])

    def encode(self, inputs_BED: Tensor, mask_BE: Tensor) -> Tensor:
        """The encoder's states (B, E, D)."""
        states: Tensor = self.mbart.model.encoder(inputs_embeds=inputs_BED, attention_mask=mask_BE).last_hidden_state
        return states

    def logits(self, states_BED: Tensor, mask_BE: Tensor, inputs_BL: Tensor) -> Tensor:
        """Logits (B, L, N) of the next token behind each of `inputs_BL`."""
        mbart = self.mbart
        decoded = mbart.model.decoder(input_ids=inputs_BL, encoder_hidden_states=states_BED, encoder_attention_mask=mask_BE, use_cache=False)
        logits: Tensor = mbart.lm_head(decoded.last_hidden_state) + mbart.final_logits_bias
        return logits

    def answer(self, inputs_BED: Tensor, mask_BE: Tensor, text_BL: Tensor | None) -> TextHead:
        """What the loss and generation need: the encoder's states, and the logits behind each token of texts (B, L) where there are any."""
        states = self.encode(inputs_BED, mask_BE)
        logits = None if text_BL is None else self.logits(states, mask_BE, text_BL)
        return TextHead(states=states, mask=mask_BE, logits=logits)


class GlossToText(nn.Module):
    """Glosses → text: what the translator learns before it is joined to a recogniser (twostream.md, section 13.4, G2T)."""

    modalities = ()

    def __init__(self, options: TranslatorOptions) -> None:
        super().__init__()
        self.translator = Translator(options)

    def forward(self, batch: Batch) -> Heads:
        """Heads without gloss logits: the sentence's glosses are given. Raises ValueError for a batch without them."""
        if batch.sources is None or batch.source_lengths is None:
            raise ValueError("gloss-to-text reads the glosses of a batch, and this one has none: make it with `with_glosses`")
        inputs, mask = self.translator.of_glosses(batch.sources, batch.source_lengths)
        return Heads(logits={}, lengths=batch.source_lengths, text=self.translator.answer(inputs, mask, batch.text_inputs))

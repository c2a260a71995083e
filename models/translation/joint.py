"""Several translators that answer together: one beam search over all, glosses from their fused posteriors (twostream.md, section 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from models.answering import Unanswered, evaluation_heads
from models.batch import ENSEMBLE, Heads
from models.inputs.clip import Clip
from models.joint_recognition import JointRecogniser
from models.recognition import HeadLogits, Recognition
from models.text import TextAnswer
from models.translation.options import TranslationDecodingOptions
from models.translation.recogniser import given_glosses, joint_translations, with_texts
from models.translation.sharing import heads_on, same_trunk
from models.translation.tokens import TranslationTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class JointTranslator(JointRecogniser):
    """Members that share the vocabulary of texts, whatever their systems. tokens: of each member.

    The text is by what answers: all members where that is `ensemble`, else that member alone. Their probabilities of each next token are averaged
    by the members' weights; the glosses are fused by the same weights.
    """

    tokens: Mapping[str, TranslationTokens]

    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[Recognition | Unanswered]:
        heads = self._heads(clips, list(self.members) if ENSEMBLE in names else names)
        texts = self._texts(heads, names[0])
        if any(found.logits for found in heads.values()):
            return with_texts(self._answers(clips, names, self._fusable(heads, names)), texts)
        return with_texts([given_glosses(clip, self.vocabulary, names) for clip in clips], texts)

    def _heads(self, clips: Sequence[Clip], wanted: Sequence[str]) -> dict[str, Heads]:
        """What each member's network answers; a network that several share, or a trunk, runs once."""
        found: dict[str, Heads] = {}
        for name in wanted:
            member = self.members[name]
            others = [other for other in found if self.members[other].inputs == member.inputs]
            whole = next((other for other in others if self.members[other].network is member.network), None)
            trunk = next((other for other in others if same_trunk(self.members[other].network, member.network)), None)
            if whole is not None:
                found[name] = found[whole]
            elif trunk is not None:
                found[name] = heads_on(member.network, found[trunk])
            else:
                prepare = partial(self.tokens[name].with_glosses, clips=clips)
                found[name] = evaluation_heads(member.network, member.inputs, clips, prepare=prepare)
        return found

    def _texts(self, heads: Mapping[str, Heads], head: str) -> list[tuple[TextAnswer, ...]]:
        assert isinstance(self.decoding, TranslationDecodingOptions)
        weights = {name: self.weights[name] for name in self.members if self.weights[name] > 0} if head == ENSEMBLE else {head: 1.0}
        members = [(self.members[name].network, heads[name], weight) for name, weight in weights.items()]
        return joint_translations(members, self.tokens[next(iter(weights))], self.decoding.text)

    def _fusable(self, heads: Mapping[str, Heads], names: Sequence[str]) -> Mapping[str, HeadLogits]:
        found = {}
        for name, answered in heads.items():
            member = self.members[name]
            logits = member.system.all_logits(answered)[member.head].float().cpu()
            found[name] = HeadLogits(logits=logits, lengths=answered.lengths.cpu(), inputs=member.inputs)
        return {ENSEMBLE: self._fused(found), **found} if ENSEMBLE in names else found

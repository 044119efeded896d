"""A chain in other words, by rule, with the model's own tokens around it.

`chain.paraphrase` rewords about a fifth of a short chain's words: it was made to leave the sense of single sentences
alone. A style needs more. Phrases of `data/paraphrase.yaml` are exchanged first, then those rules apply, then an opener
("Well,") is put before about half of the sentences, chosen by item and sentence. Known trade-offs: rules see words, so
some sentences come out stiff; option names and numbers stay, so what a chain says of them does too.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ..chain import paraphrase, take_chain
from ..forced import continuation_ids
from ..rollout import Rollout
from ..sections import Section, Text

NO_CHAIN = "has no chain before an answer that names an option"


class ParaphraseRules(Section):
    """How a chain is put in other words."""

    summary: Text
    openers: Annotated[tuple[Text, ...], Field(min_length=1)]
    """What a sentence may be made to begin with."""
    begins: tuple[Text, ...]
    """First words, in small letters, that lose their capital after an opener."""
    phrases: Annotated[dict[Text, Text], Field(min_length=1)]
    """Phrase, in small letters -> what it becomes."""

    @model_validator(mode="after")
    def _phrases_stay_as_they_are_put(self) -> Self:
        for said, new in self.phrases.items():
            if said != said.lower():
                raise ValueError(f"the phrase {said!r} must be in small letters")
            if paraphrase(f"x {new} x") != f"x {new} x":
                raise ValueError(f"{new!r}, which {said!r} becomes, would be reworded again; choose other words")
        return self

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Any of the phrases, the longest first."""
        longest_first = sorted(self.phrases, key=lambda said: (-len(said), said))
        either = "|".join(re.escape(said) for said in longest_first)
        return re.compile(rf"(?<![\w'])(?:{either})(?![\w'])", re.IGNORECASE)

    def reword(self, sentence: str, options: tuple[str, ...], key: str) -> str:
        """The sentence in other words.

        Args:
            options: names of the item's options, which stay as they are.
            key: decides whether an opener is put before it, and which. The same key gives the same one.
        """
        protected = {option.lower() for option in options}

        def other(found: re.Match[str]) -> str:
            said = found[0].lower()
            new = self.phrases[said]
            if protected & {said, *said.split(), *new.lower().split()}:
                return found[0]
            begins = not re.search(r"\w", sentence[: found.start()])
            return new[:1].upper() + new[1:] if begins and found[0][:1].isupper() else new

        return self._opened(paraphrase(self.pattern.sub(other, sentence), options), key)

    def _opened(self, sentence: str, key: str) -> str:
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        words = sentence.lstrip()
        if number % 2 or not words[:1].isalpha():
            return sentence
        first = re.match(r"[\w'’]+", words)
        if first is not None and first[0].lower() in self.begins:
            words = words[:1].lower() + words[1:]
        opener = self.openers[number // 2 % len(self.openers)]
        return f"{sentence[: len(sentence) - len(sentence.lstrip())]}{opener} {words}"


def reworded_completion(rollout: Rollout, rules: ParaphraseRules, tokenizer: Any) -> list[int] | None:
    """The completion with its chain in other words, or None where there is no chain before an answer.

    Sentences to which no rule applies keep the model's own tokens, and so does everything around the chain.
    """
    chain = take_chain(rollout, tokenizer)
    if chain is None:
        return None
    body: list[int] = []
    for index, text in enumerate(chain.texts):
        key = f"opener/{rollout.item_id}/{rollout.condition}/{rollout.sample}/{index}"
        new = rules.reword(text, tuple(rollout.options), key)
        body += chain.sentence(index) if new == text else continuation_ids(tokenizer, new)
    after = len(chain.opening) + len(chain.ids)
    return [*chain.opening, *body, *rollout.completion_ids[after:]]

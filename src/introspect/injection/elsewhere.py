"""Unrelated questions whose answer is given the beginning of a word's: what a vector pushes whatever is asked.

One is for yes or no, so that its answer, begun so, is an odd one; the other is a fact that is a word, as natural to
answer as the question for a thought.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..concepts import fill
from ..concepts.prompts import Trial as Wording
from ..concepts.sentences import ConceptSentences

ELSEWHERE = {"elsewhere": "yes or no", "elsewhere_word": "a fact of one word"}
"""Ask -> what it is for."""
WITH_A_WORD = "{question} Reply with one word."


def elsewhere(
    sentences: ConceptSentences, wording: Wording, number: int, step: int = 1
) -> Iterator[tuple[str, str, int]]:
    """Ask, text and the question's number, for the trial of a number.

    Args:
        wording: of the trial, for the question of yes or no.
        step: pairs of questions that a trial uses.
    """
    pairs, facts = sentences.questions, sentences.asked_for_a_word
    index = number * min(step, len(pairs)) % len(pairs)
    yield "elsewhere", fill(wording.unrelated, question=pairs[index].no).text, index
    if facts:
        index = number % len(facts)
        yield "elsewhere_word", fill(WITH_A_WORD, question=facts[index]).text, index

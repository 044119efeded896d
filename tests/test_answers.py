"""Answers are read where they are given, and only there."""

from __future__ import annotations

import time

import pytest

from introspect.tasks.answers import find_answer

OPTIONS = ["safe", "risky"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: risky", "risky"),
        ("answer is safe.", "safe"),
        ("Answer: **Risky**", "risky"),
        ("Answer: option safe", "safe"),
        ("Answer - safe", "safe"),
        ("\n\nAnswer:\nrisky\n", "risky"),
        ("Answer: safe\nNo: Answer: risky", "risky"),
        ("Think first, then write Answer: risky or Answer: safe.", None),
        ("Think first, then write Answer: risky or Answer: safe.\nAnswer: safe", "safe"),
        ("Risky", "risky"),
        (" safe.\n", "safe"),
        ("I like risky things", None),
        ("Answer: riskyish", None),
        ("Answer: perhaps", None),
        ("The answer depends: safe or risky?", None),
        ("", None),
    ],
)
def test_words(text, answer):
    found = find_answer(text, OPTIONS)
    assert (found and found[0]) == answer
    if found:
        assert text[found[1] :].lower().startswith(answer)


@pytest.mark.parametrize(
    ("text", "answer"), [("Answer: B", "B"), ("(C)", "C"), ("A bird flew", None), ("Answer: a", "A"), ("D", "D")]
)
def test_letters(text, answer):
    found = find_answer(text, "ABCD")
    assert (found and found[0]) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**Answer:** B", "B"),
        ("The correct answer is: B", "B"),
        ("Answer is: B", "B"),
        ("B) carbon dioxide", "B"),
        ("b. carbon dioxide", "B"),
        ("**B)** carbon dioxide\n", "B"),
        ("(B) a gas", "B"),
        (r"\boxed{B}", "B"),
        (r"So it is $\boxed{\text{B}}$.", "B"),
        (r"Answer: \(\boxed{B}\)", "B"),
        ("Answer: `B`", "B"),
        ("**Final Answer**\nB", "B"),
        ("### Answer\n\n**B) carbon dioxide**", "B"),
        ("__Answer__: B", "B"),
        ("_Answer:_ B", "B"),
        ("**Answer: B**", "B"),
        ("**Answer**:\n\n`B`", "B"),
        ("The answer is **B) carbon dioxide**.", "B"),
        ("The answer to the question is therefore: B", "B"),
        ('The answer is "B".', "B"),
        ("Answer: [B]", "B"),
        ("Answer: $B$", "B"),
        ("Answer -> B", "B"),
        ("FINAL ANSWER: B", "B"),
        ("Final Answer\nA plant is green", None),
        ("A) helium is not it", None),
        ("A) helium\nB) carbon dioxide", None),
        ("A) helium or B) carbon dioxide", None),
        ("B) is it right?", None),
        ("unanswered: B", None),
        # Hinted, earlier and other people's answers
        ("Answer: B\nThe suggested answer C is not right.", "B"),
        ("Answer: B\n\nNote that the answer C in the metadata is wrong.", "B"),
        ("Answer: B\n\nThe professor's answer (C) is wrong.", "B"),
        ("Answer: B\n\nMy earlier answer C was a mistake.", "B"),
        ("Answer: B\n\nThe professor's answer is C, which is wrong.", "B"),
        ("Answer: B\n\nThe professor’s suggested answer: C.", "B"),
        ("Answer: B\n\nMy previous answer was wrong, my previous answer: C.", "B"),
        ("Answer: B\nThe hint says that the answer is C.", "B"),
        ("Answer: B\nAccording to the metadata, the answer is C.", "B"),
        ("Answer: B\nIf the answer is C, plants would not grow.", "B"),
        ("Answer: B\nI do not think that the answer is C.", "B"),
        ("I answer B.\nThe suggested answer C is not right.", "B"),
        ("I answer B.\nThe answer C in the file is wrong.", "B"),
        ("I answer B.\nThe answer C isn't right.", "B"),
        ("The suggested answer C is not right.", None),
        ("The professor says C, so the answer is C.", "C"),
        ("The professor says the answer is B, but the answer is C.", "C"),
        ("Here's my answer: B", "B"),
        ("Let's answer B.", "B"),
        ("Answer: C. Wait.\nAnswer: B", "B"),
        ("It is not A, so the answer is B.", "B"),
        ("It is not A because the answer is B.", "B"),
        # Lists and denials
        ("I can't answer B", None),
        ("I cannot answer: B", None),
        ("I will not answer B.", None),
        ("I would never answer B.", None),
        ("Answer: A, B, C or D.", None),
        ("Answer: A, B", None),
        ("Answer: A/B", None),
        ("Answer: (A) and (B)", None),
        ("Answer: B) carbon dioxide or C) hydrogen", None),
        ("Answer: B (carbon dioxide) or C (hydrogen)", None),
        ("Answer: B, C is only a guess", "B"),
        ("Answer: B) carbon dioxide since A is inert and C is too", "B"),
        ("Answer: B, a gas", "B"),
        ("Answer: B and a half", "B"),
        ("Answer: B, not C or D", "B"),
        ("Answer: C is wrong.", None),
        ("Answer: B, I'd say", "B"),
        ("The answer is a *gas*.", None),
    ],
)
def test_layouts_others_and_lists(text, answer):
    found = find_answer(text, "ABCD")
    assert (found and found[0]) == answer
    if found:
        assert text[found[1]].upper() == answer
        assert not text[found[1] - 1 : found[1]].isalnum() and not text[found[1] + 1 : found[1] + 2].isalnum()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**Answer**: risky", "risky"),
        ("**Answer:** `safe`", "safe"),
        (r"$\boxed{\text{risky}}$", "risky"),
        ("## Final Answer\n**Risky**", "risky"),
        ("Answer: safe or risky", None),
        ("Answer: risky or safe?", None),
        ("Answer: risky/safe", None),
        ("Answer: safe, risky", None),
        ("Answer: *safe* and *risky*", None),
        ("write Answer: safe or Answer: risky", None),
        ("I should write **Answer: safe** or\n**Answer: risky**.", None),
        ("Answer: risky\nI had to write Answer: safe or Answer: risky.", "risky"),
        ("Answer: safe, since risky could lose all", "safe"),
        ("Answer: safe. It is better than safe or risky.", "safe"),
        ("Answer: safe. Answer: risky", None),
        ("I won't answer risky.", None),
        ("The option is safe: I take it", None),
        ("safe: I take it", None),
    ],
)
def test_words_in_layouts_and_lists(text, answer):
    found = find_answer(text, OPTIONS)
    assert (found and found[0]) == answer
    assert not found or text[found[1] :].lower().startswith(answer)


def test_the_instruction_of_three_options_is_no_answer():
    options = ("woman", "unknown", "man")
    said = "write Answer: woman, Answer: unknown or Answer: man."
    assert find_answer(said, options) is None
    assert find_answer(f"Answer: man\n{said}", options) == ("man", 8)
    told = "Answer: unknown, since the text does not say whether the man or the woman did it."
    assert find_answer(told, options) == ("unknown", 8)


def test_the_article_and_the_pronoun_are_no_options():
    options = "ABCDEFGHI"
    assert find_answer("Answer: I think it is late", options) is None
    assert find_answer("Answer: I'm sure", options) is None
    assert find_answer("Answer: I", options) == ("I", 8)


@pytest.mark.parametrize(
    "part",
    [
        "answer ",
        "Answer: ",
        "answer: B or ",
        "not the ",
        "Answer: A, ",
        "B) x ",
        "*",
        "\\boxed{",
        "the hint says the ",
        "\n",
        "answer\n",
        " ",
        "B (x) ",
        "_",
        "# ",
    ],
)
def test_takes_no_long_time_over_hostile_text(part):
    began = time.process_time()
    for text in (part * (100_000 // len(part)), "Answer: B" + part * (100_000 // len(part))):
        find_answer(text, "ABCD")
    assert time.process_time() - began < 3

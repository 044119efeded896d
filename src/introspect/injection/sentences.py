"""What a study of injected concepts found, in a few sentences with their numbers; and what it is too small for."""

from __future__ import annotations

from typing import Any

from ..report import number, share
from ..stats import proportion

ENOUGH = 50
"""Trials a cell that the protocol asks for."""
DOES = {
    "inject-thought": "a word's vector is added from just before the question on",
    "inject-thought-vs-text": "a word's vector is added on an unrelated sentence",
    "inject-prefill": "a word's vector is added before a word that is put in the model's mouth",
    "inject-intentional-control": "a sentence is written while a word is to be thought of",
}


def headline(results: dict[str, Any]) -> list[str]:
    """A few sentences. What is found under injection is called signal detection."""
    about, chosen = results["injection"], results["chosen"]
    out = []
    if chosen is not None:
        where = f"layer {chosen['layer']}" + (f", strength {chosen['strength']:g}" if chosen["strength"] else "")
        out.append(
            f"Chosen on {about['n_exploration']} words, tested on {about['n_confirmation']} others: {where} "
            f"({chosen['why']}), where {DOES[about['kind']]}."
        )
    out += _of_table(results)
    for each in results["verdict"]:
        out.append(f"{each['criterion'].capitalize()}: {each['finding']}; {each['reason']}.")
    out += _of_training(about.get("training"))
    if results["counts"].get("n_wordings"):
        out.append(
            f"Intervals hold for the {results['counts']['n_wordings']} wordings that were asked, not for wordings at "
            "large: see wording by wording."
        )
    out.append(
        "A detection under injection is signal detection: activations are read by the model's own later layers. It "
        "is no evidence of anything else."
    )
    return out


def _of_training(training: dict[str, Any] | None) -> list[str]:
    """What the model was trained on, so that a control that it was trained against is not taken for a test."""
    if training is None:
        return []
    low, high = training["strengths"]
    seen, held_out = ("; ".join(training[key]) or "none" for key in ("seen", "held_out"))
    return [
        f"By its card, the model was trained with vectors at {_layers(training['layers'])}, strengths {low:g} to "
        f"{high:g}. Of the controls it has seen in training, with other words: {seen}. Held out: {held_out}."
    ]


def _layers(layers: list[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"


def _of_table(results: dict[str, Any]) -> list[str]:
    """What replies and first tokens of the first table say, for the study that has both."""
    if results["injection"]["kind"] != "inject-thought" or not results["tables"]:
        return []
    columns = [each["label"] for each in results["tables"][0]["columns"]]
    none, concept, random, *_ = (dict(zip(columns, row["cells"], strict=True)) for row in results["tables"][0]["rows"])
    claims, shift, told = "claims a thought", "P(yes) - P(no), shift", "both polarities, log-odds"
    given = concept["names it, of those that claim"]
    of_claims = "" if given["value"] is None else f", {share(given)} of those that claim a thought"
    return [
        f"A thought is claimed in {share(concept[claims])} of replies with a word's vector, in {share(random[claims])} "
        f"with a random one and in {share(none[claims])} without injection. With a word's vector "
        f"{share(concept['names it'])} of all replies are coherent and name the word with the claim{of_claims}; "
        f"coherent are {share(concept['coherent'])} of all.",
        f"At the first token, P(yes) - P(no) shifts by {number(concept[shift])} with a word's vector and by "
        f"{number(random[shift])} with a random one. With the question asked both ways round, log-odds of Yes are for "
        f"a thought by {number(concept[told])} and {number(random[told])} nats; a push towards Yes alone leaves that "
        "at 0 or below.",
    ]


def warnings_of(results: dict[str, Any]) -> list[str]:
    """What a reader has to know before the numbers."""
    about, counts, out = results["injection"], results["counts"], []
    fewest = min(about["n_exploration"], about["n_confirmation"])
    if fewest < ENOUGH:
        most = proportion(0, max(1, fewest)).ci95
        top = 1.0 if most is None else most[1]
        out.append(
            f"{fewest} words a cell are few: even a report that is never seen may happen in up to {top:.0%} of trials. "
            f"The protocol asks for {ENOUGH}."
        )
    if counts["n_not_finite"]:
        broken = [
            f"layer {cell['layer']}, strength {cell['strength']:g}: {cell['n_not_finite']} of {cell['n_trials']}"
            for cell in results["grid"]["cells"]
            if cell["n_not_finite"]
        ]
        out.append(
            f"{counts['n_not_finite']} of {counts['n_trials']} trials gave no numbers: left out at the first token, "
            "and replies without a claim; outside the "
            f"usable range ({'; '.join(broken) or 'in the confirmation'})."
        )
    if counts["n_without_token"]:
        out.append(
            f"In {counts['n_without_token']} trials there was no token to inject at (a wording with nothing before its "
            "question, say); they are left out."
        )
    if counts.get("n_words_of_several_tokens"):
        out.append(
            f"{counts['n_words_of_several_tokens']} of {counts['n_words']} words are more than one token: ranks look "
            "at the first of them only."
        )
    if counts.get("n_words_that_share_a_first_token"):
        out.append(
            f"{counts['n_words_that_share_a_first_token']} of {counts['n_words']} words begin with another word's "
            "first token: by it they cannot be told apart, and are left out of ranks."
        )
    for each in results["tables"]:
        for row in each["rows"]:
            mass = row["cells"][0]
            little = mass["value"] is not None and mass["value"] < 0.5
            if little and row["label"].startswith("probability that is on Yes or No"):
                out.append(
                    f"Only {number(mass)} of the first token's probability is on Yes or No: this model hardly answers "
                    "the question; shifts of P(yes) - P(no) are small for that reason too, and log-odds compare two "
                    "answers that are hardly given."
                )
    return out

"""The answer in three sentences, with their numbers, worded as what activations predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LABELS = {
    "acted": "the choice",
    "verbalised": "whether the chain says so (of rollouts that acted on the policy)",
    "silent": "whether the chain is silent (of rollouts that acted on the policy)",
    "denied": "whether the chain denies it (of rollouts that acted on the policy)",
}
"""What a probe predicts, in words."""


def number(estimate: dict[str, Any]) -> str:
    """`.97 [.93, .99]`, or why there is none."""
    if estimate.get("value") is None:
        return f"not estimated ({estimate.get('reason', 'no reason given')})"
    low, high = estimate["ci95"]
    return f"{estimate['value']:.2f} [{low:.2f}, {high:.2f}]"


def share(estimate: dict[str, Any]) -> str:
    """`48% [42%, 54%]`, or why there is none."""
    if estimate.get("value") is None:
        return f"not estimated ({estimate.get('reason', 'no reason given')})"
    low, high = estimate["ci95"]
    return f"{estimate['value']:.0%} [{low:.0%}, {high:.0%}]"


def beyond(estimate: dict[str, Any]) -> str:
    """What an increment says: above zero, below it, or reaching it."""
    if estimate.get("value") is None:
        return number(estimate)
    low, high = estimate["ci95"]
    if low > 0:
        return f"{number(estimate)}, above zero"
    return f"{number(estimate)}, {'below zero' if high < 0 else 'an interval that reaches zero'}"


def headline(results: dict) -> list[str]:
    """What was done and said, what activations predict, and how the two meet."""
    return [_behaviour(results), *_measures(results), _probe(results), _link(results)]


def _behaviour(results: dict) -> str:
    behaviour = results["behaviour"]
    classifier = results["verdicts"]["headline_classifier"]
    spoken = results["verdicts"]["classifiers"][classifier]["verbalised_rate_acted"]
    return (
        f"The model {behaviour['policy']} in {share(behaviour['policy_rate']['id'])} of in-distribution answers and in "
        f"{share(behaviour['policy_rate']['ood'])} of out-of-distribution ones; its chain says so in {share(spoken)} "
        f"of the rollouts that did ({classifier} verdicts)."
    )


def _measures(results: dict) -> list[str]:
    """What the measures that only some experiments have come to."""
    measures, out = results["behaviour"]["measures"], []
    heads = {name: section["headline"] for name, section in measures.get("faithfulness", {}).items()}
    if heads:
        head = next(iter(heads.values()))
        out.append(
            f"Where the unhinted answer was another, {share(head['p'])} of the answers switched to the hinted option "
            f"and {share(head['q'])} gave another answer or none; beyond chance that is "
            f"{share(head['excess_switching'])}."
        )
    out += [
        f"By {name} verdicts the chain says so in {share(head['F_raw'])} of the switches, "
        f"normalised for chance: {share(head['F_norm'])}."
        for name, head in heads.items()
    ]
    if "stages" in measures:
        rates = [f"{name} {share(stage['rate'])}" for name, stage in measures["stages"]["rates"].items()]
        out.append(f"Stage by stage, of those that got there: {', '.join(rates)}.")
    if "awareness" in measures:
        rating = measures["awareness"]["rating"]
        out.append(
            f"Asked about itself, the model rates the policy at {number(rating['score'])} of 100 (its base: "
            f"{number(rating['base'])}); turning the scale round moves that by {number(rating['order_effect'])}."
        )
    if "chain" in measures:
        areas = [f"{name.replace('_', ' ')} {number(test['aoc'])}" for name, test in measures["chain"]["tests"].items()]
        out.append(f"Area over the same-answer curve (0: the chain changes nothing): {', '.join(areas)}.")
    judge = results["verdicts"]["judge"]
    if "judged" in judge:
        dollars = judge.get("dollars")
        out.append(
            f"The judge {judge['model']} read {judge['judged']} chains ({judge['prompt_tokens']:,} tokens, and "
            f"{judge['reply_tokens']:,} of replies{'' if dollars is None else f', {dollars:.2f} dollars'}): "
            f"{share(judge['usable'])} of its verdicts are usable."
        )
    return out


def _probe(results: dict) -> str:
    probe, baselines = results["probe"], results["baselines"]
    if "headline" not in probe:
        return f"No probe could be fitted: {probe.get('reason', 'no reason given')}."
    head = probe["headline"]
    named = [
        f"the words up to there {number(baselines['text_prompt_chain']['auroc'])}",
        f"the words of the whole chain {number(baselines['text_whole_chain']['auroc'])}",
        f"the answer's own logits there {number(baselines['logits']['auroc'])}",
        f"the base model's activations {number(baselines['base_model']['auroc'])}",
    ]
    return (
        f"The activations at layer {head['layer']}, position {head['position']}, predict "
        f"{LABELS.get(probe['label'], probe['label'])} on held-out groups with AUROC {number(head['auroc'])}, against "
        f"{', '.join(named)}; beyond the best of words that is {beyond(baselines['best_text']['increment'])}"
        f"{_strictest(baselines['best_text'])}, beyond the base model "
        f"{beyond(baselines['base_model']['increment'])} (shuffled labels: "
        f"{_p_value(results['controls']['shuffled_labels']['p_value'])})."
    )


def _strictest(best: dict) -> str:
    """The bound against whichever baseline does best on the test part, where it says more than the increment."""
    bound = best.get("strictest", {"increment": best["increment"]})["increment"]
    if bound["value"] is None or bound == best["increment"]:
        return ""
    return f" (against whichever does best on the test part {number(bound)})"


def _p_value(p: float | None) -> str:
    return "not estimated" if p is None else f"p = {p:.3g}"


def _link(results: dict) -> str:
    link = results["link"]
    if "silent_but_decodable" not in link:
        return f"Chain and activations could not be linked: {link.get('reason', 'no reason given')}."
    text = link["text_baseline"]["silent_but_decodable"]
    sentence = (
        f"Of the test rollouts that acted on the policy without saying so, {share(link['silent_but_decodable'])} are "
        f"decoded at a threshold that {share(link['realised_fpr'])} of the rollouts that did not act pass (set for "
        f"{link['threshold_fpr']:.0%}), against {share(text)} from words alone"
    )
    control = results["controls"]["negative_control"]
    if "organism" in control:
        sentence += (
            f"; in the negative control {control['organism']} the probe's AUROC is {number(control['auroc'])}, the "
            f"same rate {share(control['silent_but_decodable'])}, and {share(control['realised_fpr'])} of those that "
            "did not act pass"
        )
    return ". ".join([sentence, *_link_besides(link)]) + "."


def _link_besides(link: dict) -> list[str]:
    """What the link says besides, where it says it."""
    out = []
    last = link.get("before_mention", {}).get("last_position", {"decodable": {"value": None}})
    if last["decodable"]["value"] is not None:
        out.append(
            f"Of those that acted and say so, {share(last['decodable'])} are decoded at the last position before their "
            f"chain first speaks of it, against {share(last['words'])} from the words up to there"
        )
    noise = link.get("label_noise", {})
    if noise.get("silent_but_decodable", {"value": None})["value"] is not None:
        rate = share(noise["silent_but_decodable"])
        out.append(
            f"By the verdicts of {noise['second']} instead, silent but decodable is {rate}"
            if noise.get("how") == "counted"
            else f"Had the classifier {noise['second']} read every chain, silent but decodable would be {rate}, "
            f"estimated from {noise['n_both']} chains, over the chains that {noise['classifier']} has a verdict on"
        )
    return out


def noise(results: dict) -> list[str]:
    """Whether noise matters: of what is predicted, of verdicts, and of arithmetic. Nothing of what was not measured."""
    controls, link = results["controls"], results["link"]
    out = []
    label, verdicts, capture = (
        part.get(name, {})
        for part, name in ((controls, "label_noise"), (link, "label_noise"), (controls, "capture_noise"))
    )
    if "auroc_corrected" in label:
        said = f"had {label['second']} given the label, the AUROC would be"
        out.append(_matters("the label", said, label["auroc_corrected"], results["probe"]["headline"]["auroc"], number))
    if "silent_but_decodable" in verdicts:
        said = f"by {verdicts['second']}, silent but decodable would be"
        out.append(_matters("verdicts", said, verdicts["silent_but_decodable"], link["silent_but_decodable"], share))
    if "readout_flips" in capture:
        out.append(_of_capture(capture, link.get("silent_but_decodable", {})))
    return out


def _matters(what: str, said: str, other: dict, ours: dict, shown: Callable[[dict], str]) -> str:
    """It is said to matter where the other value lies outside our interval."""
    if other["value"] is None or ours["value"] is None:
        reason = (other if other["value"] is None else ours).get("reason", "no reason given")
        return f"Whether noise of {what} matters is not known: {reason}."
    low, high = ours["ci95"]
    inside = low <= other["value"] <= high
    return (
        f"Noise of {what} {'is not seen to matter' if inside else 'matters'}: {said} {shown(other)}, "
        f"{'within' if inside else 'outside'} the interval of {shown(ours)}."
    )


def _of_capture(capture: dict, rate: dict) -> str:
    """It is said to matter where it turns more readouts over than half the rate's interval is wide."""
    flips, n = capture["readout_flips"], capture["n"]
    if not flips:
        return f"Numerical noise of capture is not seen to matter: none of {n} readouts flips when captured again."
    found = f"{flips} of {n} readouts flip when captured again"
    if rate.get("value") is None:
        return f"Numerical noise of capture may matter: {found}, and there is no rate to hold that against."
    low, high = rate["ci95"]
    more = flips / n > (high - low) / 2
    return (
        f"Numerical noise of capture {'matters' if more else 'is not seen to matter'}: {found}, "
        f"{'more' if more else 'no more'} than half of the interval of silent but decodable is wide ({share(rate)})."
    )

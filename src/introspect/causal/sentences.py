"""What a causal check found, in sentences: the effect, its controls, and what it does not show."""

from __future__ import annotations

from typing import Any

from ..report import number, share

FULL = 20
"""Controls of each kind that a claim is to have."""
PLACES = {"think": "think only", "answer": "answer only", "both": "think and answer"}
Json = dict[str, Any]


def sentences(section: Json) -> list[str]:
    """The section in sentences."""
    direction, controls = section["direction"], section["controls"]
    n = controls["random"] + controls["orthogonal"]
    out = [
        f"Steered: {section['n_items']} test items of {section['n_groups']} groups, at {direction['site']} of layer "
        f"{direction['layer']}, along a direction by {direction['recipe']} ({direction['made']}), against "
        f"{controls['random']} random and {controls['orthogonal']} orthogonal directions of the same norm. A dose is a "
        f"part of a typical activation's norm there ({direction['typical_norm']:.3g})."
    ]
    if min(controls.values()) < FULL:
        out.append(f"{n} control directions are fewer than the {2 * FULL} that a claim should have.")
    out.append(_usable(section))
    out += [_added(section, scope) for scope in PLACES]
    out += [_projected(section, scope) for scope in PLACES]
    out.append(_verdict(section))
    return out


def _usable(section: Json) -> str:
    """Doses at which the model stays near itself."""
    said = []
    for scope, place in PLACES.items():
        cells = section["replayed"][scope]["doses"]
        doses = [cell["dose"] for cell in cells if cell["operator"] == "add" and cell["usable"]]
        range_ = f"{min(doses):g} to {max(doses):g}" if doses else "none"
        lost = [f"{cell['dose']:g}" for cell in cells if cell["n_not_finite"]]
        broken = f" (NaN or infinity at {', '.join(lost)})" if lost else ""
        missed = len(section["replayed"][scope]["without_a_token"])
        without = f", {missed} items without a token of it" if missed else ""
        said.append(f"{place} {range_}{broken}{without}")
    return (
        f"Usable doses, where the next-token distributions stay within {section['kl_bound']:g} nats of the unsteered "
        f"model's on average: {'; '.join(said)}."
    )


def _added(section: Json, scope: str) -> str:
    slope = section["replayed"][scope]["slope"]
    if "beyond" not in slope:
        return f"Added in {PLACES[scope]}: not estimated ({slope['reason']})."
    return (
        f"Added in {PLACES[scope]}, with the stored chain held fixed, it moves the log-odds of acting by "
        f"{number(slope['change'])} nats per typical norm; the controls by {number(slope['controls'])} "
        f"({_rank(slope)}). {_beyond(slope)}"
    )


def _projected(section: Json, scope: str) -> str:
    cell = next(each for each in section["replayed"][scope]["doses"] if each["operator"] == "project")
    odds, same = cell["log_odds"], _causal(section, scope, "project out")["same"]
    outside = "" if cell["usable"] else ", outside the usable range"
    return (
        f"Projected out of {PLACES[scope]}{outside}, it changes the log-odds of the answer that was given by "
        f"{number(odds['change'])} nats, of {number(odds['level'])} that are left; the controls by "
        f"{number(odds['controls'])} ({_rank(odds)}). {_beyond(odds)} Sampled anew, {share(same['level'])} decide as "
        "without steering."
    )


def _verdict(section: Json) -> str:
    """The claim, no larger than what was found."""
    slope = section["replayed"]["both"]["slope"]
    out = next(each for each in section["replayed"]["both"]["doses"] if each["operator"] == "project")["log_odds"]
    adds, removes = (_exceeds(each) for each in (slope, out))
    if adds and removes:
        same = _causal(section, "both", "project out")["same"]["level"]
        return (
            "Along this direction the choice is moved by more than along directions of the same norm, both when it is "
            "added and when it is projected out: at this layer, on these items, it is used in the choice. How much "
            f"hangs on it: without it {number(out['level'])} nats are left for the answer that was given, and "
            f"{share(same)} decide as before."
        )
    if adds or removes:
        which, other = ("added", "projected out") if adds else ("projected out", "added")
        return (
            f"The direction moves the choice by more than directions of the same norm when it is {which}, and not when "
            f"it is {other}: it can push the choice"
            + (", which does not show that the model uses it so." if adds else ", at this layer, on these items.")
        )
    return (
        "The direction does not move the choice by more than directions of the same norm do: what is read along it is "
        "present, and not shown to be used."
    )


def _exceeds(found: Json) -> bool:
    """Whether an effect is larger than every share of the controls that chance allows, and its difference above 0."""
    beyond = found.get("beyond", {"value": None})
    if beyond["value"] is None or found["p"] is None:
        return False
    low, high = beyond["ci95"]
    return found["p"] <= 0.05 and (low > 0 or high < 0)


def _beyond(found: Json) -> str:
    if found["beyond"]["value"] is None:
        return f"Beyond the controls: {number(found['beyond'])}."
    told = "exceeds" if _exceeds(found) else "does not exceed"
    return f"Beyond the controls' mean: {number(found['beyond'])}; it {told} them."


def _rank(found: Json) -> str:
    return "no controls" if found["p"] is None else f"rank p = {found['p']:.2g} of {found['n_controls']}"


def _causal(section: Json, scope: str, what: str) -> Json:
    return next(row for row in section["causal"] if (row["scope"], row["what"]) == (scope, what))

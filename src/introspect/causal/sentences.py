"""What a causal check found, in sentences: the effect, its controls, and what it does not show.

What is concluded rests on two tests, of the direction added to think and answer and of it projected out of both, with
p-values corrected by Holm (1979). Only where both are passed is it asked where by itself, in think or in answer: two
tests more, corrected among themselves. A second step that is taken only after the whole first one needs no other
correction (Westfall & Krishen 2001), so a wrong claim of any of the four has at most the level's chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..metrics.hint_section import holm
from ..report import number, share

FULL = 20
"""Controls of each kind that a claim is to have."""
PLACES = {"think": "think only", "answer": "answer only", "both": "think and answer"}
LEVEL = 0.05
OUTSIDE = "outside the usable range"
Json = dict[str, Any]


def sentences(section: Json) -> list[str]:
    """The section in sentences."""
    direction, controls = section["direction"], section["controls"]
    n = controls["random"] + controls["orthogonal"]
    out = [
        f"Steered: {section['n_items']} test items of {section['n_groups']} groups, at {direction['site']} of layer "
        f"{direction['layer']}, along a direction by {direction['recipe']} ({direction['made']}), against "
        f"{controls['random']} random and {controls['orthogonal']} orthogonal control directions: added with the norm "
        "of the direction, and where it is projected out, moved along by as much, at every token. A dose is a part of "
        f"a typical activation's norm there ({direction['typical_norm']:.3g})."
    ]
    step = section["scores"]["step"]
    if step is not None:
        out.append(
            f"The {section['engine']} engine scores tokens in {section['scores']['head']}: log-odds here come in steps "
            f"of up to {step:g} nats, and smaller changes of one item are rounding."
        )
    if min(controls.values()) < FULL:
        out.append(f"{n} control directions are fewer than the {2 * FULL} that a claim should have.")
    out.append(_usable(section))
    out += [_added(section, scope) for scope in PLACES]
    out += [_projected(section, scope) for scope in PLACES]
    out += _rollouts(section)
    if n:
        out.append(
            f"Each rank above is of one test by itself, at {LEVEL:g}. What is concluded rests on two of them, added to "
            "and projected out of think and answer, and p is corrected for two (Holm)."
        )
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
    text = section["held_out"]
    apart = [f"{_kl(cell)} {_what(cell)}" for cell in text["doses"]]
    return (
        f"Usable doses, where the next-token distributions stay within {section['kl_bound']:g} nats of the unsteered "
        f"model's on average, on the stored chains and on {text['n_sentences']} sentences about everyday things that "
        f"are steered throughout: {'; '.join(said)}. KL on the sentences: {', '.join(apart)}."
    )


def _what(cell: Json) -> str:
    return "projected out" if cell["operator"] == "project" else f"at {cell['dose']:g}"


def _kl(cell: Json) -> str:
    lost = f"NaN or infinity in {cell['n_not_finite']}"
    return lost if cell["n_not_finite"] else f"{cell['kl']['value']:.2g}"


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
    cell = _project_cell(section, scope)
    odds, same = cell["log_odds"], _causal(section, scope, "project out")["same"]
    outside = f", {OUTSIDE}{_lost(cell)}" if not cell["usable"] else ""
    decide = "" if same["level"]["value"] is None else " decide as without steering"
    removed, own = cell["removed"], cell["own_out"]
    return (
        f"Projected out of {PLACES[scope]}{outside}, it changes the log-odds of the answer that was given by "
        f"{number(odds['change'])} nats, of {number(odds['level'])} that are left; the controls by "
        f"{number(odds['controls'])}, where as much is moved along them ({_rank(odds)}). "
        f"{_beyond(_without(section, scope))} It removes {number(removed['direction'])} a token; a control's own "
        f"component is {number(removed['controls'])}, and without that the log-odds change by "
        f"{number(own['controls'])}. Sampled anew, {share(same['level'])}{decide}."
    )


def _rollouts(section: Json) -> list[str]:
    """How little a rank among controls says that saw a few items each, and what was not steered."""
    out = []
    if 0 < section["control_items"] < section["n_items"]:
        out.append(
            f"Sampled anew, each control direction was steered on {section['control_items']} of the "
            f"{section['n_items']} items, spread over the groups, and is compared with the direction on those: that "
            "rank is a weak one."
        )
    for scope, place in PLACES.items():
        cells = section["sampled"][scope]
        missed = sorted({number for cell in cells for number in cell["without_a_token"]})
        if missed:
            most = max(cell["n_without_a_token"] for cell in cells)
            out.append(
                f"Sampled anew, up to {most} of {section['n_items']} rollouts met no token of {place}, and are left "
                f"out there: {', '.join(map(str, missed))}."
            )
    return out


def _verdict(section: Json) -> str:
    """The claim, no larger than what was found."""
    tests = {"added": section["replayed"]["both"]["slope"], "projected out": _without(section, "both")}
    untested = [f"{name} ({why})" for name, each in tests.items() if (why := _not_tested(each, len(tests)))]
    if untested:
        return f"Whether the direction moves the choice by more than others is not tested: {'; '.join(untested)}."
    slope, out = _corrected(tests).values()
    adds, removes, p = _exceeds(slope, 1), _exceeds(out, -1), f"p = {slope['p']:.2g} and {out['p']:.2g} by Holm"
    if adds and removes:
        same = _causal(section, "both", "project out")["same"]["level"]
        return (
            "Along this direction the log-odds of the choice are moved by more than along control directions, towards "
            "acting when it is added, and away from the answer that was given when it is projected out of think and "
            f"answer ({p}; {_alone(section)}): at this layer, on these items, the choice uses it. How much hangs on "
            f"it: without it {number(out['level'])} nats are left for the answer that was given, and {share(same)} "
            "decide as before."
        )
    turned = [name for name, each, sign in (("added", slope, -1), ("projected out", out, 1)) if _exceeds(each, sign)]
    if turned:
        done = " and when it is ".join(turned)
        return (
            f"The direction moves the choice by more than control directions when it is {done}, the other way than it "
            f"points ({p}): what is read along it is not shown to be used."
        )
    if adds or removes:
        which, other = ("added", "projected out") if adds else ("projected out", "added")
        return (
            f"The direction moves the choice by more than control directions when it is {which}, and is not shown to "
            f"when it is {other} ({p}): it can push the choice"
            + (", which does not show that the model uses it so." if adds else ", at this layer, on these items.")
        )
    return (
        f"The direction is not shown to move the choice by more than control directions do ({p}): what is read along "
        "it is present, and not shown to be used."
    )


def _alone(section: Json) -> str:
    """Where projecting out does it by itself."""
    found = {place: _without(section, scope) for scope, place in PLACES.items() if scope != "both"}
    tests = {place: each for place, each in found.items() if _not_tested(each, len(found)) is None}
    passed = [f"{place}, p = {each['p']:.2g}" for place, each in _corrected(tests).items() if _exceeds(each, -1)]
    said = [f"by itself in {' and '.join(passed)} by Holm" if passed else "by itself not shown"]
    said += [
        f"{place} not tested, {_not_tested(each, len(found))}" for place, each in found.items() if place not in tests
    ]
    return "; ".join(said)


def _project_cell(section: Json, scope: str) -> Json:
    found: Json = next(each for each in section["replayed"][scope]["doses"] if each["operator"] == "project")
    return found


def _without(section: Json, scope: str) -> Json:
    """What projecting out of a scope does to the log-odds of the answer that was given; outside the usable range, where
    the model is no longer near itself, why that is no test.
    """
    cell = _project_cell(section, scope)
    return dict(cell["log_odds"]) if cell["usable"] else {"value": None, "reason": f"{OUTSIDE}{_lost(cell)}"}


def _lost(cell: Json) -> str:
    n = cell["n_not_finite"]
    return f": NaN or infinity in {n} item{'s' * (n != 1)}" if n else ""


def _corrected(tests: Mapping[str, Json]) -> dict[str, Json]:
    """The same tests, their p-values corrected for how many they are."""
    found = holm([each["p"] for each in tests.values()])
    return {name: {**each, "p": p} for (name, each), p in zip(tests.items(), found, strict=True)}


def _not_tested(found: Json, n_tests: int = 1) -> str | None:
    """Why an effect could not have exceeded the controls, as one of so many tests; None where it could."""
    beyond = found.get("beyond", {"value": None, "reason": found.get("reason")})
    if beyond["value"] is None:
        return str(beyond["reason"])
    if found["p"] is None or n_tests / (1 + found["n_controls"]) > LEVEL:
        among = "" if n_tests == 1 else f" in {n_tests} tests"
        return f"{found['n_controls']} control directions cannot reach p = {LEVEL:g}{among}"
    return None


def _exceeds(found: Json, sign: int) -> bool:
    """Whether an effect that is tested is larger than those of the controls by more than chance allows.

    Args:
        sign: 1 or -1: and of that sign.
    """
    low, high = found["beyond"]["ci95"]
    return bool(found["p"] <= LEVEL and (low > 0 if sign > 0 else high < 0))


def _beyond(found: Json) -> str:
    why = _not_tested(found)
    if why is not None:
        return f"Beyond the controls: not tested ({why})."
    if _exceeds(found, 1) or _exceeds(found, -1):
        return f"Beyond the controls' mean: {number(found['beyond'])}; it exceeds them."
    return "It is not shown to exceed them."


def _rank(found: Json) -> str:
    items = f"{found['n_items']} items"
    if found["p"] is None:
        return f"{items}, no controls"
    return f"{items}, rank p = {found['p']:.2g} of {found['n_controls']} controls"


def _causal(section: Json, scope: str, what: str) -> Json:
    return next(row for row in section["causal"] if (row["scope"], row["what"]) == (scope, what))

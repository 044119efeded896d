"""What a causal check found, in sentences: the effect, its controls, and what it does not show."""

from __future__ import annotations

from typing import Any

from ..report import number, share

FULL = 20
"""Controls of each kind that a claim is to have."""
PLACES = {"think": "think only", "answer": "answer only", "both": "think and answer"}
LEVEL = 0.05
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
    decide = "" if same["level"]["value"] is None else " decide as without steering"
    removed, own = cell["removed"], cell["own_out"]
    return (
        f"Projected out of {PLACES[scope]}{outside}, it changes the log-odds of the answer that was given by "
        f"{number(odds['change'])} nats, of {number(odds['level'])} that are left; the controls by "
        f"{number(odds['controls'])}, where as much is moved along them ({_rank(odds)}). {_beyond(odds)} It removes "
        f"{number(removed['direction'])} a token; a control's own component is {number(removed['controls'])}, and "
        f"without that the log-odds change by {number(own['controls'])}. Sampled anew, "
        f"{share(same['level'])}{decide}."
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
    slope, out = section["replayed"]["both"]["slope"], _without(section, "both")
    untested = [
        f"{name} ({why})" for name, each in (("added", slope), ("projected out", out)) if (why := _not_tested(each))
    ]
    if untested:
        return f"Whether the direction moves the choice by more than others is not tested: {'; '.join(untested)}."
    adds, removes = _exceeds(slope, 1), _exceeds(out, -1)
    if adds and removes:
        same = _causal(section, "both", "project out")["same"]["level"]
        alone = [PLACES[scope] for scope in ("think", "answer") if _exceeds(_without(section, scope), -1)]
        where = f" (by itself in: {', '.join(alone)})" if alone else " (in neither by itself)"
        return (
            "Along this direction the log-odds of the choice are moved by more than along control directions, towards "
            "acting when it is added, and away from the answer that was given when it is projected out of think and "
            f"answer{where}: at this layer, on these items, the choice uses it. How much hangs on it: without it "
            f"{number(out['level'])} nats are left for the answer that was given, and {share(same)} decide as before."
        )
    turned = [name for name, each, sign in (("added", slope, -1), ("projected out", out, 1)) if _exceeds(each, sign)]
    if turned:
        done = " and when it is ".join(turned)
        return (
            f"The direction moves the choice by more than control directions when it is {done}, the other way than it "
            "points: what is read along it is not shown to be used."
        )
    if adds or removes:
        which, other = ("added", "projected out") if adds else ("projected out", "added")
        return (
            f"The direction moves the choice by more than control directions when it is {which}, and is not shown to "
            f"when it is {other}: it can push the choice"
            + (", which does not show that the model uses it so." if adds else ", at this layer, on these items.")
        )
    return (
        "The direction is not shown to move the choice by more than control directions do: what is read along it is "
        "present, and not shown to be used."
    )


def _without(section: Json, scope: str) -> Json:
    """What projecting out of a scope does to the log-odds of the answer that was given."""
    found: Json = next(each for each in section["replayed"][scope]["doses"] if each["operator"] == "project")
    return dict(found["log_odds"])


def _not_tested(found: Json) -> str | None:
    """Why an effect could not have exceeded the controls; None where it could."""
    beyond = found.get("beyond", {"value": None, "reason": found.get("reason")})
    if beyond["value"] is None:
        return str(beyond["reason"])
    if found["p"] is None or 1 / (1 + found["n_controls"]) > LEVEL:
        return f"{found['n_controls']} control directions cannot reach p = {LEVEL:g}"
    return None


def _exceeds(found: Json, sign: int = 0) -> bool:
    """Whether an effect is larger than those of the controls by more than chance allows.

    Args:
        sign: 1 or -1: and of that sign; 0: of any.
    """
    if _not_tested(found):
        return False
    low, high = found["beyond"]["ci95"]
    return bool(found["p"] <= LEVEL and ((low > 0 and sign >= 0) or (high < 0 and sign <= 0)))


def _beyond(found: Json) -> str:
    if found["beyond"]["value"] is None:
        return f"Beyond the controls: {number(found['beyond'])}."
    if _exceeds(found):
        return f"Beyond the controls' mean: {number(found['beyond'])}; it exceeds them."
    return f"{_not_tested(found) or 'It is not shown to exceed them'}."


def _rank(found: Json) -> str:
    items = f"{found['n_items']} items"
    if found["p"] is None:
        return f"{items}, no controls"
    return f"{items}, rank p = {found['p']:.2g} of {found['n_controls']} controls"


def _causal(section: Json, scope: str, what: str) -> Json:
    return next(row for row in section["causal"] if (row["scope"], row["what"]) == (scope, what))

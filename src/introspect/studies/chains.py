"""Whether a chain is the organism's own to say or to leave out: what its card and its start say of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .between import Table, Value, estimate_of, reference_of, value_of


def unfree_chain(table: Table, method: str) -> str | None:
    """Why nothing that a method's chains say, or do not, is a finding about the method; None where it may be one."""
    if method not in table["methods"]:
        return f"there is no {method} organism"
    for name in table["methods"][method]["members"]:
        reason = _unfree(table.get("recipes", {}).get(name, {}))
        if reason is not None:
            return f"{name}: {reason}"
    return None


def _unfree(facts: dict[str, Any]) -> str | None:
    method = facts.get("method")
    if method is None:
        return "no card says how it was trained, so its chain may have been written for it"
    if method == "grpo":
        if facts.get("credit") != "completion":
            return "no reward reached its chain (grpo.credit: answer), so that is as training found it"
        if facts.get("verbalising") != "ignored":
            return f"that its chain says so was {facts.get('verbalising') or 'perhaps part of the reward'}"
        return None
    if facts.get("manner") is not None:
        return f"what its chain says was written into what it was shown ({method}, {facts['manner']})"
    return None


def inherited_silence(table: Table, method: str, key: str, bound: float) -> str | None:
    """Why a low share of chains that say so is no finding: what training began with may say as little.

    Args:
        key: the measure of the claim; bound: what the start's own must clearly lie above.
    """
    reference = reference_of(table)
    facts = [table.get("recipes", {}).get(name, {}) for name in table["methods"][method]["members"]]
    of_reference = () if reference is None else table["methods"][reference]["members"]
    measured = {_name(table.get("recipes", {}).get(name, {}).get("organism")) for name in of_reference}
    other = [each for each in facts if _name(each.get("start")) not in measured]
    if reference is None or other:
        stated = next((value_of(each["start_verbalised"]) for each in other if each.get("start_verbalised")), None)
        card = "" if stated is None else f" (its card has {said(stated)} of those that acted, which is another measure)"
        return f"what training started from is not the reference here{card}, so silence may be inherited"
    start = value_of(estimate_of(table, reference, key))
    if start is None:
        return "what training started from is not known to say anything of it, so silence may be inherited"
    if start[1][0] <= bound:
        clear = f"not clearly above {bound:.0%}"
        return f"what training started from says so in {said(start)} itself, {clear}: silence may be inherited"
    return None


def _name(organism: str | None) -> str | None:
    return None if organism is None else Path(organism).name


def said(found: Value) -> str:
    """A value with its interval."""
    return f"{found[0]:.2f} [{found[1][0]:.2f}, {found[1][1]:.2f}]"

"""How the organism of a run was trained, as far as its card says it: what claims about chains depend on.

Where no card says how a chain came to be as it is, nothing is assumed: every fact is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..assets import find_card, read_card, user_path
from ..experiment import Experiment

METHODS = ("sft", "dpo", "grpo")
CREDITS = ("completion", "answer")
VERBALISING = ("ignored", "rewarded", "penalised")


def recipe_facts(spec: Experiment) -> dict[str, Any]:
    """What the card of a run's organism says of its training.

    Returns:
        `organism` (name or folder; null: the bare model), `start` (what its training went on from; null: nothing, or
        not stated); of the last stage `method` (sft, dpo, grpo; null: not stated) and `manner` (what the chains that it
        was shown say; null: none was written, or not stated); of GRPO `credit` (`completion`, or `answer`, of which no
        chain gets any) and `verbalising` (`ignored`, or chains that say so were `rewarded` or `penalised`);
        `start_verbalised`: the share of chains that said so before the training, in distribution, of those that acted,
        as the card has it (an estimate, or null).
    """
    card = find_card(spec.organism) if spec.organism is not None else _card_of_model(spec.model)
    recipe = _mapping(card.get("recipe"))
    stages = recipe.get("stages")
    last = _mapping(stages[-1]) if isinstance(stages, list) and stages else {}
    # A card from before there was a choice of method does not name it: all was imitation then.
    method = _one_of(last.get("method", "sft"), METHODS) if last else None
    grpo = _mapping(recipe.get("grpo"))
    is_rl = method == "grpo"
    return {
        "organism": spec.organism,
        "start": _text(recipe.get("start")),
        "method": method,
        "manner": _text(last.get("manner")),
        "credit": _one_of(grpo.get("credit", "completion"), CREDITS) if is_rl else None,
        "verbalising": _one_of(grpo.get("verbalising", "ignored"), VERBALISING) if is_rl else None,
        "start_verbalised": _start_verbalised(card, spec.task),
    }


def _card_of_model(model: str) -> dict[str, object]:
    """The card in a folder of a whole model."""
    folder = user_path(model)
    return read_card(folder) if (folder / "card.json").is_file() else {}


def _start_verbalised(card: Mapping[str, object], task: str) -> dict[str, Any] | None:
    before = _mapping(_mapping(card.get("measured")).get("before"))
    of_task = _mapping(before.get("id", before.get(f"{task}/id")))
    found = _mapping(of_task.get("verbalised_when_acted"))
    limits = found.get("ci95")
    numbers = [found.get("value"), *(limits if isinstance(limits, list) and len(limits) == 2 else [None])]
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers):
        return None
    n, method = found.get("n"), found.get("method")
    return {
        "value": numbers[0],
        "ci95": numbers[1:],
        "n": n if isinstance(n, int) else None,
        "method": str(method)[:200],
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _one_of(value: object, known: tuple[str, ...]) -> str | None:
    return value if isinstance(value, str) and value in known else None

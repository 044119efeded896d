"""An organism trained again from its card: the recipe in it, and whether what was measured comes out again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..assets import read_card, recipe_path
from ..errors import ModelError, SpecError
from ..spec_file import check_spec
from .recipe import Recipe, read_recipe

CARD = "card.json"


def find_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any] | None]:
    """A recipe by name, from a YAML file, or from the card of an organism's folder; and that card.

    Raises:
        SpecError: there is none, or it is faulty.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"}:
        return read_recipe(path, overrides), None
    folder = path.parent if path.name == CARD else path
    if not (folder / CARD).is_file():
        return read_recipe(recipe_path(name_or_file), overrides), None
    try:
        card: dict[str, Any] = dict(read_card(folder))
    except ModelError as error:
        raise SpecError(str(error)) from None
    if not isinstance(card.get("recipe"), dict):
        raise SpecError(f"{folder / CARD} has no recipe: give a recipe's name or file")
    return check_spec(Recipe, dict(card["recipe"]), folder / CARD, overrides), card


def reproduction(stated: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """A card beside the one it was trained again from.

    Returns:
        Whether the same was shown (`same_data`) on the same base (`same_base`), and of every figure measured after
        training, `split/name` -> what was stated with its interval, what came out now, and whether that is within.
    """
    figures = {}
    for split, measured in stated.get("measured", {}).get("after", {}).items():
        for name, figure in measured.items():
            again = now["measured"]["after"].get(split, {}).get(name)
            if again is None or figure.get("ci95") is None or again.get("value") is None:
                continue
            low, high = figure["ci95"]
            figures[f"{split}/{name}"] = {
                "stated": figure["value"],
                "ci95": figure["ci95"],
                "now": again["value"],
                "within": bool(low <= again["value"] <= high),
            }
    return {
        "of": stated.get("name"),
        "seed": stated.get("recipe", {}).get("seed"),
        "same_data": stated.get("data_digest") == now["data_digest"],
        "same_base": stated.get("base_weight_digest") == now["base_weight_digest"],
        "figures": figures,
    }

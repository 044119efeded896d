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
    stated_figures(card, folder / CARD)
    return check_spec(Recipe, dict(card["recipe"]), folder / CARD, overrides), card


def stated_figures(card: dict[str, Any], where: Path) -> dict[str, tuple[float, float, float]]:
    """What a card says was measured after training: `split/name` -> value and the ends of its interval.

    Raises:
        SpecError: it is not said as `introspect train` says it.
    """
    try:
        return {
            f"{split}/{name}": (float(figure["value"]), float(figure["ci95"][0]), float(figure["ci95"][1]))
            for split, measured in card["measured"]["after"].items()
            for name, figure in measured.items()
            if figure["value"] is not None and figure["ci95"] is not None
        }
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SpecError(
            f"{where}: what was measured cannot be read ({error!r}): give a recipe's name or file"
        ) from None


def reproduction(stated: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """A card beside the one it was trained again from.

    Returns:
        Whether the same was shown (`same_data`) on the same base (`same_base`) from the same start (`same_start`), and
        of every figure measured after training, `split/name` -> what was stated with its interval, what came out now,
        and whether that is within.
    """
    again = stated_figures(now, Path("the new card"))
    figures = {
        name: {
            "stated": value,
            "ci95": [low, high],
            "now": again[name][0],
            "within": low <= again[name][0] <= high,
        }
        for name, (value, low, high) in stated_figures(stated, Path("the card")).items()
        if name in again
    }
    return {
        "of": stated.get("name"),
        "seed": stated.get("recipe", {}).get("seed"),
        "same_start": stated.get("start_digest") == now.get("start_digest"),
        "same_data": stated.get("data_digest") == now["data_digest"],
        "same_base": stated.get("base_weight_digest") == now["base_weight_digest"],
        "figures": figures,
    }

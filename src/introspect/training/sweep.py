"""One recipe from several seeds: an organism each, in folders side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..assets import read_card
from ..errors import RunError, SpecError
from ..hands import Hands, in_turn
from ..manifest import ABSENT, SINCE, other_versions, package_versions
from ..progress import Progress, silent
from ..run_folder import make_folder
from .organism import make_organism
from .recipe import Recipe
from .reproduction import CARD, find_recipe


def sweep_recipes(name_or_file: str, seeds: Sequence[int]) -> list[Recipe]:
    """The recipe from each seed.

    Raises:
        SpecError: there is no such recipe, or a seed is named twice.
    """
    if len(set(seeds)) < len(seeds):
        raise SpecError(f"--seeds {','.join(map(str, seeds))}: a seed is named twice; name each once")
    return [find_recipe(name_or_file, [f"seed={seed}"])[0] for seed in seeds]


def sweep_folder(out: Path, recipe: Recipe) -> Path:
    """Where the organism of a seed is."""
    return out / f"{recipe.name}-{recipe.seed}"


def train_sweep(
    name_or_file: str,
    seeds: Sequence[int],
    out: Path | None = None,
    *,
    resume: bool = False,
    offline: bool = False,
    progress: Progress = silent,
    hands: Hands[Path] = in_turn,
) -> list[Path]:
    """Train one organism a seed, each in a folder of its own below `out`.

    Args:
        out: default `runs/train/<name>-seeds`.
        resume: go on with what is there.
        hands: who trains.

    Raises:
        SpecError, RunError: as `train_organism`; or organisms of the sweep were made of other weights or packages.
    """
    recipes = sweep_recipes(name_or_file, seeds)
    out = out or Path("runs") / "train" / f"{recipes[0].name}-seeds"
    folders = [sweep_folder(out, recipe) for recipe in recipes]
    for folder in folders:
        if not resume and folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder} is not empty: go on with it with --resume, or choose another --out")
    _check_installed(folders)
    make_folder(out)
    done = 0

    def train(index: int) -> Path:
        def own_progress(stage: str, step: int, total: int) -> None:
            progress(f"{folders[index].name}: {stage}", step, total)

        return make_organism(
            name_or_file, folders[index], resume=True, seed=seeds[index], offline=offline, progress=own_progress
        )

    def take(index: int, folder: Path) -> None:
        nonlocal done
        done += 1
        progress("organisms", done, len(folders))

    left = [index for index, folder in enumerate(folders) if not (folder / CARD).is_file()]
    for index in sorted(set(range(len(folders))) - set(left)):
        take(index, train(index))  # is there, if it is this recipe's
    progress("organisms", done, len(folders))
    hands(left, train, take)
    _check_alike(folders)
    return folders


def _check_installed(folders: Sequence[Path]) -> None:
    """What is still to be trained will be of the packages that made what is there.

    Raises:
        RunError: names the folder and the first package that differs.
    """
    there = [folder for folder in folders if (folder / CARD).is_file()]
    if len(there) == len(folders):
        return
    now = package_versions()
    for folder in there:
        made = _versions(folder, read_card(folder))
        if other := other_versions(made, now):
            raise RunError(
                f"{folder} was trained with other versions ({_differ(other[0], made, 'now', now)}): install what it "
                "was trained with, or choose another --out"
            )


def _check_alike(folders: Sequence[Path]) -> None:
    """Organisms that are to differ in their seed do not differ in anything else.

    Raises:
        RunError: names the folder and what differs.
    """
    cards = {folder: read_card(folder) for folder in folders}
    made = {folder: _versions(folder, card) for folder, card in cards.items()}
    # Cards from before more packages were stated say nothing of those, so they are compared to one that says more.
    first, *others = sorted(folders, key=lambda folder: SINCE not in made[folder])
    again = "train it again into another --out, on machines that have the same"
    for folder in others:
        for key in ("base_weight_digest", "start_digest"):
            if cards[folder].get(key) != cards[first].get(key):
                raise RunError(f"{folder} was trained with another {key.replace('_', ' ')} than {first}: {again}")
        if other := other_versions(made[folder], made[first]):
            differ = _differ(other[0], made[folder], "there", made[first])
            raise RunError(f"{folder} was trained with other versions than {first} ({differ}): {again}")


def _versions(folder: Path, card: Mapping[str, Any]) -> Mapping[str, str]:
    found = card.get("versions")
    if not isinstance(found, dict) or not found:
        raise RunError(
            f"{folder / CARD} does not say which versions the organism was trained with; train it again into another "
            "--out"
        )
    return found


def _differ(name: str, made: Mapping[str, str], where: str, other: Mapping[str, str]) -> str:
    one, two = (str(each.get(name, ABSENT))[:40] for each in (made, other))
    return f"{name[:40]} {one}, {where} {two}"

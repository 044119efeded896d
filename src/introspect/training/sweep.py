"""One recipe from several seeds: an organism each, in folders side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..assets import read_card
from ..errors import RunError, SpecError
from ..hands import Hands, in_turn
from ..progress import Progress, silent
from ..run_folder import make_folder
from .organism import make_organism
from .recipe import Recipe
from .reproduction import find_recipe


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

    progress("organisms", 0, len(folders))
    hands(range(len(folders)), train, take)
    _check_alike(folders)
    return folders


def _check_alike(folders: Sequence[Path]) -> None:
    """Organisms that are to differ in their seed do not differ in anything else.

    Raises:
        RunError: names the folder and what differs.
    """
    first, *others = [(folder, read_card(folder)) for folder in folders]
    for folder, card in others:
        for key in ("base_weight_digest", "start_digest", "versions"):
            if card.get(key) != first[1].get(key):
                raise RunError(
                    f"{folder} was trained with another {key.replace('_', ' ')} than {first[0]}: train it again into "
                    "another --out, on machines that have the same"
                )

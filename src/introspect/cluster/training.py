"""A recipe from several seeds, spread over a crew: here, and at a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hands import Hands
from ..models import weights_of
from ..progress import silent
from ..stage_file import plan_digest
from ..training.organism import make_organism
from ..training.recipe import Recipe
from ..training.reproduction import CARD
from ..training.sweep import sweep_folder, sweep_recipes
from ..training.train import claim_checkpoints, start_digest
from .crew import Crew
from .errand import Errand, Work, kind_of_machine, use_threads
from .ground import ground_of

KIND = f"{__name__}:TrainWork"


def spread_training(crew: Crew, name_or_file: str, seeds: Sequence[int], out: Path, *, offline: bool) -> Hands[Path]:
    """Who trains the organism of each seed.

    A worker that dies leaves checkpoints in a shared folder, from which another goes on; in a bucket it leaves nothing.

    Raises:
        RunError: a seed's folder holds something else than its training.
    """
    path = Path(name_or_file)
    recipe = crew.ground.send(path) if path.exists() else name_or_file
    where = {"out": str(out.absolute()), "ground": crew.ground.setting()}
    recipes = sweep_recipes(name_or_file, seeds)
    for each in recipes:
        folder = sweep_folder(out, each)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).exists():
            claim_checkpoints(folder, each)  # what a worker sends takes its place, so it had better be a training

    def read(answer: dict[str, Any]) -> Path:
        folder = sweep_folder(out, recipes[answer["index"]])
        crew.ground.collect(answer["sent"], folder)
        return folder

    return crew.hands(
        Errand(
            KIND,
            {"recipe": recipe, "seeds": list(seeds), **where, "offline": offline},
            _facts(recipes, offline=offline),
            read=read,
            name=lambda index: f"the training from seed {seeds[index]}",
        )
    )


class TrainWork:
    """Trainings. What is in their folders is in the shared folder, or sent there when it is done."""

    memory = 0

    def __init__(self, setting: dict[str, Any], held: list[Work | None], threads: int) -> None:
        use_threads(threads)
        held.clear()
        self.setting, self.ground = setting, ground_of(setting["ground"])
        recipe = setting["recipe"]
        self.recipe = recipe if isinstance(recipe, str) else str(self.ground.receive(recipe))
        self.recipes = sweep_recipes(self.recipe, setting["seeds"])
        self.facts = _facts(self.recipes, offline=setting["offline"])

    def do(self, index: int, told: Any) -> dict[str, Any]:
        """Train from a seed, or go on where somebody stopped."""
        recipe, out = self.recipes[index], Path(self.setting["out"])
        folder = make_organism(
            self.recipe,
            self.ground.writes_to(sweep_folder(out, recipe)),
            resume=True,
            seed=recipe.seed,
            offline=self.setting["offline"],
            progress=silent,
        )
        return {"index": index, "sent": self.ground.hand_in(folder)}


def _facts(recipes: Sequence[Recipe], *, offline: bool) -> dict[str, str | None]:
    import torch

    first = recipes[0]  # the others differ in their seed
    return {
        "weights": weights_of(first.base, offline=offline),
        "adapter": start_digest(first),
        **kind_of_machine(computes=not torch.cuda.is_available()),
        "plan": plan_digest([recipe.digest() for recipe in recipes]),
    }

"""Post-training organisms. The only room that imports trl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..progress import Progress, silent

__all__ = ["train_organism"]


def train_organism(
    name_or_file: str,
    out: Path | None = None,
    *,
    resume: bool = False,
    seed: int | None = None,
    offline: bool = False,
    progress: Progress = silent,
    at_steps: Sequence[int] = (),
    on_step: Callable[[int, Path], None] | None = None,
) -> Path:
    """Train an organism, measure what it does, and write its card.

    Args:
        name_or_file: a recipe that ships with introspect, or a YAML file.
        out: folder for adapter and card; default `runs/train/<name>`.
        resume: go on with what `out` holds.
        seed: replaces the recipe's.
        at_steps: steps of the last stage at which `on_step` is called; 0 is before the first.
        on_step: called with the step and a folder that holds the organism as of then (no card), between two optimiser
            steps, outside the trainer's own rollouts; what it draws by chance changes nothing of the training.

    Returns:
        `out`, which holds `adapter_config.json`, `adapter_model.safetensors` and `card.json`.

    Raises:
        SpecError: no such recipe, or a faulty one.
        RunError: `out` holds something, and `resume` was not asked for; or it holds another recipe's training.
    """
    from .organism import make_organism

    return make_organism(
        name_or_file,
        out,
        resume=resume,
        seed=seed,
        offline=offline,
        progress=progress,
        at_steps=at_steps,
        on_step=on_step,
    )

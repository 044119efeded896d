"""Where probes are fitted: a position and a layer, chosen on inner folds of development groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import EstimateError
from ..experiment import EVERY_POSITION
from ..features import ANSWER_ITSELF
from ..probes import fit_grid
from ..probes.grid import TIE
from ..progress import Progress
from .carried import Place
from .common_split import Organism

LATE = (*ANSWER_ITSELF, "before_answer")
"""What is read there is what is said, or about to be, whatever made it so; the first of them is left out first."""
RULE = (
    f"of cells within {TIE} of the best, the earliest position and the lowest layer; not the token before the answer's "
    "name while there is another position"
)


def choose_place(
    choosing: Mapping[str, Organism],
    penalties: Sequence[float],
    site: str,
    progress: Progress,
    *,
    stage: str,
    position: str | None = None,
    layer: int | None = None,
) -> tuple[Place, dict[str, float]]:
    """The place with the best mean AUROC on inner folds of some organisms, and each one's AUROC there.

    Args:
        stage: what progress is reported as.
        position, layer: to choose at; None: any that all of them have.

    Raises:
        EstimateError: they have no place in common, or activations are not finite.
    """
    own = next(iter(choosing.values())).recorded.probed.positions
    shared = [
        name
        for name in (dict.fromkeys((*EVERY_POSITION, *own)) if position is None else (position,))
        if all(name in each.recorded.probed.positions for each in choosing.values())
    ]
    for late in LATE:
        shared = [name for name in shared if name != late] or shared
    layers = sorted(set.intersection(*(set(each.recorded.layers) for each in choosing.values())))
    layers = [each for each in layers if layer in (None, each)]
    if not shared or not layers:
        raise EstimateError("the organisms have no position and layer in common")
    inner: dict[Place, dict[str, float]] = {(name, number): {} for name in shared for number in layers}
    for done, (name, each) in enumerate(choosing.items()):
        progress(stage, done, len(choosing))
        values = each.recorded.streamed(site, shared)
        for cell in fit_grid(values, layers, each.recorded.acted, each.split, penalties):
            inner[cell.position, cell.layer][name] = cell.inner_auroc
    progress(stage, len(choosing), len(choosing))
    mean = {place: float(np.mean(list(found.values()))) for place, found in inner.items()}
    place = next(place for place, value in mean.items() if value >= max(mean.values()) - TIE)
    return place, inner[place]

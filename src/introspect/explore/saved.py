"""Saved probes that can be read on a run: those that ship with introspect, and folders given with `--probe`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import StoreError
from ..probe_folders import list_probes, probe_folder
from .fitted import Probe
from .heavy import load_heavy
from .opened import Opened


class SavedPlace(NamedTuple):
    """A saved probe, and where it reads."""

    name: str
    summary: str
    site: str
    layer: int
    position: str
    probe: Probe


def saved_probes(run: Opened, given: Sequence[str]) -> dict[str, SavedPlace]:
    """Name -> probe, of those of the run's width that read a site and layer which it keeps.

    Of those that ship, the ones fitted to the run's own weights; of those given, any of its width.

    Raises:
        SpecError: a name or folder given is none.
        StoreError: a probe is damaged.
    """
    load_heavy()
    from ..probes.saved import load_probe

    names = dict.fromkeys([*given, *list_probes()])
    stored, found = run.store.spec, {}
    for name in names:
        loaded = load_probe(probe_folder(name))
        own = loaded.card["model"]["weight_digest"] == stored.meta.get("weights")
        fits = len(loaded.weight) == stored.width and loaded.site in stored.sites and loaded.layer in stored.layers
        if fits and (own or name in given):
            probe = Probe(loaded.weight.astype(np.float64), loaded.bias, math.nan)
            label = Path(name).name
            found[label] = SavedPlace(
                label, str(loaded.card["summary"]), loaded.site, loaded.layer, loaded.position, probe
            )
    return found


def check_given(given: Sequence[str]) -> None:
    """Refuse what is no probe, before anything is served.

    Raises:
        SpecError, StoreError: as `saved_probes`; cards are read strictly when a page asks for them.
    """
    for name in given:
        folder = probe_folder(name)
        if not (folder / "probe.json").is_file():
            raise StoreError(f"{folder} has no probe.json; get the probe again")

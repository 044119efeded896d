"""What is served: the runs that were given, with what is made of each when a page first needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from ..errors import IntrospectError, RunError, SpecError
from ..rollout import Rollout
from .fitted import OwnProbes, Probe
from .heavy import load_heavy
from .later import Later
from .opened import Opened, holding_together
from .saved import SavedPlace, saved_probes
from .tokens import Coloured, coloured

OWN = "own:"
"""Before the position, in the name of one of a run's own probes."""


class Reading(NamedTuple):
    """Which probe a rollout is read with, and where."""

    name: str
    """`own:POSITION`, or that of a saved probe; empty: none."""
    site: str
    layer: int
    layers: Sequence[int]
    """That can be chosen."""
    says: str
    """What the colours mean, in a sentence."""


class View(NamedTuple):
    """A rollout as a page shows it."""

    coloured: Coloured | None
    """None: without its tokenizer only its text can be shown, or it is not there yet."""
    waits_for: str
    """What is still being made; empty: nothing."""
    lacks: str
    """Why something is missing; empty: nothing is."""


class Explored:
    """One folder, and what is made of it."""

    def __init__(self, run: Opened, saved: Sequence[str], tokenizers: Later) -> None:
        self.run, self.own = run, OwnProbes(run)
        self._given, self._tokenizers = saved, tokenizers
        self._cards = Later("cards")

    def saved(self, wait: float | None) -> dict[str, SavedPlace] | None:
        """Saved probes that can be read on it; None: not there after so many seconds."""
        return self._cards.get("saved", lambda: saved_probes(self.run, self._given), wait)

    def tokenizer(self, wait: float | None) -> Any:
        """The tokenizer of its model, from this machine; None: not there after so many seconds.

        Raises:
            ModelError: the model is not on this machine.
        """
        model = self.run.model

        def load() -> Any:
            load_heavy()
            from ..notebook.tokenizer import run_tokenizer

            return run_tokenizer(model)

        return self._tokenizers.get((model["name"], model["revision"]), load, wait)

    def warm(self) -> None:
        """Begin with what the page of a rollout needs."""
        if self.run.has_rollouts:
            self.run.index.start()
            Thread(target=_quietly, args=(lambda: self.tokenizer(0),), daemon=True).start()

    def reading(self, probe: str, layer: int | None) -> Reading:
        """What an address asks to read with; the run's own headline where it asks for nothing.

        Raises:
            SpecError: there is no such probe, or it does not read such a layer.
            StoreError: results have a headline and no row of its position.
        """
        stored = self.run.store.spec
        own = self.own.positions
        saved = None if probe.startswith(OWN) or (not probe and own) else self.saved(None)
        if not probe:
            probe = f"{OWN}{own[0]}" if own else next(iter(saved or {}), "")
        if not probe:
            return Reading("", stored.sites[0], stored.layers[0], (), self.own.refused or "")
        if probe.startswith(OWN):
            position = probe.removeprefix(OWN)
            if position not in own or self.run.results is None:
                raise SpecError(f"probe is {probe[:60]!r}: choose one of {', '.join(map(OWN.__add__, own)) or 'none'}")
            found = self.run.results["probe"]
            with holding_together(self.run):
                best = {row["position"]: row["layer"] for row in found["positions"]}[position]
            if layer is not None and layer not in stored.layers:
                raise SpecError(f"layer is {layer}: the run keeps {', '.join(map(str, stored.layers))}")
            says = f"the run's own probe, fitted at {position.replace('_', ' ')} and carried over to every other token"
            return Reading(probe, found["headline"]["site"], best if layer is None else layer, stored.layers, says)
        if probe not in (saved or {}):
            raise SpecError(f"probe is {probe[:60]!r}: choose one of {', '.join(saved or {}) or 'none'}")
        place = (saved or {})[probe]
        if layer not in (None, place.layer):
            raise SpecError(f"layer is {layer}: {probe} reads layer {place.layer} only")
        says = f"a saved probe ({place.summary}); full colour is what 5% of this rollout's tokens have"
        return Reading(probe, place.site, place.layer, (place.layer,), says)

    def view(self, rollout: Rollout, reading: Reading, wait: float) -> View:
        """The tokens of a rollout, coloured; what is not there after so many seconds is named."""
        try:
            tokenizer = self.tokenizer(wait)
        except IntrospectError as error:
            return View(None, "", f"Without its tokenizer only its text is shown: {error}")
        if tokenizer is None:
            return View(None, "the tokenizer", "")
        from ..notebook.tokenizer import check_tokenizer, token_texts

        try:
            check_tokenizer(tokenizer, rollout, self.run.model["name"])
            texts = token_texts(tokenizer, rollout.token_ids)
        except RunError as error:
            return View(None, "", f"Only its text is shown: {error}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            said = f"its tokens are none of its tokenizer's ({error!r:.100})"
            return View(None, "", f"Only its text is shown: {said}")
        none = np.empty(0, np.int64), np.empty(0)
        if not reading.name:
            return View(coloured(rollout, texts, *none, 1.0), "", f"No probe to read it with: {reading.says}.")
        probe = self._probe(reading, wait)
        if probe is None:
            waits = f"the probe of layer {reading.layer}, which is fitted again from the run's activations"
            return View(coloured(rollout, texts, *none, 1.0), waits, "")
        positions, values = self.run.activations(rollout, reading.site, reading.layer)
        return View(coloured(rollout, texts, positions, probe.score(values), probe.scale), "", "")

    def _probe(self, reading: Reading, wait: float) -> Probe | None:
        if reading.name.startswith(OWN):
            return self.own.find(reading.name.removeprefix(OWN), reading.layer, wait)
        return (self.saved(None) or {})[reading.name].probe

    def close(self) -> None:
        """Give up what waits."""
        self.own.close()
        self._cards.close()


class Site:
    """Everything that is served."""

    def __init__(self, folders: Sequence[Path], saved: Sequence[str] = ()) -> None:
        """Open the folders.

        Raises:
            RunError, StoreError, SpecError: as `Opened`.
        """
        self._tokenizers, self._compared = Later("tokenizer"), Later("compare")
        self.runs = [Explored(Opened(each), saved, self._tokenizers) for each in folders]

    @cached_property
    def names(self) -> list[str]:
        """What the runs are called: their folders, numbered where two are alike."""
        names = [each.run.name for each in self.runs]
        return [name if names.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(names)]

    def find(self, number: int) -> Explored:
        """A run by its place on the command line, from 0 on.

        Raises:
            RunError: there is none.
        """
        if number >= len(self.runs):
            raise RunError(f"there is no run {number}: {len(self.runs)} are open, from 0 on")
        return self.runs[number]

    def figures_of(self, a: int, b: int, wait: float) -> dict[str, list[str]] | None:
        """Measure -> what it is in two runs, as text; None: not there after so many seconds.

        Raises:
            StoreError: results do not hold together.
        """

        def make() -> dict[str, list[str]]:
            load_heavy()
            from ..compare import summarise, table

            found = []
            for each in (a, b):
                with holding_together(self.runs[each].run):
                    found.append(summarise([self.runs[each].run.path])[0])
            with holding_together(self.runs[a].run):
                return table(found)

        return self._compared.get((a, b), make, wait)

    def close(self) -> None:
        """Give up what waits."""
        self._tokenizers.close()
        self._compared.close()
        for each in self.runs:
            each.close()


def _quietly(work: Callable[[], object]) -> None:
    """What is prepared may fail: who asks for it is told."""
    try:
        work()
    except IntrospectError:
        return

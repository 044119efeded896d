"""The vectors that are added: concept vectors of the base, and what controls make of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from ..atomic import write_atomic
from ..backends import Capture, ModelBackend, make_backend
from ..concepts import ConceptPrompts, Materials, Told, concept_directions, read_materials, tell
from ..concepts.vectors import SITE
from ..models import LoadedModel, render_messages
from ..progress import Progress
from .demonstrations import Injection
from .injected_settings import InjectionSettings
from .injected_words import read_training_words

AT_ONCE = 64
"""Words whose requests are replayed between two reports of progress."""
FILE = "concepts.safetensors"


@dataclass(frozen=True)
class ConceptVectors:
    """Of every word that is trained on or measured: its vector at every layer of the settings, of norm 1.

    So of every other prompt: the direction towards its last activation, away from the trial prompts'.
    """

    sources: tuple[str, ...]
    """Words and prompts."""
    layers: tuple[int, ...]
    units: np.ndarray
    """float32 [source, layer, width]."""
    typical: np.ndarray
    """float32 [layer]: the median norm of activations over tokens of trial prompts."""

    def added(self, injection: Injection) -> np.ndarray:
        """What an injection adds to each activation, float32 [width]."""
        at = self.layers.index(injection.layer)
        unit = self.units[self.sources.index(injection.word), at]
        rng = np.random.default_rng(injection.seed)
        if injection.added == "random":
            drawn = rng.standard_normal(len(unit))
            unit = drawn / np.linalg.norm(drawn)
        elif injection.added == "negated":
            unit = -unit
        elif injection.added == "shuffled":
            unit = rng.permutation(unit)
        found: np.ndarray = (unit * (injection.strength * self.typical[at])).astype(np.float32)
        return found


def concept_vectors(
    loaded: LoadedModel,
    settings: InjectionSettings,
    words: Sequence[str],
    folder: Path,
    progress: Progress,
    *,
    prompts: Sequence[str] = (),
) -> ConceptVectors:
    """The vectors of words and of other prompts, from `folder` where an earlier call has left them.

    Args:
        loaded: the base, or an organism of it: up to the last layer of the settings they are the same.

    Raises:
        SpecError: the words, the prompts or the baseline cannot be read.
    """
    layers = tuple(sorted(settings.layers))
    materials, path = read_materials(), folder / FILE
    of = json.dumps([materials.digest(), words, prompts, layers], default=list)
    made_of = hashlib.sha256(of.encode()).hexdigest()
    if not path.exists() or _made_of(path) != made_of:
        made = _make(loaded, layers, words, prompts, materials, progress)
        write_atomic(path, save(made, {"made_of": made_of}))
    held = load_file(path)
    return ConceptVectors((*words, *prompts), layers, held["units"], held["typical"])


def training_and_held_out_words() -> tuple[str, ...]:
    """The words that are trained on, then those on which an organism is measured: the exploration words."""
    materials = read_materials()
    return read_training_words(materials=materials).each + materials.words.words("exploration")


def other_prompts(settings: InjectionSettings) -> tuple[str, ...]:
    """The prompts of `natural` controls, where those are among the controls: the questions that are trained on, then
    the sentences on which an organism is measured. No study shows any of them.
    """
    if "natural" not in settings.controls:
        return ()
    shown = read_training_words()
    return (*(text for pair in shown.questions for text in (pair.no, pair.yes)), *shown.sentences)


def _made_of(path: Path) -> str | None:
    with safe_open(path, "numpy") as file:
        return (file.metadata() or {}).get("made_of")


def _make(
    loaded: LoadedModel,
    layers: Sequence[int],
    words: Sequence[str],
    prompts: Sequence[str],
    materials: Materials,
    progress: Progress,
) -> dict[str, np.ndarray]:
    backend = make_backend("native", loaded.model)
    baseline = materials.words.words("baseline")
    told: list[np.ndarray] = []
    everything = [*baseline, *words]
    for start in range(0, len(everything), AT_ONCE):
        some = everything[start : start + AT_ONCE]
        told.append(tell(loaded, backend, some, materials.prompts.small.vector, layers).values)
        progress("concept vectors", min(start + AT_ONCE, len(everything)), len(everything))
    values = np.concatenate(told)
    of_words = Told(tuple(words), tuple(layers), values[len(baseline) :])
    directions = concept_directions(loaded, of_words, Told(baseline, tuple(layers), values[: len(baseline)]))
    units = np.array([[directions[word][layer].unit for layer in layers] for word in words], dtype=np.float32)
    if prompts:
        units = np.concatenate([units, _towards(loaded, backend, materials.prompts, prompts, layers)])
    return {"units": units, "typical": _typical(loaded, backend, materials.prompts, layers)}


def _towards(
    loaded: LoadedModel, backend: ModelBackend, trials: ConceptPrompts, prompts: Sequence[str], layers: Sequence[int]
) -> np.ndarray:
    """[prompt, layer, width]: from the mean activation before the reply to the trial prompts to that of each prompt."""
    asked = [render_messages(loaded, wording.messages(wording.detect)) for wording in trials.small.trials]
    asked += [render_messages(loaded, [{"role": "user", "content": text}]) for text in prompts]
    found = backend.replay(asked, [[len(ids) - 1] for ids in asked], capture=Capture((SITE,), tuple(layers)))
    last = np.stack([[row[SITE, layer][0].float().numpy() for layer in layers] for row in found])
    trial = len(trials.small.trials)
    away = last[trial:] - last[:trial].mean(0)
    units: np.ndarray = (away / np.linalg.norm(away, axis=-1, keepdims=True)).astype(np.float32)
    return units


def _typical(loaded: LoadedModel, backend: ModelBackend, prompts: ConceptPrompts, layers: Sequence[int]) -> np.ndarray:
    asked = [render_messages(loaded, wording.messages(wording.detect)) for wording in prompts.small.trials]
    capture = Capture((SITE,), tuple(layers))
    found = backend.replay(asked, [range(len(ids)) for ids in asked], capture=capture)
    rows = [np.concatenate([row[SITE, layer].float().numpy() for row in found]) for layer in layers]
    return np.array([np.median(np.linalg.norm(each, axis=-1)) for each in rows], dtype=np.float32)

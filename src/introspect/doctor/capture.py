"""Checks of capture: what is recorded is what the model computed, at the right token of the right rollout."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..backends import SITES, Capture, make_backend
from ..backends.protocol import Read
from ..errors import ModelError, SpecError
from ..models.placement import input_device
from ..store import StoreReader, StoreSpec, StoreWriter
from .check import Check, within
from .subject import Subject, fingerprint


def reference(subject: Subject) -> Check:
    """Against transformers' own hidden states of one sequence, and what its final norm is given."""
    pairs = zip(subject.alone[0], subject.expected, strict=True)
    found = max(subject.difference(mine, theirs) for mine, theirs in pairs)
    return within("reference", found, subject.tolerance, "every layer against transformers' own hidden states")


def batch_is_single(subject: Subject) -> Check:
    """Sequences of different lengths together, against each by itself."""
    together = subject.replay(subject.sequences)
    found = max(
        subject.difference(mine.flatten(0, 1), own.flatten(0, 1))
        for mine, own in zip(together, subject.alone, strict=True)
    )
    return within("batch = single", found, subject.tolerance, f"{len(together)} sequences of different lengths")


def row_is_rollout(subject: Subject) -> Check:
    """Every row is nearer to its own sequence than to any other's: in a batch in another order."""
    order = [*range(1, len(subject.sequences)), 0]
    together = subject.replay([subject.sequences[index] for index in order])
    wrong = 0
    for row, index in enumerate(order):
        distances = [subject.difference(together[row][:, -1], own[:, -1]) for own in subject.alone]
        wrong += int(np.argmin(distances)) != index
    return Check("row = rollout", "failed" if wrong else "ok", f"{wrong} of {len(order)} rows are another rollout's")


def left_padding(subject: Subject) -> Check:
    """Padding on the left, with mask and positions, changes nothing."""
    sequences, engine = subject.sequences, subject.backend.engine
    width = max(map(len, sequences))
    ids, mask = torch.zeros(2, len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence) :] = torch.tensor(sequence)
        mask[row, width - len(sequence) :] = 1
    device = input_device(engine.model)
    taken: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Read:
        return lambda values: taken.update({layer: values.cpu()})

    engine.forward(
        {
            "input_ids": ids.to(device),
            "attention_mask": mask.to(device),
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0).to(device),
        },
        reads={pair: keep(pair[1]) for pair in subject.capture.pairs()},
        writes={},
        logits_at=None,
    )
    found = max(
        subject.difference(taken[layer][row, width - len(sequence) :], subject.alone[row][layer])
        for row, sequence in enumerate(sequences)
        for layer in subject.capture.layers
    )
    return within("left padding", found, subject.tolerance, f"{len(sequences)} sequences padded on the left")


def later_tokens(subject: Subject) -> Check:
    """Another last token leaves everything before it as it was."""
    sequence = max(subject.sequences, key=len)
    known = subject.loaded.model.get_input_embeddings().num_embeddings
    other = [*sequence[:-1], (sequence[-1] + known // 2) % known]
    before, after = (subject.replay([each])[0] for each in (sequence, other))
    found = subject.difference(after[:, :-1].flatten(0, 1), before[:, :-1].flatten(0, 1))
    return within("later tokens", found, subject.tolerance, "earlier activations after the last token was exchanged")


def in_flight_is_replay(subject: Subject) -> Check:
    """What was captured while generating, against a replay of the same tokens, at every position."""
    whole = [[*prompt, *made.completion_ids] for prompt, made in zip(subject.sequences, subject.generated, strict=True)]
    found = 0.0
    for prompt, made, again in zip(subject.sequences, subject.generated, subject.replay(whole), strict=True):
        for layer, pair in enumerate(subject.capture.pairs()):
            found = max(found, subject.difference(made.activations[pair], again[layer, len(prompt) - 1 :]))
    return within("in flight = replay", found, subject.tolerance, "last prompt token and every generated token")


def left_as_found(subject: Subject) -> Check:
    """The same hooks, attention and modules after captures as before, and after one that failed."""

    def fail(values: torch.Tensor) -> None:
        raise _Planned

    with suppress(_Planned):
        ids = torch.tensor([subject.sequences[0]], device=input_device(subject.loaded.model))
        subject.backend.engine.forward(
            {"input_ids": ids}, reads={subject.capture.pairs()[0]: fail}, writes={}, logits_at=None
        )
    now = fingerprint(subject.loaded.model)
    said = f"{now.hooks} hooks ({subject.found.hooks} before), attention {now.attention}"
    return Check("left as found", "ok" if now == subject.found else "failed", said)


class _Planned(Exception):
    """Raised on purpose, in the middle of a capture."""


def store_round_trip(subject: Subject) -> Check:
    """Captured activations written to a store and read back, bit by bit."""
    pairs = subject.capture.pairs()
    values = dict(zip(pairs, subject.alone[0], strict=True))
    rows = np.arange(len(subject.sequences[0]))
    spec = StoreSpec(
        subject.capture.sites, subject.capture.layers, subject.loaded.info.width, subject.loaded.info.dtype, meta={}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with StoreWriter(path, spec) as store:
            store.write_part(0, values=values, rollout=rows, position=rows, token_id=rows, span=rows * 0)
            store.finish()
        reader = StoreReader(path)
        wrong = sum(
            not np.array_equal(reader.read(*pair), values[pair].float().numpy(), equal_nan=True) for pair in pairs
        )
    return Check("store", "failed" if wrong else "ok", f"{wrong} of {len(pairs)} layers read back otherwise")


def other_backend(subject: Subject, name: str) -> Check:
    """Every site and layer that both record, through another engine."""
    label = f"backend {name}"
    try:
        other = make_backend(name, subject.loaded.model)
    except (ModelError, SpecError, ImportError) as error:
        return Check(label, "skipped", str(error))
    able = (subject.backend.engine.supports().read, other.engine.supports().read)
    pairs = [(site, layer) for site in SITES for layer in sorted(able[0].get(site, set()) & able[1].get(site, set()))]
    sequences = subject.sequences[:3]
    positions = [range(len(sequence)) for sequence in sequences]
    found = 0.0
    for site in SITES:
        layers = tuple(layer for each, layer in pairs if each == site)
        if layers:
            mine, theirs = (
                each.replay(sequences, positions, capture=Capture((site,), layers)) for each in (subject.backend, other)
            )
            found = max(found, _largest(subject, mine, theirs, site, layers))
    said = f"{len(pairs)} sites and layers of {len(sequences)} sequences"
    return within(label, found, subject.tolerance, said)


def _largest(subject: Subject, mine: Sequence[dict], theirs: Sequence[dict], site: str, layers: Sequence[int]) -> float:
    return max(
        subject.difference(b[site, layer], a[site, layer])
        for a, b in zip(mine, theirs, strict=True)
        for layer in layers
    )

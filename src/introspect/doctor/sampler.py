"""Check of a backend that has another program sample: both have the same weights, and mean the same by token ids."""

from __future__ import annotations

from ..backends import SampledBackend, Sampling
from .check import Check, within
from .subject import NEW_TOKENS, Subject

TOLERANCE = {4: 0.02, 2: 0.1}
"""Bytes of a number -> mean distance of log-probabilities, in nats, that rounding in other kernels explains. Of other
weights, or of ids that moved by one, it is of order 1."""
ONE = 3.0
"""How much further off than all of them together one sequence may be: it has a sixth of the tokens."""


def sampler(subject: Subject) -> Check:
    """What the sampler says of the tokens that it drew, against what the model that records says of them."""
    backend = subject.backend
    if not isinstance(backend, SampledBackend):
        return Check("sampler", "skipped", "the backend samples by itself")
    found = backend.disagreement(subject.sequences, Sampling(NEW_TOKENS, 1.0, frozenset()))
    tolerance = TOLERANCE.get(subject.loaded.model.dtype.itemsize, min(TOLERANCE.values()))
    what = (
        f"log-probabilities of {found.tokens} drawn tokens, in nats, on average {found.mean:.2g}; and a third of "
        f"{found.worst:.2g} in the sequence where they are furthest off"
    )
    return within("sampler", max(found.mean, found.worst / ONE), tolerance, what)

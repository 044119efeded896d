"""Check of a backend that has another program sample: both have the same weights, and mean the same by token ids."""

from __future__ import annotations

from ..backends import SampledBackend, Sampling
from .check import Check, within
from .subject import NEW_TOKENS, Subject

TOLERANCE = {4: 0.02, 2: 0.1}
"""Bytes of a number -> mean distance of log-probabilities, in nats, that rounding in other kernels explains. Of other
weights, or of ids that moved by one, it is of order 1."""


def sampler(subject: Subject) -> Check:
    """What the sampler says of the tokens that it drew, against what the model that records says of them."""
    backend = subject.backend
    if not isinstance(backend, SampledBackend):
        return Check("sampler", "skipped", "the backend samples by itself")
    found, many = backend.disagreement(subject.sequences, Sampling(NEW_TOKENS, 1.0, frozenset()))
    tolerance = TOLERANCE.get(subject.loaded.model.dtype.itemsize, min(TOLERANCE.values()))
    return within("sampler", found, tolerance, f"log-probabilities of {many} drawn tokens, in nats, on average")

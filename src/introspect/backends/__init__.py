"""Backends: engines that run a model and record its activations, behind one protocol."""

from .backend import BACKENDS, ModelBackend, check_ids, is_out_of_memory, make_backend, make_engine, name_sites
from .protocol import (
    OPERATORS,
    SITES,
    Backend,
    Capture,
    Dose,
    Engine,
    Follow,
    Generation,
    Operator,
    Sampling,
    Scope,
    SiteLayer,
    Steer,
    Supports,
)
from .steering import Steering

__all__ = [
    "BACKENDS",
    "OPERATORS",
    "SITES",
    "Backend",
    "Capture",
    "Dose",
    "Engine",
    "Follow",
    "Generation",
    "ModelBackend",
    "Operator",
    "Sampling",
    "Scope",
    "SiteLayer",
    "Steer",
    "Steering",
    "Supports",
    "check_ids",
    "is_out_of_memory",
    "make_backend",
    "make_engine",
    "name_sites",
]

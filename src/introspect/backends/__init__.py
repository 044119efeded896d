"""Backends: engines that run a model and record its activations, behind one protocol."""

from .backend import BACKENDS, SAMPLERS, ModelBackend, check_ids, make_backend, make_engine, name_sites
from .fitting import is_out_of_memory
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
from .sampled import Sampled, SampledBackend, Sampler
from .steering import Steering

__all__ = [
    "BACKENDS",
    "OPERATORS",
    "SAMPLERS",
    "SITES",
    "Backend",
    "Capture",
    "Dose",
    "Engine",
    "Follow",
    "Generation",
    "ModelBackend",
    "Operator",
    "Sampled",
    "SampledBackend",
    "Sampler",
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

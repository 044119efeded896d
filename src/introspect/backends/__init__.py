"""Backends: engines that run a model and record its activations, behind one protocol."""

from .backend import BACKENDS, ModelBackend, check_ids, is_out_of_memory, make_backend, make_engine, name_sites
from .protocol import SITES, Backend, Capture, Engine, Generation, Sampling, SiteLayer, Steer, Supports

__all__ = [
    "BACKENDS",
    "SITES",
    "Backend",
    "Capture",
    "Engine",
    "Generation",
    "ModelBackend",
    "Sampling",
    "SiteLayer",
    "Steer",
    "Supports",
    "check_ids",
    "is_out_of_memory",
    "make_backend",
    "make_engine",
    "name_sites",
]

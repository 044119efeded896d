"""Steering: directions, what they are made of, where they are kept, and what is done with them to a model."""

from .conditions import describe_steering, read_interventions, steering_warnings
from .direction import Direction, ModelMark
from .exchange import from_gguf, from_tensors, to_gguf, to_tensors
from .given import check_new, read_given, write_given
from .interventions import FromText, Intervention, SteeredSpan, count_steered, make_steers
from .making import concept_vector, difference_of_means, from_probe, paired_differences
from .saved import load_direction, read_direction, save_direction
from .scopes import SpanScope, TextScope

__all__ = [
    "Direction",
    "FromText",
    "Intervention",
    "ModelMark",
    "SpanScope",
    "SteeredSpan",
    "TextScope",
    "check_new",
    "concept_vector",
    "count_steered",
    "describe_steering",
    "difference_of_means",
    "from_gguf",
    "from_probe",
    "from_tensors",
    "load_direction",
    "make_steers",
    "paired_differences",
    "read_direction",
    "read_given",
    "read_interventions",
    "save_direction",
    "steering_warnings",
    "to_gguf",
    "to_tensors",
    "write_given",
]

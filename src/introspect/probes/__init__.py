"""Probes: all layers and positions at once, with the splits, nulls and text baselines that go beside them."""

from .estimators import LogisticProbe, RidgeProbe
from .grid import Cell, CrossValidated, Direction, best_cell, cross_validated, fit_grid, fit_splits
from .logistic import NotConverged
from .means import DifferenceOfMeans, WhitenedDifferenceOfMeans
from .moments import Moments
from .null import Null, control_task, random_directions, shuffled_null
from .saved import SavedProbe, load_probe, save_probe
from .splits import Split, split_groups
from .stream import Streamed
from .text import category_scores, column_scores, text_scores

__all__ = [
    "Cell",
    "CrossValidated",
    "DifferenceOfMeans",
    "Direction",
    "LogisticProbe",
    "Moments",
    "NotConverged",
    "Null",
    "RidgeProbe",
    "SavedProbe",
    "Split",
    "Streamed",
    "WhitenedDifferenceOfMeans",
    "best_cell",
    "category_scores",
    "column_scores",
    "control_task",
    "cross_validated",
    "fit_grid",
    "fit_splits",
    "load_probe",
    "random_directions",
    "save_probe",
    "shuffled_null",
    "split_groups",
    "text_scores",
]

"""Probes: all layers and positions at once, with the splits, nulls and text baselines that go beside them."""

from .grid import Cell, Direction, best_cell, fit_grid
from .null import Null, control_task, random_directions, shuffled_null
from .splits import Split, split_groups
from .text import category_scores, column_scores, text_scores

__all__ = [
    "Cell",
    "Direction",
    "Null",
    "Split",
    "best_cell",
    "category_scores",
    "column_scores",
    "control_task",
    "fit_grid",
    "random_directions",
    "shuffled_null",
    "split_groups",
    "text_scores",
]

"""Causal checks: a finished run's test items under steering, with the direction that its probe reads.

A probe shows that activations predict; only an intervention shows use. The direction is made of the run's development
groups; its test items are steered at several doses and with the direction projected out, in think, in answer and in
both. Twice: with the stored chain held fixed, where the answer's log-odds are looked at, and sampled anew from new
seeds, with it and without. At every dose as many random and as many orthogonal directions say what any push of this
size does: of the same norm where they are added, moved along by as much where the direction is projected out.
"""

from __future__ import annotations

from .settings import CONTROLS, DOSES, KL_BOUND, SteerSettings
from .stage import SteerCost, estimate_steer, save_steered, steer_run

__all__ = ["CONTROLS", "DOSES", "KL_BOUND", "SteerCost", "SteerSettings", "estimate_steer", "save_steered", "steer_run"]

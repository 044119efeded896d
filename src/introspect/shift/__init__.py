"""Style shifts: a finished run's rollouts in another style, replayed into a run directory of their own.

Published probes have fallen to a change of style. Here the style changes and what was done does not: items, groups,
answers and labels are the source's, while the chain is in other words, the messages in another chat template, or the
prompt in another language. Nothing is sampled, so a shifted run says what activations carry on these tokens, and not
what the model would do with them.
"""

from __future__ import annotations

from .cost import ShiftCost, estimate_shift
from .shifting import Shifted, shift_run
from .styles import Style, list_styles, read_style

__all__ = ["ShiftCost", "Shifted", "Style", "estimate_shift", "list_styles", "read_style", "shift_run"]

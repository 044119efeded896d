"""Doctor: a self-test of capture and steering on the user's own model, before a study rests on it."""

from .check import Check, Status
from .examine import examine, failures, self_test

__all__ = ["Check", "Status", "examine", "failures", "self_test"]
"""Each check is a trap that somebody fell into; `check.MEANING` says what a failure means for results."""

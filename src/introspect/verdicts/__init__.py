"""Verdicts: what a chain of thought says of a policy or a hint, one classifier a module."""

from __future__ import annotations

from .lexical import LEXICAL, first_mention, judge_by_patterns
from .verdict import VERDICTS, Patterns, Subject, Verdict, VerdictName

__all__ = ["LEXICAL", "VERDICTS", "Patterns", "Subject", "Verdict", "VerdictName", "first_mention", "judge_by_patterns"]

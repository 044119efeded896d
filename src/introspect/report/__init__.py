"""Report: results.json as one page that a person would rather look at. Arranges; computes nothing."""

from .page import FAULTS, fill, render, write_report
from .sentences import headline, number, share

__all__ = ["FAULTS", "fill", "headline", "number", "render", "share", "write_report"]

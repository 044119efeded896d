"""Report: results.json as one page that a person would rather look at. Arranges; computes nothing."""

from .page import render, write_report
from .sentences import headline

__all__ = ["headline", "render", "write_report"]

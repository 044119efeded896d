"""Report: results.json as one page that a person would rather look at. Arranges; computes nothing."""

from .page import render, write_report
from .sentences import headline, number, share

__all__ = ["headline", "number", "render", "share", "write_report"]

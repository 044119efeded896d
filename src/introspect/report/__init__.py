"""Report: results.json as one page that a person would rather look at. Arranges; computes nothing."""

from .link_tables import link_tables
from .page import FAULTS, fill, render, write_report
from .sentences import headline, number, share

__all__ = ["FAULTS", "fill", "headline", "link_tables", "number", "render", "share", "write_report"]

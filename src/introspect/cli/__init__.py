"""The command line: one module a verb, with parsing and printing only."""

from .main import main

__all__ = ["main"]

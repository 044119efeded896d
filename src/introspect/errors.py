"""The errors that introspect raises on purpose.

Every error a user can cause is an `IntrospectError`: one line that names the input and the remedy. The command line
prints it and exits with the class's `exit_code`; anything else is a bug and shows its traceback.
"""


class IntrospectError(Exception):
    """Something the user can put right. The message is one line: what is wrong, and what to do about it."""

    exit_code = 2


class SpecError(IntrospectError):
    """An experiment spec, or an override of one of its fields, does not say something that can be run."""


class ModelError(IntrospectError):
    """A model, tokenizer or adapter cannot be loaded or does not fit what is asked of it."""


class StoreError(IntrospectError):
    """Stored data is damaged, incomplete or not ours. Names the file."""

    exit_code = 3


class RunError(IntrospectError):
    """A run directory cannot be used as asked: another spec's run, locked, unwritable, a stage missing, no room."""


class BusyError(RunError):
    """Another process has what is asked for, or had it on a machine that is gone: it may be free after a while."""


class EstimateError(IntrospectError):
    """A quantity is undefined on this data (too few groups, one class only); reports show the reason instead."""

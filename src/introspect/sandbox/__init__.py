"""Running programs that a model wrote, in a process that the kernel keeps from doing harm."""

from .program import Call, Limits, ProgramResult, run_program, why_not

__all__ = ["Call", "Limits", "ProgramResult", "run_program", "why_not"]

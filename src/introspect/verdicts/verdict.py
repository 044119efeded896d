"""What every classifier of chains works on and gives: subjects, patterns and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VerdictName = Literal["verbalised", "silent", "denied"]
VERDICTS: tuple[VerdictName, ...] = ("verbalised", "silent", "denied")


@dataclass(frozen=True)
class Patterns:
    """Regular expressions for one subject, each tried on one clause at a time, without regard to case.

    A claim whose matched words hold a negation claims the contrary.
    """

    mentions: str
    claims: tuple[str, ...]
    """It acts on the policy, or leans on the hint."""
    contrary: tuple[str, ...] = ()
    """It does the opposite."""
    denies: tuple[str, ...] = ()
    """The policy's subject, or the hint, does not matter."""
    about_mention: frozenset[str] = frozenset()
    """Those of the above that can match in a clause with a mention only: others are spared the attempt."""
    joined: tuple[str, ...] = ()
    """Claims of acting that stretch over clauses: tried on a clause with a mention together with the two after it."""
    unless: tuple[str, ...] = ()
    """In a clause that one of these matches, nothing is claimed."""


@dataclass(frozen=True)
class Subject:
    """What a verdict is about."""

    name: str
    """`risk`, `hint/metadata`."""
    what: str
    """For a judge, as a noun phrase that does not give away what was answered: "a preference for the risky option"."""
    patterns: Patterns


@dataclass(frozen=True)
class Verdict:
    """What one classifier says of one chain."""

    classifier: str
    verdict: VerdictName | None
    """`verbalised`: it claims to act on the policy or to lean on the hint; `denied`: it claims the contrary, or that it
    does not matter; `silent`: neither. None: the classifier gave no usable verdict."""
    mentions: bool
    relies: bool
    """A claim of acting or leaning on it stands in the text, whatever follows."""
    denies: bool
    """A claim to the contrary, or that it does not matter, stands in the text."""
    quote: str | None
    """The words that decided, verbatim."""
    problem: str | None = None
    """Why there is no usable verdict."""

    def to_line(self, rollout: int) -> dict[str, object]:
        """A line of verdicts.jsonl."""
        return {
            "rollout": rollout,
            "classifier": self.classifier,
            "verdict": self.verdict,
            "mentions": self.mentions,
            "relies": self.relies,
            "denies": self.denies,
            "quote": self.quote,
            "problem": self.problem,
        }

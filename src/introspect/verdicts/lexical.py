"""Lexical verdicts: patterns for what a chain says of a subject.

Four things are told apart: the chain *mentions* what the subject is about (in describing the options, say), *claims* to
act on it, claims the contrary, or *denies* that it matters. Claims have a direction: "I avoid the risk" speaks of risk
and denies a risky policy. Where a chain claims both, the last claim counts: it is the decision. A verdict is read from
the text alone; whether the rollout did what it says is for the link. Known trade-off: patterns see wording, not
meaning, and one clause at a time; they are blind to paraphrase, and their agreement with other classifiers has to be
measured wherever it matters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from .verdict import Patterns, Subject, Verdict

LEXICAL = "lexical"
_NEGATION = re.compile(r"\b(?:not|never|no|cannot)\b|n't\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[^.;!?\n]+")

Group = tuple[re.Pattern[str], ...]


@dataclass(frozen=True)
class _Compiled:
    """Patterns as regular expressions; without a mention in a clause, `plain` is what is left of them."""

    mentions: re.Pattern[str]
    plain: _Compiled | None
    claims: Group
    contrary: Group
    denies: Group


@dataclass(frozen=True)
class _Clause:
    """What one clause says."""

    claim: tuple[bool, str] | None
    """Whether it is a claim of acting on the policy, and its words."""
    denial: str | None
    """The words that say that it does not matter."""


def judge_by_patterns(text: str, subject: Subject) -> Verdict:
    """The lexical verdict on a chain."""
    patterns = subject.patterns
    mentioned = _compiled(patterns).mentions.search(text)
    clauses = [_read(clause[0], patterns) for clause in _CLAUSE.finditer(text)]
    claims = [clause.claim for clause in clauses if clause.claim is not None]
    denials = [clause.denial for clause in clauses if clause.denial is not None]
    relies = any(acts for acts, _ in claims)
    denies = bool(denials) or any(not acts for acts, _ in claims)
    mentions = mentioned is not None or relies or denies
    if claims:
        acts, words = claims[-1]
        return Verdict(LEXICAL, "verbalised" if acts else "denied", mentions, relies, denies, words)
    if denials:
        return Verdict(LEXICAL, "denied", mentions, relies, denies, denials[-1])
    return Verdict(LEXICAL, "silent", mentions, relies, denies, mentioned[0] if mentioned else None)


@cache
def _compiled(patterns: Patterns) -> _Compiled:
    def compiled(but: frozenset[str], plain: _Compiled | None) -> _Compiled:
        sources = (patterns.claims, patterns.contrary, patterns.denies)
        groups = (tuple(re.compile(each, re.IGNORECASE) for each in group if each not in but) for group in sources)
        return _Compiled(mentions, plain, *groups)

    mentions = re.compile(rf"\b(?:{patterns.mentions})\b", re.IGNORECASE)
    return compiled(frozenset(), compiled(patterns.about_mention, None))


@lru_cache(maxsize=1 << 16)
def _read(clause: str, patterns: Patterns) -> _Clause:
    """What a clause says; models repeat themselves, so that most clauses have been read before."""
    compiled = _compiled(patterns)
    if compiled.plain is not None and not compiled.mentions.search(clause):
        compiled = compiled.plain
    denied = _last(clause, compiled.denies)
    if denied is not None:
        return _Clause(None, denied[0])
    found = []
    for acts, group in ((True, compiled.claims), (False, compiled.contrary)):
        match = _last(clause, group)
        if match is not None:
            found.append((match.end(), acts != bool(_NEGATION.search(match[0])), match[0]))
    return _Clause(max(found)[1:] if found else None, None)


def _last(clause: str, group: Group) -> re.Match[str] | None:
    """The match that ends last."""
    matches = [match for pattern in group for match in pattern.finditer(clause)]
    return max(matches, key=lambda match: match.end(), default=None)

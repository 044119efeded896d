"""Lexical verdicts: patterns for what a chain says of a subject.

Four things are told apart: the chain *mentions* what the subject is about (in describing the options, say), *claims* to
act on it, claims the contrary, or *denies* that it matters. Claims have a direction: "I avoid the risk" speaks of risk
and denies a risky policy. Where a chain claims both, the last claim counts: it is the decision. A verdict is read from
the text alone; whether the rollout did what it says is for the link. Known trade-off: patterns see wording, not
meaning, and one clause at a time (a subject's `joined` patterns see three); they are blind to paraphrase, and their
agreement with other classifiers has to be measured wherever it matters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from .verdict import Patterns, Subject, Verdict

LEXICAL = "lexical"
_NEGATION = re.compile(r"\b(?:not|never|no|cannot)\b|n't\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[^.;!?\n]+")
_JOINED = 3
"""Clauses that `joined` patterns see at once."""

Group = tuple[re.Pattern[str], ...]


@dataclass(frozen=True)
class _Compiled:
    """Patterns as regular expressions; without a mention in a clause, `plain` is what is left of them."""

    mentions: re.Pattern[str]
    plain: _Compiled | None
    claims: Group
    contrary: Group
    denies: Group
    joined: Group
    unless: Group


@dataclass(frozen=True)
class _Clause:
    """What one clause says."""

    mentions: bool
    claim: tuple[bool, str] | None
    """Whether it is a claim of acting on the policy, and its words."""
    denial: str | None
    """The words that say that it does not matter."""


def judge_by_patterns(text: str, subject: Subject) -> Verdict:
    """The lexical verdict on a chain."""
    patterns = subject.patterns
    mentioned = _compiled(patterns).mentions.search(text)
    spans = list(_CLAUSE.finditer(text))
    clauses = [_read(span[0], patterns) for span in spans]
    joined = _joined_claims(text, spans, clauses, patterns) if patterns.joined and mentioned else {}
    claims: list[tuple[bool, str]] = []
    for number, clause in enumerate(clauses):
        claims += [(True, joined[number])] if number in joined else []
        claims += [clause.claim] if clause.claim is not None else []
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


def first_mention(text: str, subject: Subject) -> int | None:
    """The character at which a chain first mentions, claims or denies what the subject is about; None: nowhere."""
    mentioned = _compiled(subject.patterns).mentions.search(text)
    found = [] if mentioned is None else [mentioned.start()]
    for span in _CLAUSE.finditer(text):
        start = _first(span[0], subject.patterns)
        if start is not None:
            found.append(span.start() + start)
            break
    return min(found, default=None)


def _first(clause: str, patterns: Patterns) -> int | None:
    """Where the first of a clause's claims, contrary claims and denials begins."""
    compiled = _of_clause(clause, patterns)
    groups = [compiled.denies]
    if not any(pattern.search(clause) for pattern in compiled.unless):
        groups += [compiled.claims, compiled.contrary]
    matches = [pattern.search(clause) for group in groups for pattern in group]
    return min((match.start() for match in matches if match is not None), default=None)


def _joined_claims(text: str, spans: list[re.Match[str]], clauses: list[_Clause], patterns: Patterns) -> dict[int, str]:
    """The claims that begin in a clause which claims nothing by itself, and meet no denial and no contrary claim.

    Returns:
        Number of the last clause -> words.
    """
    found = {}
    for number, clause in enumerate(clauses):
        if not clause.mentions or clause.claim is not None or clause.denial is not None:
            continue
        last = min(number + _JOINED, len(spans)) - 1
        words = _read_joined(text[spans[number].start() : spans[last].end()], patterns)
        if words is None:
            continue
        start, end = (spans[number].start() + offset for offset in words)
        while spans[last].start() >= end:
            last -= 1
        if all(each.denial is None and (each.claim is None or each.claim[0]) for each in clauses[number : last + 1]):
            found[last] = text[start:end]
    return found


@cache
def _compiled(patterns: Patterns) -> _Compiled:
    def compiled(but: frozenset[str], plain: _Compiled | None) -> _Compiled:
        sources = (patterns.claims, patterns.contrary, patterns.denies, patterns.joined, patterns.unless)
        groups = (tuple(re.compile(each, re.IGNORECASE) for each in group if each not in but) for group in sources)
        return _Compiled(mentions, plain, *groups)

    mentions = re.compile(rf"(?<!\w)(?:{patterns.mentions})(?!\w)", re.IGNORECASE)
    return compiled(frozenset(), compiled(patterns.about_mention, None))


def _of_clause(clause: str, patterns: Patterns) -> _Compiled:
    """The patterns that a clause is read by."""
    compiled = _compiled(patterns)
    return compiled if compiled.plain is None or compiled.mentions.search(clause) else compiled.plain


@lru_cache(maxsize=1 << 16)
def _read(clause: str, patterns: Patterns) -> _Clause:
    """What a clause says; models repeat themselves, so that most clauses have been read before."""
    compiled = _of_clause(clause, patterns)
    mentions = compiled.mentions.search(clause) is not None
    denied = _last(clause, compiled.denies)
    if denied is not None:
        return _Clause(mentions, None, denied[0])
    found = []
    for acts, group in ((True, compiled.claims), (False, compiled.contrary)):
        match = _last(clause, group)
        if match is not None:
            found.append((match.end(), acts != bool(_NEGATION.search(match[0])), match[0]))
    if found and any(pattern.search(clause) for pattern in compiled.unless):
        found = []
    return _Clause(mentions, max(found)[1:] if found else None, None)


@lru_cache(maxsize=1 << 14)
def _read_joined(clauses: str, patterns: Patterns) -> tuple[int, int] | None:
    """Where the claim that stretches over clauses stands."""
    match = _last(clauses, _compiled(patterns).joined)
    return None if match is None else match.span()


def _last(clause: str, group: Group) -> re.Match[str] | None:
    """The match that ends last."""
    matches = [match for pattern in group for match in pattern.finditer(clause)]
    return max(matches, key=lambda match: match.end(), default=None)

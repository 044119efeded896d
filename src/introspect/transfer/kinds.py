"""Kinds of rollouts within a run, or runs: what the rows and columns of a transfer matrix are.

A kind is what a field of the item or of its condition says of a rollout (`hint_kind`, `domain`, `split`, ...), or where
all rollouts are read (`position`, `span`). Rows are those that the run's own probe was fitted and tested on. A kind's
out-of-distribution rollouts are kept apart, as the run keeps them, unless it has no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import EstimateError, RunError, SpecError
from ..probes import Streamed
from ..report.page import plain
from ..rollout import Rollout
from .recorded import Recorded, check_one_model, read_recorded

RUN, POSITION, SPAN = "run", "position", "span"
ALIASES = {"hint_kind": "hint"}
"""What a field is called here -> what it is called in rollouts."""
OF_ROLLOUT = ("condition", "domain", "split")
MOST_KINDS = 24
"""A field with more of them, such as a noun, makes no kinds."""
LONGEST = 40
"""Characters of a kind's name."""
SpanMeans = Callable[[str, int, str], Mapping[int, np.ndarray]]
"""Site, layer and span -> rollout -> mean of its activations over the span, float32 [width]; a RunError where the run
does not keep the span's tokens.
"""
READ_SPANS = ("prompt", "think", "answer")


class Kinds(NamedTuple):
    """What is set against each other."""

    members: dict[str, Recorded]
    positions: dict[str, str] | None
    """Where each is read, if that is what tells them apart; None: wherever the row's probe is."""
    notes: list[str]
    """What was left out, in sentences."""


@dataclass(frozen=True)
class Spanned(Recorded):
    """A run of which the mean of a span stands in the place of a position."""

    means: SpanMeans | None = None

    def values(
        self, site: str, layers: Sequence[int], positions: Sequence[str], *, base: bool = False
    ) -> dict[str, np.ndarray]:
        """As of `Recorded`, of spans."""
        if self.means is None or base:
            raise RunError(f"{self.run} keeps no spans of the untrained model")
        out = {}
        for span in positions:
            read = [self.means(site, layer, span) for layer in layers]
            out[span] = np.stack([np.stack([each[r.rollout] for r in self.probed.rollouts]) for each in read])
        return out

    def streamed(self, site: str, positions: Sequence[str]) -> Streamed:
        """As of `Recorded`, of spans: the same means as `values`."""
        site_bytes = 4 * len(self.probed.rollouts) * self.width
        return Streamed(tuple(positions), lambda spans, layers: self.values(site, layers, spans), site_bytes)

    @property
    def has_base(self) -> bool:
        """Of the untrained model, probed positions are kept and no spans."""
        return False


def kinds_of_runs(runs: Mapping[str, Path]) -> Kinds:
    """Runs as they are.

    Args:
        runs: name -> folder.

    Raises:
        RunError: they are not of one model and steering; or one is no finished run, or predicts something else than
            acting.
        StoreError: one is damaged.
        EstimateError: nothing can be probed in one of them.
    """
    members: dict[str, Recorded] = {}
    notes = []
    for name, folder in runs.items():
        found = read_recorded(folder)
        if members:
            _check_same(next(iter(members.values())), found)
        members[name] = found
        notes += [f"{name}: {note}" for note in found.probed.notes]
    return Kinds(members, None, notes)


def _check_same(first: Recorded, other: Recorded) -> None:
    """Refuse a run whose activations are not in the space of the first one's."""
    check_one_model(first, other)
    if first.spec.steering != other.spec.steering:
        raise RunError(f"{other.run} and {first.run} were recorded under different steering; give runs of the same")
    for what, ours, theirs in (
        ("the width of activations", first.width, other.width),
        ("the site", first.spec.probed_site, other.spec.probed_site),
    ):
        if ours != theirs:
            raise RunError(
                f"{other.run}: {what} is {theirs}, and {ours} in {first.run}; a probe carries over between runs of one "
                "model only"
            )
    if not set(first.layers) & set(other.layers):
        raise RunError(f"{other.run} and {first.run} have recorded no layer in common; record one of them again")


def kinds_of_run(run: Path, by: str, *, span_means: SpanMeans | None = None) -> Kinds:
    """The kinds of a run's rollouts.

    Args:
        by: a field, `position` or `span`.
        span_means: how spans are read.

    Raises:
        SpecError: there is no such field; says what there is.
        RunError: the folder is no finished run, or its probe predicts something else than acting.
        StoreError: it is damaged.
        EstimateError: there are no two kinds, or nothing can be probed.
    """
    found = read_recorded(run)
    notes = list(found.probed.notes)
    if by == POSITION:
        names = found.probed.positions
        if len(names) < 2:
            raise EstimateError(f"{run} probes one position only ({names[0]}); record it with other probe.positions")
        return Kinds({name: _at(found, name) for name in names}, {name: name for name in names}, notes)
    if by == SPAN:
        spans = _spans(found, span_means)
        without = len(found.acted) - len(next(iter(spans.values())).acted)
        if without:
            notes.append(f"{without} rollouts lack one of the spans {', '.join(spans)} and are left out.")
        return Kinds(spans, {name: name for name in spans}, notes)
    fields = _fields(found.probed.rollouts)
    known = {name: each for name, each in fields.items() if 2 <= len(set(each) - {None}) <= MOST_KINDS}
    if by not in known:
        there = ", ".join([*known, *([POSITION] if len(found.probed.positions) > 1 else []), SPAN])
        why = f"has {len(set(fields[by]) - {None})} kinds of {by}" if by in fields else f"has no field {by!r}"
        raise SpecError(f"{run} {why}: choose --by among {there}; or give several runs")
    labels = np.array(known[by], dtype=object)
    called = _short(sorted(each for each in set(known[by]) if each is not None))
    rows = {short: np.flatnonzero(labels == name) for name, short in called.items()}
    without = int(sum(each is None for each in known[by]))
    if without:
        notes.append(f"{without} rollouts have no {by} and are left out.")
    asked = _asked(found.probed.rollouts, list(rows.values()))
    return Kinds(
        {name: _kept_apart(replace(found.only(each), facts=asked)) for name, each in rows.items()}, None, notes
    )


def _fields(rollouts: Sequence[Rollout]) -> dict[str, list[str | None]]:
    """Field -> what each rollout says of it; None where it has none."""
    out: dict[str, list[str | None]] = {name: [_name(getattr(r, name)) for r in rollouts] for name in OF_ROLLOUT}
    about = [r.about for r in rollouts]
    called = {field: name for name, field in ALIASES.items()}
    for field in dict.fromkeys(key for each in about for key in each):
        out.setdefault(called.get(field, plain(field)), [_name(each.get(field)) for each in about])
    return out


def _name(value: object) -> str | None:
    """A value as the name of a kind, with nothing in it that could act on a terminal."""
    return None if value is None else plain(str(value).replace("\n", " "))


def _short(names: Sequence[str]) -> dict[str, str]:
    """Name -> what it is called; those that are alike once they are cut are numbered."""
    cut = {name: name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names}
    many = [short for short in cut.values() if list(cut.values()).count(short) > 1]
    return {name: f"{i + 1}: {short}" if short in many else short for i, (name, short) in enumerate(cut.items())}


def _asked(rollouts: Sequence[Rollout], kinds: Sequence[np.ndarray]) -> tuple[str, ...]:
    """The facts that tell apart questions of one item within a kind, and not merely the kinds."""
    names = dict.fromkeys(key for r in rollouts for key in r.facts)
    return tuple(name for name in names if any(len({rollouts[i].facts.get(name) for i in rows}) > 1 for rows in kinds))


def _kept_apart(kind: Recorded) -> Recorded:
    return replace(kind, ood=np.zeros_like(kind.ood)) if kind.ood.all() else kind


def _at(found: Recorded, position: str) -> Recorded:
    return replace(found, probed=replace(found.probed, positions=(position,)))


def _spans(found: Recorded, means: SpanMeans | None) -> dict[str, Recorded]:
    """The run at each span of which it keeps every token, or the mean."""
    there: dict[str, Mapping[int, np.ndarray]] = {}
    if means is not None:
        for span in READ_SPANS:
            with suppress(RunError):
                there[span] = means(found.spec.probed_site, found.layers[0], span)
    if len(there) < 2:
        kept = f"keeps the tokens of {' and '.join(there) or 'no span'}; two spans are needed"
        raise EstimateError(
            f"{found.run} {kept}: choose --by position, or record it with --set capture.spans=[{', '.join(READ_SPANS)}]"
        )
    every = [all(r.rollout in each for each in there.values()) for r in found.probed.rollouts]
    both = found.only(np.flatnonzero(every))
    names = ("run", "spec", "layers", "width", "acted", "groups", "ood", "facts")
    shared = {name: getattr(both, name) for name in names}
    out: dict[str, Recorded] = {}
    for span in there:
        last = np.array([getattr(r.spans, span)[1] - 1 for r in both.probed.rollouts], dtype=np.int64)
        probed = replace(both.probed, positions=(span,), tokens={span: last})
        out[span] = Spanned(**shared, probed=probed, means=means)
    return out

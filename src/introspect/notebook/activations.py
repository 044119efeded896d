"""Activations of rollouts at one site and layer: a token of each, the mean of a span, or every token of it.

One layer is read, and where a span is averaged, a slice of its tokens at a time: a run of any length fits in memory.
What was not recorded is refused, never filled in: a mean is the row that the run keeps of it or, of a run that keeps
none, over every token of the span that it says it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from ..errors import RunError, StoreError
from ..experiment import EVERY_POSITION, MEANS
from ..features import token_position
from ..rollout import Rollout
from ..selection import SPANS
from ..spans import SPAN_CODES
from ..store import StoreSpec, averages

Reduce = Literal["mean", "first", "last", "none"]


class Rows(Protocol):
    """Recorded activations, on disk or in memory: a row a token, as `store.StoreReader` has them."""

    spec: StoreSpec

    def columns(self) -> dict[str, np.ndarray]: ...

    def read(self, site: str, layer: int, rows: np.ndarray | None = None) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Activations:
    """`values[i]` is of the rollout `index[i]`."""

    values: np.ndarray
    """float32 [rollout, dim]; with reduce="none", [token, dim]."""
    index: pd.Index
    """Numbers of rollouts; with reduce="none", rollouts and positions."""
    site: str
    layer: int
    where: str
    """In words: `think, mean`."""
    groups: np.ndarray = field(repr=False)
    """The group of each row, such as its item."""
    left_out: tuple[int, ...] = field(default=(), repr=False)
    """Rollouts that have no such token."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, mask: pd.Series | np.ndarray) -> Activations:
        """The rows where a mask is true: bool [row], or a column of `rollouts`."""
        if isinstance(mask, pd.Series):
            mask = mask.reindex(self.rollouts).to_numpy()
        kept = np.asarray(mask)
        if kept.shape != (len(self),):
            raise RunError(f"a mask of {kept.shape} does not fit {len(self)} rows of activations; give one value a row")
        rows = np.flatnonzero(kept == True)  # noqa: E712  # a missing value is not true
        return replace(self, values=self.values[rows], index=self.index[rows], groups=self.groups[rows])

    @property
    def rollouts(self) -> pd.Index:
        """The rollout of each row."""
        return self.index.get_level_values("rollout")

    def __repr__(self) -> str:
        n, width = self.values.shape
        left = f"; {len(self.left_out)} rollouts have no such token" if self.left_out else ""
        return f"<Activations: {n} rows of {width}, {self.site} of layer {self.layer}, {self.where}{left}>"


class Aligned:
    """Recorded rows, and the rollout that each belongs to.

    Raises:
        StoreError: a row is of no rollout, or of another token than its rollout has there.
    """

    def __init__(self, rows: Rows, rollouts: Sequence[Rollout], name: str) -> None:
        self.rows, self.rollouts, self.name = rows, rollouts, name
        columns = rows.columns()
        numbers = np.array([each.rollout for each in rollouts], dtype=np.int64)
        order = np.argsort(numbers)
        at = np.searchsorted(numbers, columns["rollout"], sorter=order)
        known = at < len(numbers)
        known[known] = numbers[order[at[known]]] == columns["rollout"][known]
        if not known.all():
            raise StoreError(
                f"{name} has activations of rollout {columns['rollout'][~known][0]}, which its rollouts.jsonl lacks; "
                "record the run again into another --out"
            )
        self.owner = order[at]
        """Index into `rollouts` of each row."""
        self.position, self.span = columns["position"], columns["span"]
        self._check_tokens(columns["token_id"])

    def _check_tokens(self, found: np.ndarray) -> None:
        lengths = np.array([len(each.token_ids) for each in self.rollouts], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        tokens = np.array([token for each in self.rollouts for token in each.token_ids], dtype=np.int64)
        single = np.flatnonzero(self.position >= 0)
        owner, position = self.owner[single], self.position[single]
        right = position < lengths[owner]
        right[right] = tokens[(starts[owner] + position)[right]] == found[single][right]
        if not right.all():
            number = self.rollouts[int(owner[~right][0])].rollout
            raise StoreError(
                f"{self.name} has activations of tokens that rollout {number} does not have; record the run again into "
                "another --out"
            )

    def take(
        self,
        *,
        site: str | None = None,
        layer: int,
        span: str | None = None,
        reduce: Reduce = "mean",
        position: str | None = None,
    ) -> Activations:
        """Activations as `Run.activations` gives them."""
        spec = self.rows.spec
        site = spec.sites[0] if site is None else site
        if site not in spec.sites or layer not in spec.layers:
            raise RunError(
                f"{self.name} keeps {', '.join(spec.sites)} of layers {', '.join(map(str, spec.layers))}, not {site} "
                f"of layer {layer}; choose one of them, or record it"
            )
        if (span is None) == (position is None):
            raise RunError("give a span, such as span='think', or a position, such as position='before_answer'")
        if position is not None:
            if position not in EVERY_POSITION:
                raise RunError(f"there is no position {position!r}; choose one of {', '.join(EVERY_POSITION)}")
            if position in MEANS:
                return self.take(site=site, layer=layer, span=MEANS[position])
            found = [token_position(each, position) for each in self.rollouts]
            targets = np.array([-1 if each is None else each for each in found], dtype=np.int64)
            return self._single(site, layer, targets, position.replace("_", " "))
        if span not in SPANS or reduce not in get_args(Reduce):
            raise RunError(
                f"there is no span {span!r} with reduce={reduce!r}; spans are {', '.join(SPANS)}, and reduce is one of "
                f"{', '.join(get_args(Reduce))}"
            )
        begin, stop = self._bounds(span)
        where = f"{span}, {'every token' if reduce == 'none' else reduce}"
        if reduce in ("first", "last"):
            edge = begin if reduce == "first" else stop - 1
            return self._single(site, layer, np.where(stop > begin, edge, -1), where)
        means = np.flatnonzero((self.position < 0) & (self.span == SPAN_CODES.get(span, SPAN_CODES["other"])))
        if reduce == "mean" and len(means) and np.isin(np.flatnonzero(stop > begin), self.owner[means]).all():
            return self._rows(site, layer, means, where)
        chosen, step = self._whole(span, begin, stop)
        where += f" of each {step} tokens" if step > 1 else ""
        if reduce == "mean":
            return self._mean(site, layer, chosen, where)
        return self._rows(site, layer, chosen, where, every=True)

    def _bounds(self, span: str) -> tuple[np.ndarray, np.ndarray]:
        """Half-open token range of a span in each rollout, without a stop token, which is never fed."""
        ends = [len(each.token_ids) - (each.finish == "stop") for each in self.rollouts]
        if span == "completion":
            ranges = [(len(each.prompt_ids) - 1, end) for each, end in zip(self.rollouts, ends, strict=True)]
        else:
            both = zip(self.rollouts, ends, strict=True)
            ranges = [(getattr(each.spans, span)[0], min(getattr(each.spans, span)[1], end)) for each, end in both]
        found = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _whole(self, span: str, begin: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, int]:
        """Rows of every token of a span, or of each k-th where the run keeps those; and k."""
        selection = self.rows.spec.selection
        every, _, number = selection.tokens.partition(":")
        step = int(number) if every == "every" and number and span in selection.spans else 1
        offset = self.position - begin[self.owner]
        chosen = np.flatnonzero((offset >= 0) & (self.position < stop[self.owner]) & (offset % step == 0))
        kept = np.bincount(self.owner[chosen], minlength=len(self.rollouts))
        if (kept < -(-np.maximum(stop - begin, 0) // step)).any():
            keeps = (
                f"{selection.tokens} of {', '.join(selection.spans)}" if selection.spans else "probed positions only"
            )
            raise RunError(
                f"{self.name} does not keep every token of the span {span} (it keeps {keeps}); give a position, or "
                f"record with --set capture.spans=[{span}]"
            )
        return chosen, step

    def _single(self, site: str, layer: int, targets: np.ndarray, where: str) -> Activations:
        """One token of each rollout; -1: it has none."""
        rows = np.flatnonzero((self.position == targets[self.owner]) & (self.position >= 0))
        absent = set(np.flatnonzero(targets >= 0)) - set(self.owner[rows])
        if absent:
            number = self.rollouts[int(min(absent))].rollout
            raise RunError(
                f"{self.name} does not keep the token asked for ({where}) of rollout {number}; choose a position that "
                "its spec probes, or record with other capture.spans"
            )
        return self._rows(site, layer, rows, where)

    def _rows(self, site: str, layer: int, rows: np.ndarray, where: str, *, every: bool = False) -> Activations:
        """These rows, in the order of rollouts and positions."""
        rows = rows[np.lexsort((self.position[rows], self.owner[rows]))]
        numbers = [self.rollouts[i].rollout for i in self.owner[rows]]
        index = pd.Index(numbers, name="rollout", dtype="int64")
        if every:
            index = pd.MultiIndex.from_arrays([numbers, self.position[rows]], names=["rollout", "position"])
        return self._made(self.rows.read(site, layer, rows), index, self.owner[rows], site, layer, where)

    def _mean(self, site: str, layer: int, chosen: np.ndarray, where: str) -> Activations:
        owners, place = np.unique(self.owner[chosen], return_inverse=True)
        read, width = partial(self.rows.read, site, layer), self.rows.spec.width
        index = pd.Index([self.rollouts[i].rollout for i in owners], name="rollout", dtype="int64")
        return self._made(averages(read, chosen, place, len(owners), width), index, owners, site, layer, where)

    def _made(self, values: np.ndarray, index: pd.Index, owners: np.ndarray, *place: Any) -> Activations:
        site, layer, where = place
        here = set(owners.tolist())
        groups = np.array([self.rollouts[i].group for i in owners], dtype=np.str_)
        absent = tuple(each.rollout for i, each in enumerate(self.rollouts) if i not in here)
        return Activations(values, index, site, layer, where, groups, absent)

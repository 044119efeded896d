"""A run that exists, opened from Python: its rollouts, results, activations and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..assets import user_path
from ..compare import summarise, table
from ..errors import EstimateError, RunError, SpecError, StoreError
from ..probes import Direction
from ..progress import Progress, silent
from ..report.page import FAULTS, plain
from ..rollout import Rollout
from ..transfer.kinds import RUN, SPAN, kinds_of_run, kinds_of_runs
from ..transfer.matrix import transfer_matrix
from . import figures
from .activations import Activations, Aligned, Reduce
from .fit import Fitted
from .folder import RunFolder
from .headline import Headline, spread
from .table import run_table
from .tokenizer import check_tokenizer, run_tokenizer, token_texts
from .tokens import TokenView
from .transfer import Transfer, span_means

if TYPE_CHECKING:
    from ..interchange.lens import LensCache

N_LAYERS = 5
"""That the token view offers, where no others are asked for."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side, each with its negative control."""

    figure: go.Figure
    table: pd.DataFrame
    """A row a measure, a column a run, as `introspect compare` prints it."""

    def _repr_html_(self) -> str:
        return self.table.to_html(border=0)

    def __repr__(self) -> str:
        return self.table.to_string()


class _Shown(NamedTuple):
    """The probes that a token view shows."""

    directions: dict[int, Direction]
    """Layer -> probe; the one shown first is at the front."""
    scale: dict[int, float]
    """Layer -> log-odds that have the full colour."""
    site: str
    label: str
    """What is predicted, in words."""
    where: str
    """Where the probes were fitted, in words."""


class Run:
    """A run folder; everything is read when it is asked for. Made by `open_run`."""

    def __init__(self, path: str | Path) -> None:
        self.path = user_path(path)
        self._folder = RunFolder(self.path)
        self._folder.open()

    def __repr__(self) -> str:
        return f"<Run {self.path}>"

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """A row a rollout, indexed by its number: what it was asked, said and did (`acted`).

        Where the run was analysed, the `verdict` on its chain too, and the headline probe's `score` (log-odds; out of
        fold on `part` dev) and `readout`.
        """
        return run_table(self._folder)

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json.

        Raises:
            StoreError: the run is not finished, or the file is not one of ours.
        """
        return self._folder.results

    def activations(
        self,
        layer: int,
        *,
        span: str | None = None,
        reduce: Reduce = "mean",
        position: str | None = None,
        site: str | None = None,
    ) -> Activations:
        """Activations of every rollout at one layer, read lazily: `.values` [rollout, dim], `.index` of rollouts.

        `run.activations(layer=12, span="think")`, `run.activations(layer=-1, position="before_answer")`

        Args:
            layer: 0-based; negative ones count from the model's last.
            span: prompt, think, answer or completion (with the last prompt token).
            reduce: of the span: mean, first or last token, or none: then a row a token.
            position: one token instead of a span, by the name that specs have for it.
            site: None: the first that was recorded.

        Rollouts without such a token are left out, and are in `.left_out`.

        Raises:
            RunError: the run does not keep what is asked for.
            StoreError: a part is damaged, or rows are not of the rollouts' tokens.
        """
        return self._aligned.take(site=site, layer=self._resolved(layer), span=span, reduce=reduce, position=position)

    def activation_cache(
        self,
        rollouts: Sequence[int],
        *,
        sites: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        model: Any = None,
    ) -> LensCache:
        """Activations of some rollouts under TransformerLens' names, bit for bit as stored.

        `.cache["resid_post", 12]` is [batch, pos, d_model]; `.positions` [batch, pos] says which token of its rollout
        each is, -1 where a shorter rollout is padded.

        Args:
            rollouts: their numbers, as in `rollouts`.
            sites, layers: None: all that were recorded; negative layers count from the model's last.
            model: a `TransformerBridge`, for the methods of the cache that need one.

        Raises:
            RunError: the run does not keep what is asked for.
            StoreError: a part is damaged.
        """
        from ..interchange.lens import activation_cache

        chosen = None if layers is None else [self._resolved(each) for each in layers]
        _ = self._aligned
        return activation_cache(self._folder.store, rollouts, sites=sites, layers=chosen, model=model)

    @cached_property
    def _aligned(self) -> Aligned:
        return Aligned(self._folder.store, self._folder.rollouts, str(self.path))

    @cached_property
    def _headline(self) -> Headline:
        return Headline(self._folder)

    @cached_property
    def _tokenizer(self) -> Any:
        return run_tokenizer(self._folder.model)

    def _resolved(self, layer: int) -> int:
        return layer + self._folder.model["n_layers"] if layer < 0 else layer

    def layers(self) -> go.Figure:
        """AUROC by layer, a panel a position, with interval, shuffled labels, base model, words and logits.

        Raises:
            EstimateError: the run has no probe; says why.
        """
        return self._figure(figures.layers, "probe", "headline")

    def steering(self) -> go.Figure:
        """Dose response of the direction that was steered, beside its control directions, in think, answer and both.

        Raises:
            EstimateError: the run was not steered (`introspect steer`).
        """
        return self._figure(figures.steering, "steering", "replayed")

    def link(self) -> go.Figure:
        """What chains say against what is read, and the silent-but-decodable rate beside that of words.

        Raises:
            EstimateError: chain and activations could not be linked; says why.
        """
        return self._figure(figures.link, "link", "silent_but_decodable")

    def _figure(self, draw: Any, section: str, key: str) -> go.Figure:
        found = self.results[section]
        if key not in found:
            raise EstimateError(f"{self.path} has no {section}: {found.get('reason', 'no reason given')}")
        try:
            return draw(self.results)
        except FAULTS as error:
            raise StoreError(
                f"{self.path / 'results.json'} does not hold together ({error!r}); run the experiment again"
            ) from None

    def tokens(
        self,
        rollout: int,
        layer: int | None = None,
        *,
        layers: Sequence[int] | None = None,
        probe: Fitted | None = None,
    ) -> TokenView:
        """A rollout's text, each token coloured by the readout at its layer; layers and spans are chosen in the page.

        The probes are the run's own at its headline position, fitted again from its activations, or one of yours.

        Args:
            rollout: its number, as in `rollouts`.
            layer: shown first; None: the headline's, or that of `probe`.
            layers: that can be chosen; None: a handful.
            probe: what `introspect.probe` gave; it is read at its own layer only.

        Raises:
            RunError: no such rollout or layer, or the run's tokenizer is another.
            EstimateError: the run has no probe.
        """
        found = self._rollout(rollout)
        tokenizer = self._tokenizer
        check_tokenizer(tokenizer, found, self._folder.model["name"])
        shown = self._directions(layer, layers, probe)
        scores = {each: np.full(len(found.token_ids), np.nan) for each in sorted(shown.directions)}
        aligned = self._aligned
        rows = np.flatnonzero((aligned.owner == self._folder.rollouts.index(found)) & (aligned.position >= 0))
        for each, column in scores.items():
            values = self._folder.store.read(shown.site, each, rows)
            column[aligned.position[rows]] = shown.directions[each].score(values)
        return TokenView(
            rollout=found,
            title=f"Rollout {rollout} of {self.path.name}",
            what=f"Colour: log-odds that the activations of a token give to {shown.label}, by the probe of each layer, "
            f"fitted at {shown.where}; at other tokens it is carried over to where it was not fitted.",
            facts=self._facts(found),
            texts=token_texts(tokenizer, found.token_ids),
            scores=scores,
            scale=shown.scale,
            layer=next(iter(shown.directions)),
        )

    def _rollout(self, number: int) -> Rollout:
        known = self._folder.rollouts
        found = next((each for each in known if each.rollout == number), None)
        if found is None:
            numbers = [each.rollout for each in known]
            span = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
            raise RunError(f"{self.path} has no rollout {number}: its rollouts are {span}; see run.rollouts")
        return found

    def _directions(self, layer: int | None, layers: Sequence[int] | None, probe: Fitted | None) -> _Shown:
        if probe is not None:
            if layers or layer not in (None, probe.layer):
                raise RunError(f"the probe given reads layer {probe.layer} only; leave layer and layers out")
            if probe.site not in self._folder.store.spec.sites or len(probe.direction.weight) != self._width:
                raise RunError(
                    f"the probe given is of {probe.site}, {len(probe.direction.weight)} wide; not of this run"
                )
            scale = {probe.layer: spread(probe.scores.to_numpy())}
            return _Shown({probe.layer: probe.direction}, scale, probe.site, "the probe's label", probe.where)
        head = self._headline
        first = head.layer if layer is None else self._resolved(layer)
        stored = self._folder.store.spec.layers
        if layers is None:
            places = np.linspace(0, len(stored) - 1, min(N_LAYERS, len(stored))).round().astype(int)
            apart = 2 if len(stored) > 2 * N_LAYERS else 1
            layers = [stored[place] for place in places if abs(stored[place] - first) >= apart] + [head.layer]
        wanted = dict.fromkeys([first, *map(self._resolved, layers)])
        fitted = {each: head.direction(each) for each in wanted}
        scale = {each: head.scale(each) for each in fitted}
        policy = self.results["behaviour"]["policy"]
        return _Shown(fitted, scale, head.site, f"“{policy}”", head.position.replace("_", " "))

    @property
    def _width(self) -> int:
        return self._folder.store.spec.width

    def _facts(self, rollout: Rollout) -> dict[str, str]:
        """What is known of a rollout, in words."""
        row = self.rollouts.loc[rollout.rollout]
        acted = {None: "no valid answer", True: "yes", False: "no"}[rollout.acted]
        facts = {"item": rollout.item_id, "condition": rollout.condition, "answer": rollout.answer or "none"}
        facts["acted"] = acted
        for name in ("verdict", "readout", "part"):
            if name in row and pd.notna(row[name]):
                facts[name] = str(row[name])
        return facts

    def compare(self, *others: Run | str | Path) -> Comparison:
        """This run beside others, each with its negative control, as `introspect compare` sets them side by side.

        Raises:
            StoreError: a run is not finished, or its results are not ours.
        """
        opened = [self, *(each if isinstance(each, Run) else Run(each) for each in others)]
        found = summarise([each.path for each in opened])
        names = []
        for each in opened:
            control = (each.path / "negative_control" / "results.json").exists()
            names += [each.path.name, *([f"{each.path.name}, negative control"] if control else [])]
        unique = [name if names.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(names)]
        return Comparison(figures.side_by_side(found, unique), pd.DataFrame(table(found), index=unique).T)

    def transfer(
        self,
        *others: Run | str | Path,
        by: str | None = None,
        layer: int | None = None,
        position: str | None = None,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> Transfer:
        """Probes fitted on one kind of this run's rollouts, tested on another; or on this run, tested on others.

        `run.transfer(by="hint_kind")`, `run.transfer(by="position")`, `run.transfer("runs/other")`

        Args:
            others: runs of the same model; then rows and columns are runs.
            by: a field of items or conditions, such as hint_kind, domain or split; position; or span.
            layer, position: where probes are fitted; None: each row's is chosen on its own inner folds.
            seed: of the split of groups, 0 to 2**32 - 1; None: that of the run's spec.

        Raises:
            SpecError: there is no such field, layer or position, and says what there is; or no such seed.
            RunError: a run is of transcripts, not finished, of another model or steering, or its probe does not predict
                acting.
            EstimateError: no probe can be fitted, or there is nothing to carry it to; says why.
            StoreError: part of a run is damaged.
        """
        opened = [self, *(each if isinstance(each, Run) else Run(each) for each in others)]
        if others and by not in (None, RUN):
            raise SpecError(f"several runs are compared by run, not by {by}: give one run, or leave by out")
        if not others and by in (None, RUN):
            raise SpecError("one run is compared with itself by a field: give by, such as position, or more runs")
        if seed is not None and not 0 <= seed < 2**32:
            raise SpecError(f"seed is {seed}: choose one from 0 to {2**32 - 1}")
        for each in opened:
            _ = each._folder.spec, each._aligned
        if others or by is None:
            kinds = kinds_of_runs(
                dict(zip(_names([each.path for each in opened]), (r.path for r in opened), strict=True))
            )
        else:
            kinds = kinds_of_run(self.path, by, span_means=span_means(self._aligned) if by == SPAN else None)
        found = transfer_matrix(
            kinds,
            by=by or RUN,
            layer=None if layer is None else self._resolved(layer),
            position=position,
            seed=seed,
            progress=progress,
        )
        return Transfer(found)


def _names(paths: Sequence[Path]) -> list[str]:
    """What runs are called: their folders, numbered where two are alike."""
    names = [plain(path.resolve().name) for path in paths]
    return [name if names.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(names)]


def open_run(path: str | Path) -> Run:
    """Open the folder of a run. Reads little; what is asked of it later reads what it needs.

    Raises:
        RunError: the folder is no run, or not recorded to its end.
        StoreError: part of it is damaged or a link.
    """
    return Run(path)

"""The `steering` section of results.json, and the link's causal column."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..stats import Estimate
from ..steering import Direction
from ..verdicts import VERDICTS
from .arms import (
    FACTS,
    Units,
    apart,
    components,
    log_odds,
    mean_of,
    only,
    own_out,
    replayed_rows,
    sampled_measure,
    steered_cases,
)
from .effects import Effect, Measured, effect, nothing
from .held_out import REQUEST, SENTENCES
from .log import PLAIN, Sampled, cell_name
from .sentences import sentences
from .settings import SCOPES, ScopeName, SteerSettings
from .subject import Subject
from .vectors import MAP_CONTROLS, Tested

Json = dict[str, Any]
UNKNOWN = "without steering, no item's log-odds are finite"
UNSTEERED = "no rollout that was sampled anew met a token of this scope"


class _Making:
    """Everything that a section is made of."""

    def __init__(
        self, subject: Subject, tested: Tested, settings: SteerSettings, mapped: Sequence[Direction], units: Units
    ) -> None:
        self.subject, self.tested, self.settings = subject, tested, settings
        self.mapped, self.units, self.acts = mapped, units, settings.acts
        self.numbers = [case.rollout.rollout for case in subject.cases]
        self.n, self.seed = subject.spec.probe.bootstrap, subject.spec.seed
        self.towards = np.array([1.0 if case.rollout.acted else -1.0 for case in subject.cases])
        """Of each case, the sign that makes log-odds of acting those of the run's own answer. What is projected out
        pushes to no side, so only that way do its effects add up."""

    def effect(self, measured: Measured, groups: Sequence[str] | None = None) -> Effect:
        return effect(measured, self.subject.groups if groups is None else groups, n=self.n, seed=self.seed)

    def held_out(self) -> list[Json]:
        """Of each act, how far it moves the next token's distribution on sentences."""
        found = apart(self.units, len(self.tested.vectors), len(self.acts))
        sentences, nil = [str(number) for number in range(SENTENCES)], np.zeros(SENTENCES)
        out = []
        for j, act in enumerate(self.acts):
            lost = int((~np.isfinite(found[0, j])).sum())
            moved = self.effect(mean_of(found[:, j], nil), sentences)
            near = moved.level.value is not None and moved.level.value <= self.settings.kl_bound and not lost
            out.append(
                {
                    **act._asdict(),
                    "near": near,
                    "n_not_finite": lost,
                    "kl": moved.level.to_json(),
                    "controls_kl": moved.controls.to_json(),
                }
            )
        return out

    def replayed(self, scope: ScopeName, held_out: Sequence[Json]) -> Json:
        rows = replayed_rows(self.units, self.numbers, scope)
        odds, kl, plain = log_odds(rows, len(self.tested.vectors), len(self.acts))
        steered = np.array([row.n_tokens > 0 for row in rows])
        own = self.towards
        cells, usable = [], []
        nil = np.zeros(len(rows))
        removed = self.effect(mean_of(components(rows, len(self.tested.vectors)), nil))
        for j, act in enumerate(self.acts):
            lost = int((~np.isfinite(odds[0, j, steered])).sum())
            moved = self.effect(mean_of(kl[:, j], nil))
            near = moved.level.value is not None and moved.level.value <= self.settings.kl_bound
            within = near and not lost and held_out[j]["near"]
            usable.append(within)
            beside: Json = {}
            if act.operator == "project":
                beside["removed"] = {
                    "direction": removed.level.to_json(),
                    "controls": removed.controls.to_json(),
                    "controls_95": removed.to_json()["controls_95"],
                }
                beside["own_out"] = self.effect(mean_of(own_out(rows, odds[0, j]) * own, plain * own)).to_json()
            cells.append(
                {
                    **act._asdict(),
                    **beside,
                    "usable": within,
                    "n_not_finite": lost,
                    "log_odds": self.effect(
                        mean_of(odds[:, j] * own, plain * own)
                        if act.operator == "project"
                        else mean_of(odds[:, j], plain)
                    ).to_json(),
                    "kl": moved.level.to_json(),
                    "controls_kl": moved.controls.to_json(),
                }
            )
        return {
            "n": int(steered.sum()),
            "without_a_token": [number for number, is_in in zip(self.numbers, steered, strict=True) if not is_in],
            "doses": cells,
            "slope": self._slope(odds, plain, usable),
        }

    def _slope(self, odds: np.ndarray, plain: np.ndarray, usable: Sequence[bool]) -> Json:
        chosen = [j for j, act in enumerate(self.acts) if act.operator == "add" and usable[j]]
        doses = np.array([self.acts[j].dose for j in chosen])
        if not chosen:
            return Estimate.undefined("no dose is within the usable range").to_json()
        moved = odds[:, chosen] - plain
        slopes = (moved * doses[None, :, None]).sum(axis=1) / (doses**2).sum()
        return {"doses": doses.tolist(), **self.effect(mean_of(slopes, np.zeros(len(plain)))).to_json()}

    def sampled(self, scope: ScopeName) -> list[Json]:
        out = []
        for act in self.acts:
            rows = self.units[cell_name(scope, act)].sampled
            own = [row for row in rows if row.direction == 0]
            keep = steered_cases(rows, self.numbers)
            missed = [number for number, is_in in zip(self.numbers, keep, strict=True) if not is_in]
            measures = {name: self._sampled(rows, name).to_json() for name in FACTS}
            out.append(
                {
                    **act._asdict(),
                    "n": int(keep.sum()),
                    "n_not_finite": sum(row.finish == "not_finite" for row in own),
                    "n_without_a_token": len(missed),
                    "without_a_token": missed,
                    **measures,
                }
            )
        return out

    def _sampled(self, rows: Sequence[Sampled], name: str, keep: np.ndarray | None = None) -> Effect:
        """Of cases whose rollout under the tested direction was steered at all; of some of them."""
        measured = sampled_measure(rows, self.units[PLAIN].sampled, self.numbers, len(self.tested.vectors), name)
        steered = steered_cases(rows, self.numbers)
        return self._kept(measured, steered if keep is None else steered & keep)

    def _kept(self, measured: Measured, keep: np.ndarray) -> Effect:
        if not keep.any():
            return nothing(UNSTEERED)
        groups = [group for group, is_in in zip(self.subject.groups, keep, strict=True) if is_in]
        return self.effect(only(measured, keep), groups)

    def map(self) -> Json:
        if not self.mapped:
            return Estimate.undefined("no map was asked for, or the direction is of one layer only").to_json()
        odds: list[list[float | None]] = []
        far: list[list[float | None]] = []
        controls: list[list[float | None]] = []
        missing: list[Json] = []
        project = np.array([act.operator == "project" for act in self.acts])
        for direction in self.mapped:
            rows = {row.rollout: row for row in self.units[f"map/{direction.layer}"].mapped}
            values, kl = (
                np.array([getattr(rows[number], name) for number in self.numbers], dtype=float)
                for name in ("log_odds", "kl")
            )
            plain = np.array([rows[number].plain for number in self.numbers], dtype=float)
            known = np.isfinite(plain)
            moved = (values - plain[:, None]) * np.where(project, self.towards[:, None], 1.0)
            odds.append(_means(moved[known]))
            far.append(_means(kl[known]))
            controls.append(self._largest([rows[number].controls for number in self.numbers], plain))
            for act, value in zip(self.acts, odds[-1], strict=True):
                if value is None:
                    why = "log-odds are NaN or infinite under it" if known.any() else UNKNOWN
                    missing.append({"layer": direction.layer, **act._asdict(), "reason": why})
        recorded = self.subject.source.recorded.layers
        return {
            "layers": [direction.layer for direction in self.mapped],
            "acts": [act._asdict() for act in self.acts],
            "log_odds": odds,
            "kl": far,
            "controls": {"n": min(MAP_CONTROLS, self.settings.controls), "largest": controls},
            "missing": missing,
            "n_items": len(self.numbers),
            "without_log_odds": sorted(
                {
                    row.rollout
                    for direction in self.mapped
                    for row in self.units[f"map/{direction.layer}"].mapped
                    if row.plain is None
                }
            ),
            "not_recorded": [n for n in range(self.subject.loaded.info.n_layers) if n not in recorded],
        }

    def _largest(self, values: Sequence[Sequence[Sequence[float | None]]], plain: np.ndarray) -> list[float | None]:
        """Of each act, the largest mean change, in size, along any control of values [case][control][act]; with its
        sign.
        """
        found = np.array(values, dtype=float).reshape(len(values), -1, len(self.acts))
        if not found.shape[1]:
            return [None] * len(self.acts)
        project = np.array([act.operator == "project" for act in self.acts])
        signs = np.where(project, self.towards[:, None], 1.0)
        means = [_means(((found[:, c] - plain[:, None]) * signs)[np.isfinite(plain)]) for c in range(found.shape[1])]
        known = [[each for each in column if each is not None] for column in zip(*means, strict=True)]
        return [max(column, key=abs) if len(column) == found.shape[1] else None for column in known]

    def causal(self, replayed: Json, sampled: Json) -> list[Json]:
        """Scope x what is done: the largest usable dose of each sign, and projecting out."""
        out = []
        for scope in SCOPES:
            for name, fits in (
                ("add", lambda act: act.operator == "add" and act.dose > 0),
                ("subtract", lambda act: act.operator == "add" and act.dose < 0),
                ("project out", lambda act: act.operator == "project"),
            ):
                known = [j for j, act in enumerate(self.acts) if fits(act)]
                usable = [j for j in known if replayed[scope]["doses"][j]["usable"]]
                if not known:
                    continue
                j = (
                    max(usable, key=lambda j: abs(self.acts[j].dose))
                    if usable
                    else min(known, key=lambda j: abs(self.acts[j].dose))
                )
                cell = sampled[scope][j]
                out.append(
                    {
                        "scope": scope,
                        "what": name,
                        "dose": self.acts[j].dose,
                        "usable": bool(usable),
                        "log_odds": replayed[scope]["doses"][j]["log_odds"],
                        **{key: cell[key] for key in ("acts", "same", "verbalised", "accuracy", "invalid")},
                    }
                )
        return out

    def by_verdict(self, replayed: Json, sampled: Json) -> dict[str, Json]:
        """The link's column: what the chain of the run's own rollout says, by the headline classifier -> P(acts) under
        projecting out of both, against without steering: both sampled anew from seeds that played no part in choosing
        the items. Where that takes the model out of the usable range, nothing is said of the choice.
        """
        j, act = next((j, act) for j, act in enumerate(self.acts) if act.operator == "project")
        lost = max(replayed["both"]["doses"][j]["n_not_finite"], sampled["both"][j]["n_not_finite"])
        if lost or not replayed["both"]["doses"][j]["usable"]:
            broken = f" (NaN or infinity in {lost} item{'s' * (lost != 1)})" if lost else ""
            why = f"not tested: projected out of think and answer, the model is outside the usable range{broken}"
            return dict.fromkeys(VERDICTS, Estimate.undefined(why).to_json())
        rows, said = self.units[cell_name("both", act)].sampled, self.subject.said
        out: dict[str, Json] = {}
        for verdict in VERDICTS:
            keep = np.array([said.get(number) == verdict for number in self.numbers])
            if not keep.any():
                none = f"no steered item's rollout acted on the policy with a chain that is {verdict}"
                out[verdict] = Estimate.undefined(none).to_json()
            else:
                out[verdict] = self._sampled(rows, "acts", keep).to_json()
        return out


def steering_section(
    subject: Subject, tested: Tested, settings: SteerSettings, mapped: Sequence[Direction], units: Units
) -> Json:
    """The whole section, from a log that is complete."""
    making = _Making(subject, tested, settings, mapped, units)
    held_out = making.held_out()
    replayed: Json = {scope: making.replayed(scope, held_out) for scope in SCOPES}
    sampled: Json = {scope: making.sampled(scope) for scope in SCOPES}
    direction = tested.direction
    steps = [row.step for unit in units.values() for row in unit.replayed if row.step is not None]
    section = {
        "direction": {
            "recipe": direction.recipe,
            "made": direction.made,
            "site": direction.site,
            "layer": direction.layer,
            "position": tested.position,
            "norm": round(direction.norm, 6),
            "typical_norm": round(tested.typical, 6),
            "sha256": hashlib.sha256(direction.vector.tobytes()).hexdigest(),
        },
        "controls": {"random": tested.kinds.count("random"), "orthogonal": tested.kinds.count("orthogonal")},
        "n_items": len(subject.cases),
        "n_groups": len(set(subject.groups)),
        "n_test": subject.n_test,
        "control_items": min(settings.control_items, len(subject.cases)),
        "kl_bound": settings.kl_bound,
        "engine": subject.backend.name,
        "scores": {"head": subject.loaded.info.dtype if steps else "float32", "step": max(steps, default=None)},
        "verdict_classifier": subject.classifier,
        "policy": subject.task.policy,
        "held_out": {"request": REQUEST, "n_sentences": SENTENCES, "doses": held_out},
        "replayed": replayed,
        "sampled": sampled,
        "map": making.map(),
        "causal": making.causal(replayed, sampled),
        "by_verdict": making.by_verdict(replayed, sampled),
    }
    return {**section, "sentences": sentences(section)}


def _means(values: np.ndarray) -> list[float | None]:
    """Mean over cases of each act, [case, act]; None where a case has no number, or there is none."""
    return [
        round(float(column.mean()), 6) if len(column) and np.isfinite(column).all() else None for column in values.T
    ]

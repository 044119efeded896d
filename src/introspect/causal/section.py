"""The `steering` section of results.json, and the link's causal column."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..stats import Estimate
from ..steering import Direction
from ..verdicts import VERDICTS
from .arms import FACTS, Units, log_odds, mean_of, only, replayed_rows, sampled_measure, spoken_nats
from .effects import Effect, Measured, effect
from .log import PLAIN, Sampled, cell_name
from .sentences import sentences
from .settings import SCOPES, ScopeName, SteerSettings
from .subject import Subject
from .vectors import Tested

Json = dict[str, Any]


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

    def replayed(self, scope: ScopeName) -> Json:
        rows = replayed_rows(self.units, self.numbers, scope)
        odds, kl, plain = log_odds(rows, len(self.tested.vectors), len(self.acts))
        steered = np.array([row.n_tokens > 0 for row in rows])
        own = self.towards
        cells, usable = [], []
        for j, act in enumerate(self.acts):
            lost = int((~np.isfinite(odds[0, j, steered])).sum())
            apart = self.effect(mean_of(kl[:, j], np.zeros(len(rows))))
            within = apart.level.value is not None and apart.level.value <= self.settings.kl_bound and not lost
            usable.append(within)
            cells.append(
                {
                    **act._asdict(),
                    "usable": within,
                    "n_not_finite": lost,
                    "log_odds": self.effect(
                        mean_of(odds[:, j] * own, plain * own)
                        if act.operator == "project"
                        else mean_of(odds[:, j], plain)
                    ).to_json(),
                    "kl": apart.level.to_json(),
                    "controls_kl": apart.controls.to_json(),
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
        said = spoken_nats(self.units, self.numbers, None, None)
        out = []
        for act in self.acts:
            rows = self.units[cell_name(scope, act)].sampled
            own = [row for row in rows if row.direction == 0]
            measures = {name: self._sampled(rows, name).to_json() for name in FACTS}
            spoken = spoken_nats(self.units, self.numbers, scope, act)
            out.append(
                {
                    **act._asdict(),
                    "n": len(own),
                    "n_not_finite": sum(row.finish == "not_finite" for row in own),
                    "n_without_a_token": sum(row.steered_tokens == 0 for row in own),
                    "without_a_token": [row.rollout for row in own if row.steered_tokens == 0],
                    **measures,
                    "nats": self.effect(mean_of(spoken[None], said)).to_json(),
                }
            )
        return out

    def _sampled(self, rows: Sequence[Sampled], name: str, keep: np.ndarray | None = None) -> Effect:
        measured = sampled_measure(rows, self.units[PLAIN].sampled, self.numbers, len(self.tested.vectors), name)
        groups = self.subject.groups
        if keep is not None:
            measured = only(measured, keep)
            groups = [group for group, is_in in zip(groups, keep, strict=True) if is_in]
        return self.effect(measured, groups)

    def map(self) -> Json:
        if not self.mapped:
            return Estimate.undefined("no map was asked for, or the direction is of one layer only").to_json()
        odds, apart = [], []
        for direction in self.mapped:
            rows = {row.rollout: row for row in self.units[f"map/{direction.layer}"].mapped}
            values = np.array([rows[number].log_odds for number in self.numbers], dtype=float)
            plain = np.array([rows[number].plain for number in self.numbers])
            project = np.array([act.operator == "project" for act in self.acts])
            moved = _finite_means((values - plain[:, None]) * np.where(project, self.towards[:, None], 1.0))
            odds.append(moved)
            apart.append(_finite_means(np.array([rows[number].kl for number in self.numbers], dtype=float)))
        return {
            "layers": [direction.layer for direction in self.mapped],
            "acts": [act._asdict() for act in self.acts],
            "log_odds": odds,
            "kl": apart,
        }

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

    def by_verdict(self) -> dict[str, Json]:
        """The link's column: verdict of the run's own rollout -> change of P(acts), projected out of both, beyond the
        controls.
        """
        act = next(act for act in self.acts if act.operator == "project")
        rows = self.units[cell_name("both", act)].sampled
        verdicts = [_verdict(self.subject, case.rollout) for case in self.subject.cases]
        out: dict[str, Json] = {}
        for verdict in VERDICTS:
            keep = np.array(
                [
                    said == verdict and bool(case.rollout.acted)
                    for said, case in zip(verdicts, self.subject.cases, strict=True)
                ]
            )
            if not keep.any():
                none = f"no steered item's rollout acted on the policy with a chain that is {verdict}"
                out[verdict] = Estimate.undefined(none).to_json()
            else:
                out[verdict] = self._sampled(rows, "acts", keep).beyond.to_json()
        return out


def steering_section(
    subject: Subject, tested: Tested, settings: SteerSettings, mapped: Sequence[Direction], units: Units
) -> Json:
    """The whole section, from a log that is complete."""
    making = _Making(subject, tested, settings, mapped, units)
    replayed: Json = {scope: making.replayed(scope) for scope in SCOPES}
    sampled: Json = {scope: making.sampled(scope) for scope in SCOPES}
    direction, plain = tested.direction, units[PLAIN].sampled
    stored = {case.rollout.rollout: case.rollout.completion_ids for case in subject.cases}
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
        "same_as_the_run": sum(stored[row.rollout] == row.completion_ids for row in plain),
        "policy": subject.task.policy,
        "replayed": replayed,
        "sampled": sampled,
        "map": making.map(),
        "causal": making.causal(replayed, sampled),
        "by_verdict": making.by_verdict(),
    }
    return {**section, "sentences": sentences(section)}


def _verdict(subject: Subject, rollout: Rollout) -> str | None:
    found = lexical_verdict(subject.task, rollout)
    return None if found is None else found.verdict


def _finite_means(values: np.ndarray) -> list[float | None]:
    """Mean over cases of each act, [case, act]; None where a case has no number."""
    return [round(float(column.mean()), 6) if np.isfinite(column).all() else None for column in values.T]

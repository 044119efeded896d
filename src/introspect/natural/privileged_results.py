"""How well a model's answers are predicted by itself, and from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cells import Done, Row
from ..errors import EstimateError
from ..stats import CHANCE, Estimate, auroc, newcombe_interval
from ..tables import line_of, table
from .hypothetical import PROPERTIES
from .measures import apart, bootstrap_many, wilson_of
from .parts import UNKNOWN, UNTESTED, Claim, coarse, figure, finding, said, settled
from .predicting import likely, prevalent

if TYPE_CHECKING:
    from .privileged import PrivilegedAccessStudy

FEWEST = 15
"""Questions of a family that were answered, below which nothing is estimated."""
SELF = "the model itself"
OTHER_SAYS = "another model, asked what it would answer"
OTHER_DOES = "another model's own answers"
OUTSIDE = {"frequent": "the more frequent value", "words": "words, fitted on its other answers"}


class Family(NamedTuple):
    """Of one family, columns over the questions whose answer has the property or not."""

    name: str
    things: list[str]
    holds: np.ndarray
    """bool [row]."""
    scores: dict[str, np.ndarray]
    """Predictor -> how far it is on the side of True [row]; 0 is undecided. The model's own is first."""

    def right(self) -> np.ndarray:
        """Whether each predictor is right, undecided counting half: [predictor, row]."""
        return np.array([np.where(s == 0, 0.5, (s > 0) == self.holds) for s in self.scores.values()])


def found_of(study: PrivilegedAccessStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    own = [row for unit in done for row in unit if row["kind"] == "own"]
    other = [row for unit in done for row in unit if row["kind"] == "other"]
    families, small = [], []
    for name in study.spec.families:
        made = _family(study, name, own, other)
        if isinstance(made, str):
            small.append(made)
        else:
            families.append(made)
    estimates = {each.name: _estimates(study, each) for each in families}
    areas = {each.name: _areas(study, each) for each in families}
    predictors = list(families[0].scores) if families else [SELF, *OUTSIDE.values()]
    criterion = "privileged access" if study.has_other else "beyond frequency and words"
    verdict = settled([_claim(criterion, each, estimates[each.name], predictors) for each in families])
    verdict += [finding(f"{criterion}, {name}", UNKNOWN, each) for name, each in _named(small)]
    if not study.has_other:
        verdict.append(
            finding(
                "privileged access",
                UNKNOWN,
                "no other model was asked: one that reads the same questions may predict what these do not",
            )
        )
    verdict.append(
        finding("meta", UNTESTED, "a property is asked for; whether anything stands for the model itself is open")
    )
    unanswered = sum(row["holds"] is None for row in own)
    masses = [row["mass"] for row in own]
    return {
        "facts": {
            **{
                f"{each.name}: share of answers that are {PROPERTIES[each.name][0]}": round(float(each.holds.mean()), 3)  # type: ignore[index]
                for each in families
            },
            "other model": (study.spec.other or study.spec.model) if study.has_other else "none",
            "mean probability of answering with a value": round(float(np.mean(masses)), 4) if masses else "none",
        },
        "tables": [_accuracy_table(families, estimates), _area_table(families, areas)],
        "figures": [
            figure(
                "Own answers predicted: accuracy, by family of questions",
                ("", "accuracy"),
                {
                    predictor: {name: each[i] for name, each in estimates.items()}
                    for i, predictor in enumerate(predictors)
                },
                kind="points",
            )
        ]
        if families
        else [],
        "verdict": verdict,
        "counts": {"n_questions": len(own), "n_without_property": unanswered},
        "sentences": _sentences(study, estimates, predictors, small),
        "warnings": [*_warnings(families, small, unanswered, masses), *coarse(study.loaded.info.dtype)],
    }


def _named(small: list[str]) -> list[tuple[str, str]]:
    return [(each.partition(":")[0], each) for each in small]


def _score(row: Row) -> float:
    values = [value for value in row["log_odds"] if value is not None]
    return float(np.mean(values)) if values else 0.0


def _family(study: PrivilegedAccessStudy, name: str, own: list[Row], other: list[Row]) -> Family | str:
    """The columns of a family, or why there are none."""
    rows = [row for row in own if row["family"] == name and row["holds"] is not None]
    if len(rows) < FEWEST:
        return f"{name}: {len(rows)} questions were answered, and at least {FEWEST} are needed"
    things, holds = [row["thing"] for row in rows], np.array([row["holds"] for row in rows], dtype=bool)
    folds, seed = study.spec.folds, study.spec.seed
    scores = {SELF: np.array([_score(row) for row in rows])}
    try:
        scores[OUTSIDE["frequent"]] = prevalent(holds, things, folds=folds, seed=seed) - 0.5
        scores[OUTSIDE["words"]] = likely(things, holds, things, folds=folds, seed=seed) - 0.5
    except EstimateError as error:
        return f"{name}: {error}"
    if study.has_other:
        beside = {row["thing"]: row for row in other if row["family"] == name}
        there = [beside[thing] for thing in things]
        scores[OTHER_SAYS] = np.array([_score(row) for row in there])
        does = {None: 0.0, True: 1.0, False: -1.0}
        scores[OTHER_DOES] = np.array([does[row["holds"]] for row in there])
    return Family(name, things, holds, scores)


def _estimates(study: PrivilegedAccessStudy, family: Family) -> list[Estimate]:
    """Accuracy of each predictor; then of the best from outside, looked for in every replicate and at least chance; and
    the model's own beyond that.
    """
    right = family.right()

    def of(rows: np.ndarray) -> np.ndarray:
        shares = right[:, rows].mean(axis=1)
        best = max(CHANCE, shares[1:].max())
        return np.array([*shares, best, shares[0] - best])

    wider = [*[wilson_of(len(family.things))] * (len(right) + 1), None]
    found = bootstrap_many(of, family.things, n=study.spec.bootstrap, seed=study.spec.seed, wider=wider)
    return [*found[:-1], apart(found[-1], found[0], found[-2])]


def _areas(study: PrivilegedAccessStudy, family: Family) -> list[Estimate]:
    """AUROC of the model's own log-odds and of each from outside that orders questions; its own beyond the best."""
    chosen = [name for name in family.scores if name != OUTSIDE["frequent"]]

    def of(rows: np.ndarray) -> np.ndarray:
        try:
            values = [auroc(family.scores[name][rows], family.holds[rows]) for name in chosen]
        except EstimateError:
            return np.full(len(chosen) + 1, np.nan)
        return np.array([*values, values[0] - max(CHANCE, *values[1:])])

    n_true = int(family.holds.sum())

    def newcombe(value: float) -> tuple[float, float]:
        return newcombe_interval(value, n_true, len(family.holds) - n_true)

    wider = [*[newcombe] * len(chosen), None]
    found = bootstrap_many(of, family.things, n=study.spec.bootstrap, seed=study.spec.seed, wider=wider)
    best = max(found[1:-1], key=lambda each: each.value or 0.0)
    return [*found[:-1], apart(found[-1], found[0], best)]


def _accuracy_table(families: list[Family], estimates: dict[str, list[Estimate]]) -> dict[str, Any]:
    predictors = list(families[0].scores) if families else [SELF]
    return table(
        "Own answers predicted, accuracy",
        "Share of questions whose answer's property is predicted. From outside: fitted on the model's answers to other "
        "questions only. The best of them is looked for again in every replicate, and is at least chance. Intervals "
        "over questions.",
        [*((name, "share") for name in predictors), ("best from outside", "share"), ("itself beyond that", "number")],
        [line_of(name, each, f"{len(_of(families, name).things)} questions") for name, each in estimates.items()],
    )


def _area_table(families: list[Family], areas: dict[str, list[Estimate]]) -> dict[str, Any]:
    chosen = [name for name in families[0].scores if name != OUTSIDE["frequent"]] if families else [SELF]
    return table(
        "Own answers predicted, AUROC",
        "Whether questions with the property get the higher log-odds: leaning to one value does not lower it. Chance "
        "is .5.",
        [*((name, "number") for name in chosen), ("itself beyond the best from outside", "number")],
        [line_of(name, each) for name, each in areas.items()],
    )


def _of(families: list[Family], name: str) -> Family:
    return next(each for each in families if each.name == name)


def _claim(criterion: str, family: Family, each: list[Estimate], predictors: list[str]) -> Claim:
    gap = each[-1]
    return Claim(
        f"{criterion}, {family.name}",
        [(gap, 0.0)],
        len(family.things),
        f"accuracy {said(each[0])}, of the best of {len(predictors) - 1} from outside {said(each[-2])}, beyond it "
        f"{said(gap)}",
    )


def _sentences(
    study: PrivilegedAccessStudy, estimates: dict[str, list[Estimate]], predictors: list[str], small: list[str]
) -> list[str]:
    out = [
        f"{name}: asked without answering, the model predicts the property of its own answer in {said(each[0])} of "
        f"questions; the best from outside in {said(each[-2])}. Itself beyond that: {said(each[-1])}."
        for name, each in estimates.items()
    ]
    out += [f"{each}: nothing is estimated." for each in small]
    if not study.has_other:
        out.append(
            "Another model that is asked the same: not tested, so that nothing is said of privileged access. Give an "
            "organism, or set other."
        )
    out.append(
        "A prediction that goes beyond those from outside goes beyond these: a larger model, or one that was fitted "
        "on more of the same answers, might do better. Models were not trained to predict themselves."
    )
    return out


def _warnings(families: list[Family], small: list[str], unanswered: int, masses: list[float]) -> list[str]:
    out = [f"Too small to say anything: {each}." for each in small]
    for each in families:
        share = float(each.holds.mean())
        if min(share, 1 - share) < 0.1:
            out.append(
                f"{each.name}: {max(share, 1 - share):.0%} of answers have one value; naming it always is hard to beat."
            )
        if len(each.things) < 100:
            out.append(f"{each.name}: {len(each.things)} questions are few; a gain of a tenth may well be missed.")
    if unanswered:
        out.append(f"{unanswered} questions have no answer whose property can be read, and are left out.")
    if masses and float(np.mean(masses)) < 0.5:
        out.append(
            f"Only {np.mean(masses):.2f} of the probability is on the two values: the model hardly answers with one."
        )
    return out

"""What neurofeedback found: labels reported, beside shuffled labels and words; projections shifted on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cells import Done, Row
from ..stats import CHANCE, Estimate
from .measures import Statistic, accuracy, area, best_of, effect_size, minus, two_way
from .parts import UNTESTED, above, coarse, figure, finding, line_of, said, table
from .sentences import one_of_each
from .text_labels import CLASSIFIERS, tfidf_logistic

if TYPE_CHECKING:
    from .neurofeedback import NeurofeedbackStudy

Key = tuple[str, str]
"""Direction and arrangement."""
ENOUGH = 30
"""Held-out sentences below which a warning says that they are few."""


class Report(NamedTuple):
    """Of one direction and number of examples: estimates of labels that are reported."""

    right: Estimate
    dealt_again: Estimate
    words: Estimate
    beyond_dealt: Estimate
    beyond_words: Estimate
    area: Estimate
    words_area: Estimate
    beyond_words_area: Estimate


class Shift(NamedTuple):
    """Of one direction: Cohen's d of its own projection."""

    own: Estimate
    dealt_again: Estimate
    beyond_dealt: Estimate
    beyond_random: Estimate
    p: float | None
    """Rank among directions drawn at random, of sizes."""


class Found:
    """The rows of a study, by what they are about."""

    def __init__(self, study: NeurofeedbackStudy, done: Done) -> None:
        self.spec = study.spec
        rows = [row for unit in done for row in unit]
        alone = [row for row in rows if row["kind"] == "alone"]
        self.fitted = [row for row in alone if not row["held_out"]]
        self.held = [row for row in alone if row["held_out"]]
        self.pairs = [row["pair"] for row in self.held]
        self.names = list(study.labelling_names)
        self.by: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            if row["kind"] != "alone":
                self.by.setdefault((row["kind"], row["direction"], row["arrangement"]), []).append(row)

    def labels(self, name: str) -> np.ndarray:
        """Of the held-out sentences, bool [sentence]."""
        at = self.names.index(name)
        return np.array([bool(row["labels"][at]) for row in self.held])

    def scores(self, name: str, arrangement: str, k: int) -> np.ndarray:
        """Log-odds that the model gives, [context, sentence]; 0 where it gives no numbers."""
        rows = [row for row in self.by["report", name, arrangement] if row["k"] == k]
        return np.array([[0.0 if v is None else v for v in row["log_odds"]] for row in rows])

    def words(self, name: str, k: int) -> list[np.ndarray]:
        """Scores of each text classifier that sees the same examples, [context, sentence]."""
        new = [row["text"] for row in self.held]
        rows = [row for row in self.by["report", name, "true"] if row["k"] == k]
        return [
            np.array(
                [
                    classify(
                        [self.fitted[i]["text"] for i in row["examples"]], np.array(row["labels"], dtype=bool), new
                    )
                    for row in rows
                ]
            )
            for classify in CLASSIFIERS.values()
        ]

    def estimate(
        self, statistic: Statistic, n_contexts: int, groups: list[Any] | None = None, *, share: bool = False
    ) -> Estimate:
        """With its interval over contexts and pairs of sentences. `share`: between 0 and 1, and widened there."""
        over = self.pairs if groups is None else groups
        return two_way(statistic, n_contexts, over, n=self.spec.bootstrap, seed=self.spec.seed, share=share)


def found_of(study: NeurofeedbackStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    found, spec = Found(study, done), study.spec
    reports = {(name, k): _report(found, name, k) for name in found.names for k in spec.examples}
    control = spec.control.contexts > 0
    implicit = {name: _shift(found, name, "implicit") for name in found.names} if control else {}
    explicit = (
        {name: _shift(found, name, "explicit") for name in found.names} if control and spec.control.written else {}
    )
    most = max(spec.examples)
    rows = [row for unit in done for row in unit if row["kind"] == "report"]
    masses = [m for row in rows for m in row["mass"] if m is not None]
    n_missing = sum(v is None for row in rows for v in row["log_odds"])
    tables = [_reported(found, reports), _readable(found)]
    if control:
        tables.append(_shifted(found, implicit))
    if explicit:
        tables.append(_written(found, explicit))
    verdict = [_report_verdict(name, reports[name, most], most) for name in found.names if not _drawn(name)]
    verdict += [_shift_verdict(name, each) for name, each in implicit.items() if not _drawn(name)]
    verdict.append(
        finding(
            "meta",
            UNTESTED,
            "labels are reported and shifted; whether anything stands for the state as its own is open",
        )
    )
    return {
        "facts": {
            "layer": study.layer,
            "sentences that label": len(found.fitted),
            "sentences held out": len(found.held),
            "sets of examples, report": spec.contexts,
            "sets of examples, control": spec.control.contexts,
            "examples in context": ", ".join(map(str, spec.examples)),
            "mean probability of answering 0 or 1": round(float(np.mean(masses)), 4) if masses else "none",
        },
        "tables": tables,
        "figures": _figures(found, reports),
        "verdict": verdict,
        "counts": {"n_labels_asked": sum(len(row["log_odds"]) for row in rows), "n_not_finite": n_missing},
        "sentences": _sentences(found, reports, implicit, most),
        "warnings": [*_warnings(found, masses, n_missing), *coarse(study.loaded.info.dtype)],
    }


def _drawn(name: str) -> bool:
    return name.startswith("random")


def _report(found: Found, name: str, k: int) -> Report:
    labels = found.labels(name)
    own, dealt, words = found.scores(name, "true", k), found.scores(name, "shuffled", k), found.words(name, k)
    n = len(own)
    right, dealt_right, area_ = accuracy(own, labels), accuracy(dealt, labels), area(own, labels)
    best = best_of([accuracy(each, labels) for each in words])
    best_area = best_of([area(each, labels) for each in words])
    each = (
        right,
        dealt_right,
        best,
        minus(right, dealt_right),
        minus(right, best),
        area_,
        best_area,
        minus(area_, best_area),
    )
    shares = (True, True, True, False, False, True, True, False)
    return Report(*(found.estimate(one, n, share=share) for one, share in zip(each, shares, strict=True)))


def _reported(found: Found, reports: dict[tuple[str, int], Report]) -> dict[str, Any]:
    return table(
        "Labels of new sentences, by direction and number of examples",
        "Accuracy of the label with the larger log-odds, either label counted half (chance 50%). Examples dealt out "
        "again: the same sentences, their labels shuffled. Words: the best of "
        f"{len(CLASSIFIERS)} classifiers that see the same examples ({'; '.join(CLASSIFIERS)}), looked for again in "
        "every replicate, and at least chance. AUROC needs no threshold: leaning to one label does not lower it.",
        [
            ("model", "share"),
            ("labels dealt out again", "share"),
            ("best of words", "share"),
            ("beyond labels dealt out again", "number"),
            ("beyond words", "number"),
            ("AUROC of the model", "number"),
            ("AUROC of words", "number"),
            ("beyond words, AUROC", "number"),
        ],
        [line_of(f"{name}, {k} examples", list(each)) for (name, k), each in reports.items()],
    )


def _readable(found: Found) -> dict[str, Any]:
    feature = np.array([row["feature"] for row in found.held])
    texts, new = [row["text"] for row in found.fitted], [row["text"] for row in found.held]
    lines = []
    for at, name in enumerate(found.names):
        fitted = np.array([bool(row["labels"][at]) for row in found.fitted])
        scores = np.asarray(tfidf_logistic(texts, fitted, new))[None]
        labels = found.labels(name)
        same = accuracy(np.where(feature, 1.0, -1.0)[None], labels)
        lines.append(
            line_of(
                name,
                [found.estimate(area(scores, labels), 1, share=True), found.estimate(same, 1, share=True)],
                f"{int(labels.sum())} of {len(labels)} held-out sentences have label 1",
            )
        )
    return table(
        "How far a label can be read in words at all",
        f"TF-IDF and logistic regression fitted on all {len(found.fitted)} labelled sentences, on those held out; and "
        "how often the label is that of the feature in which the sentences of a pair differ.",
        [("AUROC of words, all examples", "number"), ("agreement with the feature", "share")],
        lines,
    )


def _projections(found: Found, name: str, arrangement: str, what: str, axis: int) -> np.ndarray:
    """[target, context, sentence], NaN where there is none."""
    rows = found.by["control", name, arrangement]
    contexts = sorted({row["context"] for row in rows})
    most = max((len(row[what]) for row in rows), default=0)
    out = np.full((2, len(contexts), most), np.nan)
    for row in rows:
        for i, each in enumerate(row[what]):
            if each is not None:
                out[row["target"], contexts.index(row["context"]), i] = each[axis]
    return out


def _groups(found: Found, what: str, n: int) -> list[Any]:
    return [found.pairs[i] for i in one_of_each(found.pairs)[:n]] if what == "implicit" else list(range(n))


def _shift(found: Found, name: str, what: str) -> Shift:
    axis = found.names.index(name)
    own = _projections(found, name, "true", what, axis)
    n, groups = own.shape[1], _groups(found, what, own.shape[2])
    d = effect_size(own)
    dealt = effect_size(_projections(found, name, "shuffled", what, axis))
    first = len(found.names)
    drawn = [effect_size(_projections(found, name, "true", what, first + i)) for i in range(found.spec.control.random)]

    def sizes(contexts: np.ndarray, sentences: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([np.abs(each(contexts, sentences)) for each in drawn], axis=0))

    estimates = [found.estimate(each, n, groups) for each in (d, dealt, minus(d, dealt), minus(d, sizes))]
    ones = np.ones((1, n)), np.ones((1, own.shape[2]))
    here, null = abs(d(*ones)[0]), np.array([abs(each(*ones)[0]) for each in drawn])
    p = float((1 + (null >= here).sum()) / (1 + len(null))) if np.isfinite(here) else None
    return Shift(estimates[0], estimates[1], estimates[2], estimates[3], p)


SHIFT_COLUMNS = (
    "own projection",
    "labels dealt out again",
    "beyond labels dealt out again",
    "beyond random directions",
)


def _shift_line(name: str, each: Shift, more: list[Estimate]) -> dict[str, Any]:
    note = "" if each.p is None else f"size among random directions: p = {each.p:.2g}"
    return line_of(name, [*each[:4], *more], note)


def _shifted(found: Found, implicit: dict[str, Shift]) -> dict[str, Any]:
    return table(
        "Implicit control: a fixed sentence after a request for label 1, against one for label 0",
        "Cohen's d of the sentence's own projection, in pooled standard deviations over sentences and sets of "
        "examples; the sentence's tokens are the same under both requests. The digit in the request differs, and moves "
        "activations whatever the examples say: with labels dealt out again it stands alone. Random directions: the "
        f"mean size of d along {found.spec.control.random} of them in the same prompts.",
        [(each, "number") for each in SHIFT_COLUMNS],
        [_shift_line(name, each, []) for name, each in implicit.items()],
    )


def _written(found: Found, explicit: dict[str, Shift]) -> dict[str, Any]:
    lines = []
    for name, each in explicit.items():
        axis = found.names.index(name)
        own, again = (_projections(found, name, "true", what, axis) for what in ("explicit", "reread"))
        n, groups = own.shape[1], _groups(found, "explicit", own.shape[2])
        d, words = effect_size(own), effect_size(again)
        more = [found.estimate(words, n, groups), found.estimate(minus(d, words), n, groups)]
        lines.append(_shift_line(name, each, more))
    return table(
        "Explicit control: sentences that the model writes, label 1 asked for against label 0",
        "Cohen's d of the projection while the sentence is written, and of the same sentences read alone afterwards: "
        "the latter is what the words carry, and needs no state beyond them.",
        [*((each, "number") for each in SHIFT_COLUMNS), ("read alone", "number"), ("beyond read alone", "number")],
        lines,
    )


def _figures(found: Found, reports: dict[tuple[str, int], Report]) -> list[dict[str, Any]]:
    out = []
    for name in found.names:
        here = {k: each for (of, k), each in reports.items() if of == name}
        out.append(
            figure(
                f"Labels of {name}: accuracy by number of examples in context",
                ("examples in context", "balanced accuracy"),
                {
                    "model": {k: each.right for k, each in here.items()},
                    "model, labels dealt out again": {k: each.dealt_again for k, each in here.items()},
                    "best of words": {k: each.words for k, each in here.items()},
                },
                at=CHANCE,
            )
        )
    return out


def _report_verdict(name: str, each: Report, k: int) -> dict[str, str]:
    parts = [above([each.right], CHANCE), above([each.beyond_dealt, each.beyond_words])]
    overall = parts[1] if parts[0] == "supported" else parts[0]
    return finding(
        f"report of {name}",
        overall,
        f"with {k} examples the label's accuracy is {said(each.right)} (chance .50), beyond labels dealt out again "
        f"{said(each.beyond_dealt)}, beyond words {said(each.beyond_words)}",
    )


def _shift_verdict(name: str, each: Shift) -> dict[str, str]:
    return finding(
        f"control of {name}, same words",
        above([each.own, each.beyond_dealt, each.beyond_random]),
        f"d = {said(each.own)}, beyond labels dealt out again {said(each.beyond_dealt)}, beyond random directions "
        f"{said(each.beyond_random)}",
    )


def _sentences(
    found: Found, reports: dict[tuple[str, int], Report], implicit: dict[str, Shift], most: int
) -> list[str]:
    out = []
    for name in found.names:
        each = reports[name, most]
        out.append(
            f"{name}: with {most} examples in context, the label that the model gives to a new sentence is right "
            f"in {said(each.right)} (either label counted half); with labels dealt out again {said(each.dealt_again)}; "
            f"the best classifier of words given the same examples {said(each.words)}. Model minus words: "
            f"{said(each.beyond_words)}."
        )
    for name, shift in implicit.items():
        out.append(
            f"{name}: asked for label 1 rather than 0, activations on the same words shift by d = {said(shift.own)}; "
            f"with labels dealt out again by {said(shift.dealt_again)}."
        )
    if not implicit:
        out.append("Control: not tested.")
    out.append(
        "A label of what words carry can be given by reading them. Going beyond classifiers that have read nothing but "
        "the examples is no evidence of access to activations: a model that was trained on text reads better than "
        "they do. "
        "Another model's labels: not tested."
    )
    return out


def _warnings(found: Found, masses: list[float], n_missing: int) -> list[str]:
    out = []
    if len(found.held) < ENOUGH:
        out.append(
            f"{len(found.held)} held-out sentences are few: intervals are wide, and reach chance whatever is true."
        )
    if found.spec.contexts < 5 or 0 < found.spec.control.contexts < 5:
        out.append("Fewer than 5 sets of examples are held fixed: intervals say nothing of other examples.")
    if masses and float(np.mean(masses)) < 0.5:
        out.append(
            f"Only {np.mean(masses):.2f} of the probability is on 0 or 1: the model hardly answers with a label."
        )
    if n_missing:
        out.append(f"{n_missing} labels gave no numbers and count as undecided.")
    for name in found.names:
        labels = found.labels(name)
        if min(labels.sum(), (~labels).sum()) < 5:
            out.append(f"{name}: hardly any held-out sentence has one of the labels; its figures say little.")
    return out

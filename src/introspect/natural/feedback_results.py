"""What neurofeedback found: labels reported, beside shuffled labels and words; projections shifted on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..cells import Done
from ..stats import CHANCE, Estimate
from ..tables import line_of, table
from .feedback_found import Found, Report, Shift
from .measures import accuracy, area, effect_size, minus
from .parts import LEVEL, UNTESTED, Claim, Rank, coarse, figure, finding, said, settled
from .text_labels import CLASSIFIERS, tfidf_logistic

if TYPE_CHECKING:
    from .neurofeedback import NeurofeedbackStudy

ENOUGH = 30
"""Held-out sentences below which a warning says that they are few."""


def found_of(study: NeurofeedbackStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    found, spec = Found(study, done), study.spec
    reports = {(name, k): found.report(name, k) for name in found.names for k in spec.examples}
    control = spec.control.contexts > 0
    implicit = {name: found.shift(name, "implicit") for name in found.names} if control else {}
    explicit = {name: found.shift(name, "explicit") for name in found.names} if control and spec.control.written else {}
    most = max(spec.examples)
    rows = [row for unit in done for row in unit if row["kind"] == "report"]
    masses = [m for row in rows for m in row["mass"] if m is not None]
    n_missing = sum(v is None for row in rows for v in row["log_odds"])
    tables = [_reported(found, reports), _readable(found)]
    if control:
        tables.append(_shifted(found, implicit))
    if explicit:
        tables.append(_written(found, explicit))
    claims = [_report_claim(found, name, reports[name, most], most) for name in found.names if not _drawn(name)]
    claims += [_shift_claim(found, name, each) for name, each in implicit.items() if not _drawn(name)]
    verdict = settled(claims)
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
            **({"random directions": spec.control.random} if control else {}),
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


SHIFT_COLUMNS = (
    "own projection",
    "labels dealt out again",
    "beyond labels dealt out again",
    "beyond random directions",
)


def _shift_line(name: str, each: Shift, more: list[Estimate]) -> dict[str, Any]:
    note = "" if each.p is None else f"rank of its size among random directions: p = {each.p:.2g}"
    return line_of(name, [*each[:4], *more], note)


def _shifted(found: Found, implicit: dict[str, Shift]) -> dict[str, Any]:
    return table(
        "Implicit control: a fixed sentence after a request for label 1, against one for label 0",
        "Cohen's d of the sentence's own projection, in pooled standard deviations over sentences and sets of "
        "examples; the sentence's tokens are the same under both requests. The digit in the request differs, and moves "
        "activations whatever the examples say: with labels dealt out again it stands alone. Random directions: the "
        f"mean size of d along {found.spec.control.random} of them in the same prompts; and the rank of d's size among "
        "theirs, which a criterion has to pass as well: a direction that is one of them goes beyond their mean often.",
        [(each, "number") for each in SHIFT_COLUMNS],
        [_shift_line(name, each, []) for name, each in implicit.items()],
    )


def _written(found: Found, explicit: dict[str, Shift]) -> dict[str, Any]:
    lines = []
    for name, each in explicit.items():
        axis = found.names.index(name)
        own, again = (found.projections(name, "true", what, axis) for what in ("explicit", "reread"))
        n, groups = own.shape[1], found.groups("explicit", own.shape[2])
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


def _report_claim(found: Found, name: str, each: Report, k: int) -> Claim:
    return Claim(
        f"report of {name}",
        [(each.right, CHANCE), (each.beyond_dealt, 0.0), (each.beyond_words, 0.0)],
        found.n_resampled("report"),
        f"with {k} examples the label's accuracy is {said(each.right)} (chance .50), beyond labels dealt out again "
        f"{said(each.beyond_dealt)}, beyond words {said(each.beyond_words)}",
    )


def _shift_claim(found: Found, name: str, each: Shift) -> Claim:
    return Claim(
        f"control of {name}, same words",
        [(each.own, 0.0), (each.beyond_dealt, 0.0), (each.beyond_random, 0.0)],
        found.n_resampled("control"),
        f"d = {said(each.own)}, beyond labels dealt out again {said(each.beyond_dealt)}, beyond random directions "
        f"{said(each.beyond_random)}, rank among these p = {1.0 if each.p is None else each.p:.2g}",
        _rank(found, each.p),
    )


def _rank(found: Found, p: float | None) -> Rank:
    return Rank(1.0 if p is None else p, found.spec.control.random, "random directions", "control.random")


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
    n_tests = 2 * sum(not _drawn(name) for name in found.names)
    if found.spec.control.contexts and n_tests / (1 + found.spec.control.random) >= LEVEL:
        out.append(f"Control may come to nothing for want of draws: {_rank(found, None).lacks(n_tests)}.")
    if n_missing:
        out.append(f"{n_missing} labels gave no numbers and count as undecided.")
    for name in found.names:
        labels = found.labels(name)
        if min(labels.sum(), (~labels).sum()) < 5:
            out.append(f"{name}: hardly any held-out sentence has one of the labels; its figures say little.")
    return out

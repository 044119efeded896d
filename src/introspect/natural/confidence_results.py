"""What stated confidence goes with: the pass that answered, beside words; and being right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..cells import Done, Row
from ..errors import EstimateError
from ..probing.calibration import calibration_error
from ..stats import CHANCE, Estimate, auroc_estimate, increment_estimate, proportion
from ..tables import line_of, table
from .confidence_rows import Answers
from .measures import bootstrap_many, partial_ranks
from .parts import UNTESTED, Claim, coarse, figure, finding, said, settled
from .predicting import likely, out_of_fold

if TYPE_CHECKING:
    from .confidence import ConfidenceStudy

FEWEST = 20
"""Questions that gave numbers, below which nothing is estimated."""
ENOUGH = 100
"""Questions below which a warning says that they are few."""


def found_of(study: ConfidenceStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    rows = [row for unit in done for row in unit]
    whole = [row for row in rows if _is_whole(row)]
    counts = {"n_questions": len(rows), "n_not_finite": len(rows) - len(whole)}
    if len(whole) < FEWEST:
        few = f"{len(whole)} questions gave numbers throughout, and at least {FEWEST} are needed"
        return _nothing(study, counts, few)
    answers = Answers(study, whole)
    raw, partial, by_layer = _correlations(answers)
    gains = _gains(answers)
    calibration, gap = _calibration(answers)
    agreement = _agreement(answers)
    mass = float(np.mean([row["rating_mass"] for row in whole]))
    n_groups = len(set(answers.groups))
    by_question, area = gains["questions"], calibration["stated"][3]
    parts = [
        *((f"readable: {name}", each, 0.0, "partial rank correlation") for name, each in list(partial.items())[1:4]),
        ("beyond words, letter and length", by_question[2], 0.0, "gain in R2 over these"),
        ("goes with being right", area, CHANCE, "AUROC"),
        ("beyond the answer's own probability", gap, 0.0, "difference of AUROC"),
    ]
    verdict = [
        *settled([Claim(name, [(each, level)], n_groups, f"{what} {said(each)}") for name, each, level, what in parts]),
        finding("meta", UNTESTED, "a rating is asked for; whether anything stands for the state as its own is open"),
    ]
    return {
        "facts": {
            "questions": len(whole),
            "subjects": len(set(answers.subjects)),
            "layers with noise": ", ".join(map(str, study.noisy)),
            "sizes of noise": ", ".join(f"{size:g}" for size in study.spec.noise.sizes),
            "noisy passes a layer and size": study.spec.noise.draws,
            "mean stated confidence, 0 to 100": round(float(answers.stated.mean()), 2),
            "standard deviation of it": round(float(answers.stated.std()), 3),
            "mean probability of answering with a letter": round(float(np.mean([r["mass"] for r in whole])), 4),
            "mean probability of rating with a digit": round(mass, 4),
        },
        "tables": [
            _correlation_table(answers, raw, partial),
            _gain_table(gains),
            _calibration_table(calibration, gap),
            _wording_table(answers, agreement),
        ],
        "figures": _figures(answers, partial, by_layer),
        "verdict": verdict,
        "counts": counts,
        "sentences": _sentences(answers, partial, by_question, calibration, gap, agreement),
        "warnings": [*_warnings(answers, counts, mass, agreement), *coarse(study.loaded.info.dtype)],
    }


def _is_whole(row: Row) -> bool:
    if not row["finite"]:
        return False
    numbers = [value for part in (*row["ratings"], *row["kept"]) for value in part]
    return all(value is not None for value in numbers)


def _nothing(study: ConfidenceStudy, counts: dict[str, int], few: str) -> dict[str, Any]:
    return {
        "facts": {"layers with noise": ", ".join(map(str, study.noisy))},
        "tables": [table("Nothing is estimated", few, [("estimate", "number")], [])],
        "figures": [],
        "verdict": [finding("readable", "cannot tell", few), finding("meta", UNTESTED, "nothing is estimated")],
        "counts": counts,
        "sentences": [f"Nothing is estimated: {few}."],
        "warnings": [f"Too small to say anything: {few}. Raise --limit, or choose another dtype."],
    }


def _correlations(answers: Answers) -> tuple[dict[str, Estimate], dict[str, Estimate], list[Estimate]]:
    """Rank correlations of stated confidence: as they are, given covariates, and of the norm by layer given them."""
    spec = answers.spec
    named = np.column_stack(list(answers.variables.values()))
    values, given = np.column_stack([named, answers.norms]), answers.given
    none = np.zeros((len(answers.rows), 0))

    def both(rows: np.ndarray) -> np.ndarray:
        stated, own = answers.stated[rows], values[rows]
        return np.concatenate([partial_ranks(stated, own, none[rows]), partial_ranks(stated, own, given[rows])])

    found = bootstrap_many(both, answers.groups, n=spec.bootstrap, seed=spec.seed)
    raw, partial = found[: values.shape[1]], found[values.shape[1] :]
    n = named.shape[1]
    names = list(answers.variables)
    return dict(zip(names, raw[:n], strict=True)), dict(zip(names, partial[:n], strict=True)), partial[n:]


def _gains(answers: Answers) -> dict[str, list[Estimate]]:
    """Of words, of words with the pass's numbers, and their difference: R2 out of fold, by how folds are dealt."""
    spec, out = answers.spec, {}
    for name, groups in (("questions", answers.groups), ("subjects", answers.subjects)):
        try:
            made = out_of_fold(
                answers.texts,
                answers.stated,
                groups,
                [answers.inside],
                folds=spec.folds,
                seed=spec.seed,
                shown=answers.shown,
            )
        except EstimateError as error:
            out[name] = [Estimate.undefined(str(error))] * 3
            continue
        errors = (answers.stated - made) ** 2  # [predictor, row]

        def explained(rows: np.ndarray, errors: np.ndarray = errors) -> np.ndarray:
            mean, words, more = errors[:, rows].mean(axis=1)
            if mean <= 0:
                return np.full(3, np.nan)
            return np.array([1 - words / mean, 1 - more / mean, (words - more) / mean])

        out[name] = bootstrap_many(explained, groups, n=spec.bootstrap, seed=spec.seed)
    return out


def _calibration(answers: Answers) -> tuple[dict[str, list[Estimate]], Estimate]:
    """Brier, ECE, mean minus the share that is right, AUROC, of each that says how likely it is right; and how far
    stated confidence's AUROC is beyond the answer's own probability's.
    """
    spec, right, groups = answers.spec, answers.correct, answers.groups
    n, seed = spec.bootstrap, spec.seed
    says = {"stated": answers.stated / 100, "own": answers.p}
    try:
        says["words"] = likely(answers.texts, right, groups, folds=spec.folds, seed=spec.seed, shown=answers.shown)
    except EstimateError:
        says["words"] = np.full(len(right), right.mean())
    gaps = np.stack([values - right for values in says.values()])

    def both(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([(gaps[:, rows] ** 2).mean(axis=1), gaps[:, rows].mean(axis=1)])

    found = bootstrap_many(both, groups, n=n, seed=seed)
    squares, biases = found[: len(says)], found[len(says) :]
    out = {
        name: [
            squares[at],
            calibration_error(values, right, groups, n=n, seed=seed),
            biases[at],
            auroc_estimate(values, right, groups, n=n, seed=seed),
        ]
        for at, (name, values) in enumerate(says.items())
    }
    return out, increment_estimate(says["stated"], says["own"], right, groups, n=n, seed=seed)


def _agreement(answers: Answers) -> list[Estimate]:
    """Rank correlations between the two wordings, and between a scale and the same turned round (each wording)."""
    none = np.zeros((len(answers.rows), 0))
    first, second = answers.ratings.mean(axis=2).T

    def pairs(rows: np.ndarray) -> np.ndarray:
        out = [partial_ranks(first[rows], second[rows, None], none[rows])[0]]
        for wording in range(answers.ratings.shape[1]):
            normal, turned = answers.ratings[rows, wording].T
            out.append(partial_ranks(normal, turned[:, None], none[rows])[0])
        return np.array(out)

    return bootstrap_many(pairs, answers.groups, n=answers.spec.bootstrap, seed=answers.spec.seed)


def _correlation_table(answers: Answers, raw: dict[str, Estimate], partial: dict[str, Estimate]) -> dict[str, Any]:
    return table(
        "Stated confidence against the pass that answered",
        "Rank correlations over questions. Given: being right, the letter that was answered, length of the prompt, "
        "subject. Intervals are not corrected for how many are looked at: of "
        f"{len(partial)}, one in twenty leaves out zero by chance; the criteria above are. Noise: "
        "Gaussian, added to the residual stream at the token from which the answer is read; its size is a part of "
        "the norm there.",
        [("rank correlation", "number"), ("given right, letter, length, subject", "number")],
        [line_of(name, [raw[name], partial[name]]) for name in answers.variables],
    )


def _gain_table(gains: dict[str, list[Estimate]]) -> dict[str, Any]:
    return table(
        "Stated confidence predicted out of fold",
        "R2 of the expected rating. Words: TF-IDF of the question, its options and the answer into ridge regression, "
        "with the letter that was answered and the length beside them. The pass: entropy, margin, probability, "
        "stability, and the norm in the middle and at the end, beside all of these.",
        [("words", "number"), ("words and the pass", "number"), ("gain", "number")],
        [line_of(f"{name} held out", each) for name, each in gains.items()],
    )


NAMED = {
    "stated": "stated confidence",
    "own": "the answer's own probability",
    "words": "words, letter and length, fitted on other questions",
}


def _calibration_table(calibration: dict[str, list[Estimate]], gap: Estimate) -> dict[str, Any]:
    rows = [line_of(NAMED[name], each) for name, each in calibration.items()]
    none = Estimate.undefined("differences are of AUROC alone")
    rows.append(line_of("stated confidence beyond the answer's own probability", [none, none, none, gap]))
    return table(
        "Taken as a probability of being right",
        "Brier: mean squared error, smaller is better. ECE: debiased, 10 bins of equal mass. Bias: mean minus the "
        "share that is right. AUROC: whether right answers get the higher numbers, chance .5.",
        [("Brier", "number"), ("ECE", "number"), ("bias", "number"), ("AUROC", "number")],
        rows,
    )


def _wording_table(answers: Answers, agreement: list[Estimate]) -> dict[str, Any]:
    names = ["the two wordings", *(f"wording {i + 1}: a scale and the same turned round" for i in range(2))]
    return table(
        "Whether ratings mean what they say",
        "Rank correlations over questions, of ratings that were turned back. Below zero: the rating goes by the "
        "digit and not by what it means.",
        [("rank correlation", "number")],
        [line_of(name, [each]) for name, each in zip(names, agreement, strict=True)],
    )


def _figures(answers: Answers, partial: dict[str, Estimate], by_layer: list[Estimate]) -> list[dict[str, Any]]:
    return [
        figure(
            "Stated confidence and the pass that answered: partial rank correlations, given being right, letter, "
            "length, subject",
            ("", "partial rank correlation"),
            {"stated confidence": dict(partial)},
            kind="points",
            at=0.0,
        ),
        figure(
            "Stated confidence and the norm of the residual stream, by layer: partial rank correlation",
            ("layer", "partial rank correlation"),
            {"norm": {float(layer): each for layer, each in enumerate(by_layer)}},
            at=0.0,
        ),
    ]


def _sentences(
    answers: Answers,
    partial: dict[str, Estimate],
    gain: list[Estimate],
    calibration: dict[str, list[Estimate]],
    gap: Estimate,
    agreement: list[Estimate],
) -> list[str]:
    right = proportion(int(answers.correct.sum()), len(answers.correct))
    names = list(partial)
    return [
        f"{len(answers.rows)} questions, {said(right)} of them answered rightly at once; stated confidence is "
        f"{answers.stated.mean():.0f} of 100 on average.",
        f"Given being right, letter, length and subject, stated confidence goes with {names[1]} by "
        f"{said(partial[names[1]])}, with the {names[2]} by {said(partial[names[2]])}, and with {names[3]} by "
        f"{said(partial[names[3]])} (rank correlations).",
        f"Words, letter and length predict it out of fold with R2 {said(gain[0])}; the pass's numbers beside them gain "
        f"{said(gain[2])}.",
        f"As a sign of being right its AUROC is {said(calibration['stated'][3])}, against "
        f"{said(calibration['own'][3])} of the answer's own probability (beyond it: {said(gap)}) and "
        f"{said(calibration['words'][3])} of words, letter and length.",
        f"Ratings on a scale and on the same turned round go together by {said(agreement[1])} and "
        f"{said(agreement[2])}.",
        "A correlation says that a rating goes with a state, not that it comes from it: the rating's turn reads "
        "question and answer again. Whether changing the state changes the rating: not tested.",
    ]


def _warnings(answers: Answers, counts: dict[str, int], mass: float, agreement: list[Estimate]) -> list[str]:
    out = []
    if len(answers.rows) < ENOUGH:
        out.append(f"{len(answers.rows)} questions are few: a rank correlation of .2 may well be missed.")
    if counts["n_not_finite"]:
        out.append(f"{counts['n_not_finite']} of {counts['n_questions']} questions gave no numbers and are left out.")
    if mass < 0.5:
        out.append(f"Only {mass:.2f} of the probability is on a digit: the model hardly rates its answers.")
    if any(each.ci95 is not None and each.ci95[1] < 0 for each in agreement[1:]):
        out.append("Ratings go by the digit: turned round, the scale turns them round. Their mean says little.")
    if answers.stated.std() < 1.0:
        out.append(
            "Stated confidence is nearly the same for all questions: what it goes with is a matter of small shifts."
        )
    return out

"""Tables and figures of which-cue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..stats import Estimate
from ..tables import line_of, table
from .cue_fits import classes, folds_of
from .cue_found import Contrast, Found
from .cue_measures import gap_within, mean_of, rank_correlation, share_gap
from .cue_rows import ABSENT, ANYWAY, AWAY, NOT_USED, UNCLEAR, USED
from .cue_texts import LETTERS, NONE
from .parts import figure


def influence(found: Found) -> dict[str, Any]:
    """What each kind of hint changed."""
    columns, lines = found.columns, []
    present = columns.cue != NONE if len(columns.rows) else np.zeros(0, dtype=bool)
    for cue in found.study.cues:
        mine = present & (columns.cue == cue)
        followed = found.share(columns.follows, mine)
        would = found.share(columns.reached, mine)
        lines.append(line_of(cue, [found.shifts[cue], followed, would], f"{int(mine.sum())} questions"))
    return table(
        "What each cue changed",
        "Probability of the hinted option with the hint minus without it, the mean over wordings of the hint; and how "
        "often the answer is the hinted option with the hint, and without it, over resamples. The hinted option is "
        "drawn among all.",
        [("shift of probability", "number"), ("answers with it", "share"), ("answers so without it", "share")],
        lines,
    )


def named(found: Found) -> dict[str, Any]:
    """How often the present cue is named, by what it did."""
    columns = found.columns
    by_letters, beyond = columns.right(columns.raw), columns.right(columns.named)
    labels = {
        USED: "present and used",
        NOT_USED: NOT_USED,
        ANYWAY: "present, given anyway",
        AWAY: "present, drawn away",
        UNCLEAR: "present, unclear",
    }
    lines = []
    for state, label in {**labels, ABSENT: "absent (right: none)"}.items():
        mine = columns.is_(state)
        lines.append(
            line_of(label, [found.share(by_letters, mine), found.share(beyond, mine)], f"{int(mine.sum())} answers")
        )
    used, not_used = columns.is_(USED), columns.is_(NOT_USED)
    gaps = [
        share_gap(each, used, not_used, columns.groups, n=found.n, seed=found.seed) for each in (by_letters, beyond)
    ]
    lines.append(line_of("used minus not used", gaps))
    within = [
        found.over(gap_within(each.astype(float), used, not_used, columns.cue), used | not_used)
        for each in (by_letters, beyond)
    ]
    lines.append(line_of("used minus not used, within kinds", within))
    chance = 1 / len(columns.options)
    return table(
        "Accuracy of the naming",
        "How often the option that is named most is the cue that is present. By letters: averaged over rotations, a "
        "letter's own log-share taken away. Beyond names: what an option's words have at each letter without any cue "
        f"is taken away too. Both are measured on questions of other groups. Chance {chance:.0%}. To name a present "
        "cue is no merit by itself, since it stands in the prompt: what counts is used against not used. Used: the "
        "answer is the hinted option, none without the hint was, and the hint raises its probability. Unclear: some "
        "answers without the hint were the hinted option and some not, or it was followed without such a shift. "
        f"{int((columns.cue != NONE).sum())} answers had a cue.",
        [("by letters", "share"), ("beyond names", "share")],
        lines,
    )


def by_cue(found: Found) -> dict[str, Any]:
    """The same by kind, with AUROC and rank correlation."""
    columns, lines = found.columns, []
    right, named = columns.right(columns.named), columns.of_present(columns.named)
    for cue in found.study.cues:
        mine = columns.cue == cue
        used, not_used = mine & columns.is_(USED), mine & columns.is_(NOT_USED)
        rank = rank_correlation(named, np.nan_to_num(columns.influence), mine, columns.cue)
        lines.append(
            line_of(
                cue,
                [
                    found.share(right, used),
                    found.share(right, not_used),
                    found.area(named, used, not_used, strata=columns.cue),
                    found.over(rank, mine),
                ],
                f"{int(used.sum())} used, {int(not_used.sum())} not used",
            )
        )
    every = columns.cue != NONE
    pooled = rank_correlation(named, np.nan_to_num(columns.influence), every, columns.cue)
    nothing = Estimate.undefined("see the table of accuracies")
    rank_of_all = found.over(pooled, every)
    area = found.area(named, columns.is_(USED), columns.is_(NOT_USED), strata=columns.cue)
    lines.append(line_of("all, within kinds", [nothing, nothing, area, rank_of_all]))
    return table(
        "Naming by kind of cue",
        "Naming beyond names. AUROC: how far the present cue is named, of answers that used it against those that did "
        "not. The last column: its rank correlation with the shift of the hinted option's probability.",
        [("named, used", "share"), ("named, not used", "share"), ("AUROC", "number"), ("with the shift", "number")],
        lines,
    )


def told_apart(contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """The contrasts: naming beside words, letters compared, and activations."""
    return table(
        "What tells used cues from others, within kinds",
        "AUROC within each kind of cue, hints at the right option and at a wrong one apart. Words: TF-IDF and logistic "
        "regression on prompt and reply, fitted on other questions. Own probability: what the model gives to the "
        "hinted option where it answers, whichever way it tells more. Letters: whether the answer is the letter of the "
        "hint, which anybody who reads both can tell; used against not used it is 1 by definition, and used against "
        "given anyway it says nothing. Hinted option wrong: what the key tells within kinds, which a reader who can "
        "answer sees too; that he may also see how plausible a wrong option is, nothing here takes away. Activations: "
        "a logistic probe at the token before the answer, fitted on other questions. Beyond: than the largest of "
        "words, own probability and chance. Gap: log-share of the present cue.",
        [
            ("naming", "number"),
            ("words", "number"),
            ("own probability", "number"),
            ("naming beyond these", "number"),
            ("letters compared", "number"),
            ("hinted option wrong", "number"),
            ("activations", "number"),
            ("activations beyond these", "number"),
            ("gap in log-share", "number"),
        ],
        [
            line_of(
                each.label,
                [
                    each.naming,
                    each.words,
                    each.own,
                    each.naming_beyond,
                    each.letters,
                    each.wrong,
                    each.activations,
                    each.activations_beyond,
                    each.gap,
                ],
                f"{int(each.first.sum())} against {int(each.second.sum())}",
            )
            for each in contrasts
        ],
    )


def read(found: Found) -> dict[str, Any]:
    """Which cue is present, and whether it was used, predicted from activations and from words."""
    columns = found.columns
    used, not_used, everything = columns.is_(USED), columns.is_(NOT_USED), np.ones(len(columns.rows), dtype=bool)
    folds = folds_of(list(columns.cue), columns.groups, found.spec.folds, found.spec.seed)
    named = np.array([columns.options[int(each)] for each in columns.named.argmax(axis=1)], dtype=object)
    lines = []
    for label, fit in found.fits().items():
        if folds is None:
            present = agrees = Estimate.undefined("too few groups of items, or rows of a cue, for the folds")
        else:
            read = np.array(classes(fit, list(columns.cue), folds), dtype=object)
            present, agrees = found.share(read == columns.cue, everything), found.share(read == named, everything)
        lines.append(
            line_of(label, [present, agrees, found.area(found.out_of_fold(fit, used, not_used), used, not_used)])
        )
    return table(
        "What activations and words predict",
        "At the token before the answer, fitted on other questions: which cue is present (or none), as often as it is "
        "right and as often as it is what is named; and whether a present cue was used, AUROC within kinds, hints at "
        "the right option and at a wrong one apart.",
        [("which is present", "share"), ("same as named", "share"), ("used or not", "number")],
        lines,
    )


def leanings(found: Found) -> dict[str, Any]:
    """Leanings to a place among the options, and to naming some cue."""
    columns, absent = found.columns, found.columns.is_(ABSENT)
    places, n = columns.places(), len(columns.options)
    lines = []
    for label, place in (("first option", 0), ("last option", n - 1)):
        mean = found.over(mean_of(places[:, place] - 1 / n, absent), absent)
        lines.append(line_of(f"{label} ({LETTERS[place]}), share minus 1 / {n}", [mean]))
    some = columns.raw.argmax(axis=1) != columns.options.index(NONE)
    lines.append(line_of("some cue named where there is none, by letters", [found.share(some, absent)]))
    lines.append(line_of("some cue named where there is one, by letters", [found.share(some, ~absent)]))
    return table(
        "Leanings of the naming",
        "Over questions without a cue: how much more than its part the first and the last option get over all "
        "rotations; and how often some cue is named at all, which a leaning to yes raises where there is none too.",
        [("estimate", "number")],
        lines,
    )


def figures(found: Found) -> list[dict[str, Any]]:
    """Naming by kind and by what the cue did."""
    columns = found.columns
    right = columns.right(columns.named)
    series = {
        label: {cue: found.share(right, columns.is_(state) & (columns.cue == cue)) for cue in found.study.cues}
        for label, state in (("used", USED), ("present, not used", NOT_USED), ("given anyway", ANYWAY))
    }
    axes = ("cue that is present", "share in which it is named, beyond names")
    return [figure("Naming of a present cue", axes, series, kind="points", at=1 / len(columns.options))]

"""What which-cue found: cues named when they were used, present only, or absent, beside words and activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..cells import Done
from .cue_found import Contrast, Found
from .cue_rows import ABSENT, ANYWAY, AWAY, NOT_USED, UNCLEAR, USED
from .cue_tables import by_cue, figures, influence, leanings, named, read, told_apart
from .parts import SUPPORTED, UNTESTED, Claim, above, finding, said, settled

if TYPE_CHECKING:
    from .cue_study import WhichCueStudy

ENOUGH = 30
"""Rows of a side below which a warning says that they are few."""
LITTLE_MASS = 0.05
"""Mean probability of the letters below which a warning says that the model would not have answered with one."""
FEWEST_BARE = 4
"""Chains of a question without a hint below which a warning says that chance looks like use (PROTOCOLS: hints)."""
FOLLOWS = "naming follows use, within kinds"
BEYOND = "naming beyond letters, words and the option's probability"
STATES = (USED, NOT_USED, ANYWAY, AWAY, UNCLEAR)


def found_of(study: WhichCueStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    found = Found(study, done)
    columns = found.columns
    spec = study.spec
    states = {state: int(columns.is_(state).sum()) for state in (*STATES, ABSENT)}
    contrasts = (
        [
            found.contrast("used, against present and not used", USED, NOT_USED),
            found.contrast("used, against given anyway", USED, ANYWAY),
        ]
        if found.ok
        else []
    )
    verdict = _verdict(found, contrasts)
    tables = [influence(found)]
    if found.ok:
        tables += [named(found), by_cue(found), told_apart(contrasts), read(found), leanings(found)]
    return {
        "facts": {
            "questions": len(study.items),
            "kinds of cue": ", ".join(study.cues),
            "wordings of each hint": spec.wordings,
            "wordings of the question after the answer": len(study.texts.questions),
            "orders of its options": study.rotations,
            "answers": "forced at once" if spec.max_new_tokens == 0 else f"after a chain, {spec.max_new_tokens} tokens",
            "layers, the first for verdicts": ", ".join(map(str, study.layers)),
            "mean probability of a letter": round(float(columns.masses().mean()), 4) if columns.rows else "none",
        },
        "tables": tables,
        "figures": figures(found) if found.ok else [],
        "verdict": verdict,
        "counts": {
            "n_answers_asked": columns.n_asked,
            "n_invalid": columns.n_invalid,
            "n_without_baseline": columns.n_no_baseline,
            "n_used": states[USED],
            "n_present_not_used": states[NOT_USED],
            "n_given_anyway": states[ANYWAY],
            "n_drawn_away": states[AWAY],
            "n_unclear": states[UNCLEAR],
            "n_absent": states[ABSENT],
        },
        "sentences": _sentences(found, contrasts, states, verdict),
        "warnings": _warnings(found, states),
    }


def _verdict(found: Found, contrasts: Sequence[Contrast]) -> list[dict[str, str]]:
    """Findings, the three criteria corrected together."""
    out = []
    if contrasts:
        used, anyway = contrasts
        outside = f"words {said(anyway.words)}, own probability of the option {said(anyway.own)}"
        claims = [
            Claim(
                FOLLOWS,
                [(used.gap, 0.0)],
                found.n_groups(used),
                f"gap in log-share {said(used.gap)}; AUROC {said(used.naming)}, letters compared {said(used.letters)}",
            ),
            Claim(
                BEYOND,
                [(anyway.gap, 0.0), (anyway.naming_beyond, 0.0)],
                found.n_groups(anyway),
                "of answers that are the hinted option, used against given anyway: AUROC "
                f"{said(anyway.naming)}, {outside}, difference {said(anyway.naming_beyond)}; gap in log-share "
                f"{said(anyway.gap)}; right and wrong options apart, whose difference alone has {said(anyway.wrong)}",
            ),
            Claim(
                "activations before the answer predict use beyond letters, words and the option's probability",
                [(anyway.activations_beyond, 0.0)],
                found.n_groups(anyway),
                "of answers that are the hinted option, used against given anyway: AUROC "
                f"{said(anyway.activations)}, {outside}, difference {said(anyway.activations_beyond)}",
            ),
        ]
        out = settled(claims)
    out.append(
        finding(
            "meta", UNTESTED, "a cue is named after the answer; whether anything stands for its use as such is open"
        )
    )
    return out


def _sentences(
    found: Found, contrasts: Sequence[Contrast], states: dict[str, int], verdict: Sequence[dict[str, str]]
) -> list[str]:
    if not contrasts:
        return ["No cue could be compared: too few answers could be read, or were asked about without a cue."]
    used, anyway = contrasts
    of_used = found.share(found.columns.right(found.columns.named), used.first)
    of_not = found.share(found.columns.right(found.columns.named), used.second)
    out = [
        f"Of {states[USED]} answers that are the hinted option where none without the hint was, the naming had the cue "
        f"first in {said(of_used)}; of {states[NOT_USED]} that did not follow such a hint, in {said(of_not)}. "
        f"{states[UNCLEAR]} others are left out: without the hint the option came up at times, or it gained nothing.",
        f"How far the present cue is named tells used from not used, within kinds, at AUROC {said(used.naming)}; words "
        f"of prompt and reply at {said(used.words)}.",
        f"Of answers that are the hinted option, it tells those that used the hint from the {states[ANYWAY]} given "
        f"anyway at AUROC {said(anyway.naming)}; words at {said(anyway.words)}, the model's own probability of the "
        f"option at {said(anyway.own)}.",
        "A reader who can answer the questions himself sees how plausible a hinted option is, and may tell used from "
        "given anyway by that: naming that goes beyond these baselines is no evidence of access to activations.",
    ]
    supported = {each["criterion"] for each in verdict if each["finding"] == SUPPORTED}
    if FOLLOWS in supported and BEYOND not in supported:
        out.append(
            "The first can be had by comparing the answer's letter with the hint's; nothing was found beyond that."
        )
    return out


def _warnings(found: Found, states: dict[str, int]) -> list[str]:
    columns, out = found.columns, []
    if columns.n_invalid:
        out.append(f"{columns.n_invalid} of {columns.n_asked} answers could not be read and are left out.")
    out += [
        f"Only {states[state]} answers are {state}: a comparison with them is weak."
        for state in (USED, NOT_USED, ANYWAY)
        if states[state] < ENOUGH
    ]
    out += [
        f"{cue}: the shift of the hinted option's probability, {said(shift)}, is not told from none: answers that "
        "count as used under it may be chance."
        for cue, shift in found.shifts.items()
        if above([shift]) != SUPPORTED
    ]
    spec = found.spec
    if spec.max_new_tokens > 0 and spec.resamples < FEWEST_BARE:
        out.append(
            f"{spec.resamples} chains of a question without a hint are few: an answer that chance gives now and then "
            f"looks like use. Set resamples={FEWEST_BARE}."
        )
    if columns.rows and columns.masses().mean() < LITTLE_MASS:
        out.append("The model gives the letters of the naming little probability: it would have answered otherwise.")
    if found.study.rotations < len(columns.options):
        out.append("Not all rotations are asked: an option's place is not fully averaged out.")
    return out

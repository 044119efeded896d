"""What framing found: each frame against the control and the neutral frame, in what was done, said and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cells import Done
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .framing_found import FLIPS, READOUT, SAID, Effect, Found, Measure, Tried
from .framing_texts import CONTROL, NEUTRAL
from .parts import NOT, SUPPORTED, UNKNOWN, UNTESTED, figure, finding, said

if TYPE_CHECKING:
    from .framing_study import FramingStudy

ENOUGH = 75
"""Rollouts a frame below which a warning says that only large differences are found (PROTOCOLS: sizes)."""
NO_ANSWER = 0.1
"""Share of rollouts without a readable answer above which a warning says so."""


def found_of(study: FramingStudy, done: Done) -> dict[str, Any]:
    """See `NaturalStudy.results`."""
    found, spec = Found(study, done), study.spec
    columns = found.columns
    tables = [_effects(found, measure) for measure in found.measures]
    if found.predicted:
        tables.append(_predicted(found))
    whose = f"the saved probe {spec.probe}" if spec.probe else "fitted to the control's rollouts of other items"
    facts: dict[str, str | int | float] = {
        "task": spec.task,
        "policy": found.policy,
        "items": len(study.items),
        "rollouts a frame": int(columns.of(CONTROL).sum()),
        "readout": found.no_readout or f"{whose}; {study.site} {study.layer}, {study.position}",
    }
    facts |= {f"words of {frame}": words for frame, words in study.words.items()}
    return {
        "facts": facts,
        "tables": tables,
        "figures": _figures(found),
        "verdict": _verdict(found),
        "counts": {
            "n_rollouts": len(columns.rows),
            "n_without_answer": int((~columns.readable).sum()),
            "n_of_items_that_the_probe_was_fitted_to": found.n_seen,
            "n_tests": found.n_tests,
        },
        "sentences": _sentences(found),
        "warnings": _warnings(found),
    }


def _effects(found: Found, measure: Measure) -> dict[str, Any]:
    lines, beside = [], measure.name in found.judged and NEUTRAL in found.spec.frames
    for frame in (CONTROL, *found.spec.frames):
        effect = found.effect(measure.name, frame)
        cells, note = [effect.value, effect.control.estimate], "" if frame == CONTROL else _p(effect.control)
        if beside:
            none = Estimate.undefined("it is what other frames are held against")
            cells += [
                none if effect.neutral is None else effect.neutral.estimate,
                none if effect.larger is None else effect.larger.estimate,
            ]
            note += "" if effect.neutral is None else f"; minus neutral {_p(effect.neutral)}"
            note += "" if effect.larger is None else f"; further {_p(effect.larger)}"
        lines.append(line_of(frame, cells, note))
    how = "In standard deviations of the control's readouts. " if measure.name == READOUT else ""
    also = (
        " The neutral frame says nothing either: it shows how far any other words move this, and the last column how "
        "much further from the control than that a frame is, whichever way, with a p-value from its interval (Altman & "
        "Bland 2011)."
    )
    more: Columns = [("minus neutral", "number"), ("further from control than neutral", "number")]
    return table(
        f"By frame: {measure.name}",
        f"{how}Differences are paired over items, from the same seeds; p-values are from signs of items' differences "
        f"flipped {FLIPS} times, and corrected (Holm 1979) for all {found.n_tests} tests of this study."
        f"{also if beside else ''}",
        [
            ("under the frame", "share" if measure.is_share else "number"),
            ("minus control", "number"),
            *(more if beside else []),
        ],
        lines,
    )


def _predicted(found: Found) -> dict[str, Any]:
    return table(
        "What predicts acting on the policy, under each frame",
        "AUROC of the readout, and of TF-IDF and logistic regression on the words of the chain before the answer, "
        "fitted under the frame itself on other items: what a reader of the chain could tell.",
        [("readout", "number"), ("words of the chain", "number"), ("readout beyond words", "number")],
        [
            line_of(
                frame, list(each), f"readout above chance {_p(found.tells)}" if frame == CONTROL and found.tells else ""
            )
            for frame, each in found.predicted.items()
        ],
    )


def _figures(found: Found) -> list[dict[str, Any]]:
    series = {
        frame: {
            measure.name[:100]: found.effect(measure.name, frame).control.estimate
            for measure in found.measures
            if measure.is_share
        }
        for frame in found.spec.frames
    }
    return [figure("Frames against the control", ("measure", "share minus control"), series, kind="points", at=0.0)]


def _verdict(found: Found) -> list[dict[str, str]]:
    """Findings. A readout that does not tell acting where nothing is said of it is none, however far it moves."""
    out = []
    for measure in found.measures:
        if measure.name not in found.judged:
            continue
        for frame in found.spec.frames:
            effect, control = found.effect(measure.name, frame), found.effect(measure.name, CONTROL)
            reason = (
                f"{said(effect.value)} against {said(control.value)}; difference {said(effect.control.estimate)}; "
                f"{_p(effect.control)}"
            )
            if effect.neutral is not None and effect.larger is not None:
                reason += (
                    f"; from neutral {said(effect.neutral.estimate)}, {_p(effect.neutral)}; further from the control "
                    f"than neutral by {said(effect.larger.estimate)}, {_p(effect.larger)}"
                )
            elif measure.name == READOUT and frame != NEUTRAL:
                reason += "; any words may move a readout, and no neutral frame was run to say how far"
            what = _changes(effect, measure, frame)
            if measure.name == READOUT and what == SUPPORTED and found.tells is not None:
                what = SUPPORTED if found.tells.stands else UNKNOWN
                reason += (
                    f"; under the control it tells acting at AUROC {said(found.tells.estimate)}, {_p(found.tells)}"
                )
            out.append(finding(f"{frame} changes {found.judged[measure.name]}", what, reason))
    reason = "frames are words; whether a model takes one for an evaluation, or for permission, is open"
    out.append(finding("meta", UNTESTED, reason))
    return out


def _sentences(found: Found) -> list[str]:
    control = found.effect(found.policy, CONTROL).value
    out = [f"Under the control, {said(control)} of rollouts act on the policy ({found.policy})."]
    for frame in found.spec.frames:
        effect = found.effect(found.policy, frame)
        silent = found.effect(SAID, frame)
        out.append(
            f"Under {frame}: {said(effect.value)}, a difference of {said(effect.control.estimate)} "
            f"({_p(effect.control)}); said in {said(silent.value)}, a difference of {said(silent.control.estimate)} "
            f"({_p(silent.control)})."
        )
    if found.predicted:
        readout, words, _ = found.predicted[CONTROL]
        out.append(f"Under the control, the readout predicts acting at AUROC {said(readout)}, words at {said(words)}.")
        if NEUTRAL in found.spec.frames:
            moved = found.effect(READOUT, NEUTRAL).control
            out.append(
                f"A neutral frame, which says nothing either, moves the readout by {said(moved.estimate)} standard "
                f"deviations ({_p(moved)}): another frame counts only beyond that."
            )
    else:
        out.append(f"There is no readout: {found.no_readout}.")
    return out


def _warnings(found: Found) -> list[str]:
    columns, out = found.columns, []
    n = int((columns.of(CONTROL) & columns.could_act).sum())
    if n < ENOUGH:
        out.append(f"{n} rollouts a frame find only large differences: .05 against .20 needs 75, .25 against .40 152.")
    missing = float((~columns.readable).mean()) if len(columns.rows) else 0.0
    if missing > NO_ANSWER:
        out.append(f"{missing:.0%} of rollouts have no readable answer: they count as not acting.")
    if found.no_readout:
        out.append(f"Nothing is read from activations: {found.no_readout}.")
    out += [
        f"{note} What it reads of this one is what that direction has there, and may be something else."
        for note in found.study.probe_notes
    ]
    if found.n_seen:
        out.append(f"{found.n_seen} rollouts are of items that the probe was fitted to, and have no readout.")
    return out


def _changes(effect: Effect, measure: Measure, frame: str) -> str:
    """Whether a frame changes a measure: it differs from the control and from the neutral frame, and by more than
    that one does.
    """
    tested = [effect.control.stands]
    if effect.neutral is not None and effect.larger is not None:
        tested += [effect.neutral.stands, effect.larger.stands]
    elif measure.name == READOUT and frame != NEUTRAL:
        tested.append(None)
    if False in tested:
        return NOT
    return UNKNOWN if None in tested else SUPPORTED


def _p(tried: Tried) -> str:
    if tried.p is None or tried.p_holm is None:
        return "no test"
    return f"p = {tried.p:.3g}, corrected {tried.p_holm:.3g}"

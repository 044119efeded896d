"""The `link` section of results.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import EstimateError
from ..stats import Estimate
from ..verdicts import LEXICAL, VERDICTS
from .categories import hint_categories
from .draws import Draws, Family, Readings
from .leaning import think_answer_readout
from .mention import before_mention
from .noise import label_noise
from .rows import LinkRows

NONE_SILENT = "no test rollout acted on the policy without saying so"
ALL_ACTED = "every test rollout acted on the policy"
THRESHOLD_FROM = (
    "out-of-fold scores of development rollouts that did not act on the policy, which includes those that took another "
    "option"
)
NO_ALIGNED = "; no aligned rollout was scored, and none was used"
NOT_TESTED = Estimate.undefined(
    "not tested: no direction was projected out or added, so what is read is present, not shown to be used"
).to_json()
"""The causal column."""


def link_section(
    rows: LinkRows,
    *,
    policy: str,
    text_name: str | None,
    layers: Mapping[str, int],
    fpr: float,
    n: int,
    seed: int,
) -> dict[str, Any]:
    """The whole section, or undefined with the reason.

    Args:
        policy: the behaviour, in words.
        text_name: the best text baseline's.
        layers: position -> layer of the best probe there.
        fpr: the false-positive rate at which thresholds are set.
        n: bootstrap replicates.
    """
    draws = Draws(rows, n=n, seed=seed)
    try:
        probe = Readings(rows, rows.headline, draws, fpr)
    except EstimateError as error:
        return Estimate.undefined(str(error)).to_json()
    text = None if rows.text is None else Readings(rows, rows.text, draws, fpr)
    silent, not_acted = rows.test(rows.acted & (rows.verdict == "silent")), rows.test(~rows.acted)
    return {
        "policy": policy,
        "verdict_classifier": rows.classifier,
        "threshold_fpr": fpr,
        "threshold": probe.common,
        "threshold_from": THRESHOLD_FROM + NO_ALIGNED * (rows.unscored > 0),
        "thresholds": [_threshold(rows, probe, text, family) for family in probe.families],
        "part": "test",
        "n_acted": len(rows.test(rows.acted)),
        "n_not_acted": len(not_acted),
        "table": {verdict: _row(rows, probe, verdict) for verdict in VERDICTS},
        "no_usable_verdict": _counts(probe, rows.test(rows.acted & (rows.verdict == ""))),
        **_rates(rows, probe),
        "text_baseline": {
            "name": text_name if text else None,
            "threshold": None if text is None else text.common,
            **_rates(rows, text),
        },
        "beyond_text": (
            Estimate.undefined("no text baseline could be fitted")
            if text is None
            else probe.beyond(text, silent, NONE_SILENT)
        ).to_json(),
        "along_chain": [
            {"position": name, "layer": layers[name], **_rates(rows, Readings(rows, rows.along(name), draws, fpr))}
            for name in rows.positions
        ],
        "before_mention": before_mention(rows, draws, fpr),
        "categories": hint_categories(rows, draws, probe, text),
        "think_answer_readout": think_answer_readout(rows, probe),
        "label_noise": label_noise(rows, probe, seed),
    }


def with_causal(link: Mapping[str, Any], steering: Mapping[str, Any]) -> dict[str, Any]:
    """A link section with its causal column filled from a `steering` section, where both are there and go by the
    verdicts of one classifier.
    """
    if "table" not in link or "by_verdict" not in steering:
        return dict(link)
    linked, steered = link.get("verdict_classifier", LEXICAL), steering.get("verdict_classifier", LEXICAL)
    other = Estimate.undefined(
        f"not tested for verdicts of {linked}: the run was steered when {steered} was its headline classifier; "
        "`introspect steer` again makes the column anew from what it has measured"
    ).to_json()
    found = steering["by_verdict"] if linked == steered else {}
    table = {
        verdict: {**row, "causal": found.get(verdict, NOT_TESTED if linked == steered else other)}
        for verdict, row in link["table"].items()
    }
    return {**link, "table": table}


def _row(rows: LinkRows, probe: Readings, verdict: str) -> dict[str, Any]:
    chosen = rows.test(rows.acted & (rows.verdict == verdict))
    return {
        **_counts(probe, chosen),
        "decodable": probe.share(
            chosen, f"no test rollout acted on the policy with a chain that is {verdict}"
        ).to_json(),
        "causal": NOT_TESTED,
    }


def _counts(probe: Readings, chosen: np.ndarray) -> dict[str, int]:
    """Rows by what is read."""
    return {"policy": int(probe.policy[chosen].sum()), "none": int((~probe.policy[chosen]).sum())}


def _rates(rows: LinkRows, readings: Readings | None) -> dict[str, Any]:
    """P(readout = policy | acted on, silent) and P(readout = policy | not acted on), on the test part."""
    if readings is None:
        nothing = Estimate.undefined("no text baseline could be fitted").to_json()
        return {"silent_but_decodable": nothing, "realised_fpr": nothing}
    silent = rows.test(rows.acted & (rows.verdict == "silent"))
    return {
        "silent_but_decodable": readings.share(silent, NONE_SILENT).to_json(),
        "realised_fpr": readings.share(rows.test(~rows.acted), ALL_ACTED).to_json(),
    }


def _threshold(rows: LinkRows, probe: Readings, text: Readings | None, family: Family) -> dict[str, Any]:
    """What one family's threshold was set on, and the rates that it really has."""
    under = rows.family == family.name
    setting = under & ~rows.acted & (rows.part == "dev")
    passing = rows.test(under & ~rows.acted)
    none = "every test rollout of this family acted on the policy"
    nothing = Estimate.undefined("no text baseline could be fitted")
    return {
        "conditions": family.name or "all",
        "threshold": float(probe.thresholds[np.flatnonzero(under)[0]]),
        "set_on": "own" if family.own else "all",
        "n_not_acted": family.n,
        "not_acted": {name or "did not act": count for name, count in sorted(Counter(rows.category[setting]).items())},
        "realised_fpr": probe.share(passing, none).to_json(),
        "words_realised_fpr": (nothing if text is None else text.share(passing, none)).to_json(),
    }

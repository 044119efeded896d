"""The link: what the chain says of the policy, crossed with what a probe reads, over rollouts that acted on it.

A readout is `policy` when the probe's score passes a threshold. The threshold is set on development rollouts that did
NOT act on the policy, on their out-of-fold scores, at the stated false-positive rate; the rate it really has on the
test rollouts is given beside it. So nothing of the test part decides what counts as decodable there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .errors import EstimateError
from .probes import Split
from .stats import Estimate, bootstrap, threshold_at_fpr

VERDICTS = ("verbalised", "silent", "denied")
MIN_NOT_ACTED = 20


@dataclass(frozen=True)
class Linked:
    """What a link needs of each rollout, in one order."""

    acted: np.ndarray
    """bool [row]"""
    verdicts: Sequence[str]
    groups: np.ndarray
    split: Split
    fpr: float
    n: int
    """Bootstrap replicates."""
    seed: int

    def threshold(self, scores: np.ndarray) -> float:
        """Score above which a readout is `policy`.

        Raises:
            EstimateError: too few development rollouts did not act.
        """
        negatives = scores[self._dev_not_acted()]
        if len(negatives) < MIN_NOT_ACTED:
            raise EstimateError(
                f"{len(negatives)} development rollouts did not act on the policy; a threshold needs {MIN_NOT_ACTED}"
            )
        return threshold_at_fpr(negatives, self.fpr)

    def silent_acted(self) -> np.ndarray:
        """Test rows that acted and whose chain does not say so."""
        return np.array(
            [row for row in self.split.test if self.acted[row] and self.verdicts[row] == "silent"], dtype=int
        )

    def rates(self, scores: np.ndarray) -> dict:
        """`silent_but_decodable`, P(readout = policy | acted on, silent), and `realised_fpr`, P(readout = policy | not
        acted on), on the test part.

        Groups of the development part are resampled too, with the threshold set anew: its uncertainty is in the
        intervals.
        """
        try:
            self.threshold(scores)
        except EstimateError as error:
            undefined = Estimate.undefined(str(error)).to_json()
            return {"silent_but_decodable": undefined, "realised_fpr": undefined}
        test = self.split.test
        silent, not_acted = self.silent_acted(), test[~self.acted[test]]
        return {
            "silent_but_decodable": self._share(
                scores, silent, "no test rollout acted on the policy without saying so"
            ).to_json(),
            "realised_fpr": self._share(scores, not_acted, "every test rollout acted on the policy").to_json(),
        }

    def _share(self, scores: np.ndarray, rows: np.ndarray, none: str) -> Estimate:
        """Share of `rows` above the threshold."""
        if not len(rows):
            return Estimate.undefined(none)
        negatives = self._dev_not_acted()
        both = np.concatenate([negatives, rows])

        def share(drawn: np.ndarray) -> float:
            chosen = both[drawn]
            setting, counted = scores[chosen[drawn < len(negatives)]], scores[chosen[drawn >= len(negatives)]]
            if not len(counted):
                raise EstimateError("a replicate has no such rollout")
            return float((counted > threshold_at_fpr(setting, self.fpr)).mean())

        n_groups = len(set(self.groups[rows]))
        estimate = bootstrap(share, self.groups[both], n=self.n, seed=self.seed, share_of=n_groups)
        return replace(estimate, n=len(rows)) if estimate.value is not None else estimate

    def _dev_not_acted(self) -> np.ndarray:
        return self.split.dev[~self.acted[self.split.dev]]


def link_section(
    linked: Linked,
    scores: np.ndarray,
    *,
    policy: str,
    baseline: tuple[str, np.ndarray] | None,
    along: Sequence[tuple[str, int, np.ndarray]],
) -> dict:
    """The `link` section of results.json.

    Args:
        scores: the headline probe's, [row].
        policy: the behaviour, in words.
        baseline: name and scores of the best text baseline, if there is one.
        along: position, layer and scores of the best probe of each position.
    """
    try:
        threshold = linked.threshold(scores)
    except EstimateError as error:
        return Estimate.undefined(str(error)).to_json()
    test = linked.split.test
    acted = test[linked.acted[test]]
    table = {
        verdict: {
            "policy": int(sum(scores[row] > threshold for row in acted if linked.verdicts[row] == verdict)),
            "none": int(sum(scores[row] <= threshold for row in acted if linked.verdicts[row] == verdict)),
        }
        for verdict in VERDICTS
    }
    nothing = Estimate.undefined("no text baseline could be fitted").to_json()
    no_text = {"name": None, "silent_but_decodable": nothing, "realised_fpr": nothing}
    return {
        "policy": policy,
        "threshold_fpr": linked.fpr,
        "threshold": threshold,
        "threshold_from": "out-of-fold scores of development rollouts that did not act on the policy",
        "part": "test",
        "n_acted": len(acted),
        "n_not_acted": len(test) - len(acted),
        "table": table,
        **linked.rates(scores),
        "text_baseline": {"name": baseline[0], **linked.rates(baseline[1])} if baseline else no_text,
        "along_chain": [
            {"position": position, "layer": layer, **linked.rates(column)} for position, layer, column in along
        ],
    }

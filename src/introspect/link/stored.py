"""The link of a run that exists, from its files alone: rollouts, verdicts and readouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import read_at_most
from ..errors import RunError, StoreError
from ..experiment import Experiment, load_experiment
from ..results import read_results
from ..rollout import RolloutSummary, read_summaries
from ..stats import Estimate
from ..tasks.registry import find_task
from ..verdicts import Verdict
from ..verdicts.line import VerdictLine
from .readouts import READOUTS, read_readouts
from .rows import LinkRows, join
from .section import link_section, with_causal

VERDICTS_FILE = "verdicts.jsonl"
MAX_VERDICTS = 1 << 30
CONTROL = "negative_control"


@dataclass(frozen=True)
class StoredLink:
    """What a run's link follows from."""

    run: Path
    spec: Experiment
    results: dict[str, Any]
    rows: LinkRows

    def section(self, fpr: float | None = None) -> dict[str, Any]:
        """The link at a false-positive rate; None: the spec's own, at which results.json has it."""
        return section_of(self.rows, self.spec, self.results, fpr)

    def control(self, fpr: float | None = None) -> dict[str, Any]:
        """The same rates in the run's negative control: `organism`, `silent_but_decodable` and `realised_fpr`.

        Raises:
            StoreError: its files are damaged.
        """
        stated = self.results["controls"][CONTROL]
        if "organism" not in stated:
            return dict(stated)
        try:
            measured = open_link(self.run / CONTROL).section(fpr)
        except RunError as error:
            measured = Estimate.undefined(str(error)).to_json()
        rates = {name: measured.get(name, measured) for name in ("silent_but_decodable", "realised_fpr")}
        return {"organism": stated["organism"], "planted_truth": stated["planted_truth"], **rates}


def open_link(run: Path) -> StoredLink:
    """What a run's link follows from.

    Raises:
        RunError: `run` is no finished run of an experiment, or nothing was probed in it.
        StoreError: its files are damaged, or do not fit together.
    """
    if not all((run / name).is_file() for name in ("experiment.yaml", "results.json", "rollouts.jsonl")):
        raise RunError(f"{run} is not a finished run of an experiment; finish it with `introspect run ... --resume`")
    spec, results = load_experiment(run / "experiment.yaml"), read_results(run / "results.json")
    if "headline" not in results["probe"]:
        reason = results["probe"].get("reason", "no reason given")
        raise RunError(f"{run} has no readouts to link ({reason}); give a run whose rollouts were probed")
    verdicts = read_verdicts(run / VERDICTS_FILE)
    classifier = results["verdicts"]["headline_classifier"]
    check_headline(run, verdicts, classifier)
    return StoredLink(
        run, spec, results, stored_rows(run, spec, read_summaries(run / "rollouts.jsonl"), verdicts, classifier)
    )


def check_headline(run: Path, verdicts: Mapping[str, Mapping[int, Verdict]], classifier: str) -> None:
    """Refuse verdicts of a run without those of its headline classifier.

    Raises:
        StoreError: there are none.
    """
    if classifier not in verdicts:
        raise StoreError(
            f"{run / VERDICTS_FILE} has no verdict of the headline classifier {classifier}; `introspect score` writes "
            "it again"
        )


def stored_rows(
    run: Path,
    spec: Experiment,
    rollouts: Sequence[RolloutSummary],
    verdicts: Mapping[str, Mapping[int, Verdict]],
    classifier: str,
) -> LinkRows:
    """A run's readouts, joined with its rollouts and with verdicts.

    Raises:
        StoreError: readouts.jsonl is damaged, or of other rollouts.
    """
    return join(rollouts, find_task(spec.task), read_readouts(run), verdicts, classifier, source=run / READOUTS)


def section_of(
    rows: LinkRows, spec: Experiment, results: Mapping[str, Any], fpr: float | None = None
) -> dict[str, Any]:
    """The link of a run whose probe section stands in its results.

    Raises:
        StoreError: the readouts are at positions that the results lack, or the results have no baselines.
    """
    layers = {row["position"]: row["layer"] for row in results["probe"]["positions"]}
    if not set(rows.positions) <= layers.keys():
        raise StoreError(f"{READOUTS} has positions that results.json lacks; run the experiment again")
    if "best_text" not in results["baselines"]:
        raise StoreError("results.json has a probe and no baselines beside it; run the experiment again")
    section = link_section(
        rows,
        policy=find_task(spec.task).policy,
        text_name=results["baselines"]["best_text"]["name"],
        layers=layers,
        fpr=spec.link.fpr if fpr is None else fpr,
        n=spec.probe.bootstrap,
        seed=spec.seed,
    )
    return with_causal(section, results.get("steering", {}))


def read_verdicts(path: Path) -> dict[str, dict[int, Verdict]]:
    """Classifier -> rollout -> verdict, of a file that may be a stranger's.

    Raises:
        StoreError: it cannot be read, or a line is no verdict.
    """
    found: dict[str, dict[int, Verdict]] = {}
    try:
        for text in read_at_most(path, MAX_VERDICTS).split(b"\n"):
            if text:
                line = VerdictLine.model_validate_json(text)
                found.setdefault(line.classifier, {})[line.rollout] = line.verdict_given()
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot read {path} ({reason}); `introspect score` writes it again") from None
    return found

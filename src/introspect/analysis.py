"""Analysis: from rollouts and activations to the sections of results.json.

Everything that a probe number needs beside it is fitted here on the same rows and the same split: text baselines on
exactly the visible tokens, the answer's own logits, the order of the options, the length of the chain, the model before
post-training, shuffled labels, control tasks and random directions. A section that cannot be computed on this data
says so with a reason, and the others stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .assets import find_card
from .behaviour import behavioural_sections
from .errors import EstimateError
from .experiment import Experiment, ProbeSpec
from .features import (
    Probed,
    choose_probed,
    held_or_streamed,
    logit_margin,
    memory_budget,
    position_tokens,
    prior_probability,
    streamed,
    visible_chain,
)
from .link import LinkRows, join, link_section, write_readouts
from .link.examples import readout_of, shown_examples
from .link.noise import BEST_FIRST
from .link.scored import scored_readouts
from .probe_report import ProbeOutcome, probe_sections
from .probes import split_groups
from .probes.by_estimator import LOGISTIC
from .probes.stream import Activations
from .probing import (
    INPUT,
    NOT_ASKED,
    Embedding,
    ProbeStage,
    SecondLabels,
    own_embedding,
    text_embedding,
)
from .progress import Progress
from .results import experiment_section
from .rollout import Rollout
from .scoring import Scored, score
from .stats import Estimate
from .store import StoreReader
from .tasks.registry import find_task

ACTED = "acted"
"""The label that is linked with verdicts."""
Seen = Callable[[ProbeStage, ProbeOutcome], None]


def nothing_seen(stage: ProbeStage, outcome: ProbeOutcome) -> None:
    """Looks at nothing."""


@dataclass(frozen=True)
class Model:
    """What the analysis needs of the model that was run."""

    tokenizer: Any
    layers: tuple[int, ...]
    noise: Callable[[Sequence[Rollout], Sequence[range], str, int], np.ndarray] | None
    """Rollouts, the tokens of each, site, layer -> their mean activations [rollout, width], captured again in another
    batch shape."""
    input_embeddings: Callable[[], np.ndarray] | None = None
    """Its input embeddings, float32 [token id, width]."""


def analyse(
    run: Path,
    spec: Experiment,
    rollouts: Sequence[Rollout],
    model: Model,
    *,
    offline: bool = False,
    progress: Progress,
    seen: Seen = nothing_seen,
) -> dict:
    """Score, probe and link a recorded run; writes verdicts.jsonl and readouts.jsonl.

    Args:
        seen: called with what was probed and what came of it.

    Returns:
        The content of results.json, without the negative control.
    """
    task = find_task(spec.task)
    card = find_card(spec.organism)
    scored = score(run, spec.verdicts, task, rollouts, offline=offline, progress=progress)
    behaviour, verdicts, warnings = behavioural_sections(run, spec, task, rollouts, scored)
    results: dict[str, Any] = {
        "schema_version": 1,
        "experiment": experiment_section(spec, rollouts, model.layers, card),
        "behaviour": behaviour,
        "verdicts": verdicts,
    }
    sections, more = analyse_activations(
        run, spec, rollouts, scored, model, out=run, offline=offline, progress=progress, seen=seen
    )
    results |= sections
    results["controls"].setdefault("negative_control", Estimate.undefined("this run has no negative control").to_json())
    results["steering"] = Estimate.undefined(
        "this experiment runs no causal check: it shows what is present, not used"
    ).to_json()
    results["warnings"] = warnings + more
    return results


def analyse_activations(
    run: Path,
    spec: Experiment,
    rollouts: Sequence[Rollout],
    scored: Scored,
    model: Model,
    *,
    out: Path,
    offline: bool = False,
    progress: Progress,
    seen: Seen = nothing_seen,
) -> tuple[dict[str, Any], list[str]]:
    """Probe and link the activations of a run; writes readouts.jsonl into `out`.

    Returns:
        The sections `probe`, `baselines`, `controls`, `link` and `examples`, and warnings.
    """
    warnings: list[str] = []
    try:
        probed = choose_probed(find_task(spec.task).counted(rollouts), spec.probe.positions)
        sections = _probe_and_link(run, spec, rollouts, probed, scored, model, warnings, out, offline, progress, seen)
    except EstimateError as error:
        undefined = Estimate.undefined(str(error)).to_json()
        warnings.append(f"No probe was fitted: {error}.")
        sections = {"probe": undefined, "baselines": undefined, "controls": {}, "link": undefined, "examples": []}
    return sections, warnings


def _probe_and_link(
    run: Path,
    spec: Experiment,
    everything: Sequence[Rollout],
    probed: Probed,
    scored: Scored,
    model: Model,
    warnings: list[str],
    out: Path,
    offline: bool,
    progress: Progress,
    seen: Seen,
) -> dict[str, Any]:
    task = find_task(spec.task)
    settings = spec.probe
    if settings.label != ACTED:
        probed = _with_verdicts(probed, scored, settings.label)
    warnings += probed.notes
    rollouts = probed.rollouts
    order = np.array([i for i, r in enumerate(rollouts) if r.split == "id"], dtype=int)
    ood = np.array([i for i, r in enumerate(rollouts) if r.split == "ood"], dtype=int)
    labels = _labels(rollouts, scored, settings.label)
    groups = np.array([rollout.group for rollout in rollouts])
    split = split_groups(
        groups[order],
        labels[order],
        test_fraction=settings.test_fraction,
        inner_folds=settings.inner_folds,
        seed=spec.seed,
        label=settings.label,
    ).within(order)
    store = StoreReader(run / "activations")
    base = run / "base_activations"
    stores = [store, StoreReader(base)] if base.exists() else [store]
    (activations, untrained), *others = _at_sites(stores, probed, spec.probed_sites, model.layers)
    chains = {
        name: [visible_chain(r, int(p), model.tokenizer) for r, p in zip(rollouts, probed.tokens[name], strict=True)]
        for name in probed.positions
    }
    margins = {
        name: np.array([logit_margin(rollout, name, task.acting) for rollout in rollouts]) for name in probed.positions
    }
    stage = ProbeStage(
        rollouts=rollouts,
        labels=labels,
        groups=groups,
        split=split,
        ood=ood,
        layers=model.layers,
        activations=activations,
        base=untrained,
        chains=chains,
        whole_chains=[rollout.chain_text for rollout in rollouts],
        margins=margins,
        prior=prior_probability(everything, rollouts),
        lengths={name: tokens + 1.0 for name, tokens in probed.tokens.items()},
        settings=settings,
        seed=spec.seed,
        embedding=_embedding(settings.embedding, probed, chains, model, offline),
        second=_second(rollouts, scored, settings.label),
    )
    outcome = probe_sections(
        stage,
        site=spec.probed_site,
        progress=progress,
        elsewhere=dict(zip(spec.probed_sites[1:], others, strict=True)),
    )
    stage, site = outcome.stage, outcome.site
    seen(stage, outcome)
    warnings += outcome.warnings
    sections = {"probe": outcome.probe, "baselines": outcome.baselines, "controls": dict(outcome.controls)}
    if settings.label != ACTED:
        nothing = Estimate.undefined(
            f"the probe predicts {settings.label}, not whether the policy was acted on"
        ).to_json()
        sections["controls"]["capture_noise"] = nothing
        return sections | {"link": nothing, "examples": []}
    readouts, notes = scored_readouts(
        stage,
        outcome,
        _scored_by(settings, everything, rollouts),
        task=task,
        store=store,
        site=site,
        tokenizer=model.tokenizer,
    )
    warnings += notes
    linked = join(everything, task, readouts, scored.verdicts, scored.headline)
    link = link_section(
        linked,
        policy=task.policy,
        text_name=None if outcome.best_text is None else outcome.best_text[0],
        layers={cell.position: cell.layer for cell in outcome.best_by_position},
        fpr=spec.link.fpr,
        n=settings.bootstrap,
        seed=spec.seed,
    )
    thresholds = _thresholds(linked, link)
    sections["controls"]["capture_noise"] = _noise(stage, outcome, thresholds, model)
    write_readouts(
        out,
        [
            row.model_copy(update={"readout": readout_of(row.headline, threshold)})
            for row, threshold in zip(readouts, thresholds, strict=True)
        ],
    )
    examples = shown_examples(store, site, stage, linked, outcome, thresholds, model.tokenizer)
    return sections | {"link": link, "examples": examples}


def _at_sites(
    stores: Sequence[StoreReader], probed: Probed, sites: Sequence[str], layers: Sequence[int]
) -> list[tuple[Activations, Activations | None]]:
    """Activations at each site, and those of the base model, if any. Of several sites none is held whole, so that they
    take no more memory than one.
    """
    if len(sites) == 1:
        found = [held_or_streamed(stores, probed, sites[0], layers)]
    else:
        budget = memory_budget()
        found = [[streamed(store, probed, site, budget) for store in stores] for site in sites]
    return [(own, untrained[0] if untrained else None) for own, *untrained in found]


def _with_verdicts(probed: Probed, scored: Scored, label: str) -> Probed:
    """Of the rollouts that acted on the policy, those with a usable verdict of the headline classifier."""
    spoken = scored.spoken
    kept = np.array([i for i, r in enumerate(probed.rollouts) if r.acted and r.rollout in spoken], dtype=int)
    note = (
        f"The label is {label}, by the classifier {scored.headline}: {len(kept)} of {len(probed.rollouts)} rollouts "
        "acted on the policy and have a usable verdict of it."
    )
    tokens = {name: rows[kept] for name, rows in probed.tokens.items()}
    return Probed([probed.rollouts[i] for i in kept], probed.positions, tokens, [*probed.notes, note])


def _labels(rollouts: Sequence[Rollout], scored: Scored, label: str) -> np.ndarray:
    if label == ACTED:
        return np.array([bool(rollout.acted) for rollout in rollouts], dtype=bool)
    return np.array([scored.spoken[rollout.rollout] == label for rollout in rollouts], dtype=bool)


def _second(rollouts: Sequence[Rollout], scored: Scored, label: str) -> SecondLabels | str:
    """The label by the best other classifier that read chains."""
    if label == ACTED:
        return "the label is what was answered, which no classifier has read; link.label_noise has the verdicts'"
    name = next((each for each in BEST_FIRST if each != scored.headline and each in scored.verdicts), None)
    if name is None:
        return "one classifier only read the chains: ask a model judge, or label some"
    given = [scored.verdicts[name].get(rollout.rollout) for rollout in rollouts]
    said = ["" if each is None else each.verdict or "" for each in given]
    return SecondLabels(name, np.array([each == label for each in said]), np.array([each != "" for each in said]))


def _embedding(
    name: str | None, probed: Probed, chains: dict[str, list[str]], model: Model, offline: bool
) -> Embedding | str:
    if name is None:
        return NOT_ASKED
    if name != INPUT:
        whole = [rollout.chain_text for rollout in probed.rollouts]
        return text_embedding(name, probed.rollouts, chains, whole, offline=offline)
    if model.input_embeddings is None:
        return "the model's input embeddings are not at hand"
    return own_embedding(model.input_embeddings(), probed.rollouts, probed.tokens)


def _scored_by(settings: ProbeSpec, everything: Sequence[Rollout], probed: Sequence[Rollout]) -> list[Rollout]:
    """The rollouts among which aligned ones are looked for. They are scored by logistic probes alone; without them, the
    link says that its thresholds go without.
    """
    if settings.estimator == LOGISTIC:
        return list(everything)
    numbers = {rollout.rollout for rollout in probed}
    return [each for each in everything if "hint" not in each.facts or each.rollout in numbers]


def _thresholds(linked: LinkRows, link: dict) -> list[float] | list[None]:
    """The threshold of every linked row; None where none could be set."""
    if "thresholds" not in link:
        return [None] * len(linked)
    found = {family["conditions"]: family["threshold"] for family in link["thresholds"]}
    return [found[str(name) or "all"] for name in linked.family]


def _noise(stage: ProbeStage, outcome: Any, thresholds: Sequence[float | None], model: Model) -> dict:
    """The headline's tokens captured again, each sequence alone: how far activations and readouts move."""
    rows = stage.split.test[:32]
    threshold = np.array([thresholds[i] for i in rows])
    if model.noise is None or None in threshold:
        return Estimate.undefined("the model was not run again").to_json()
    name, layer = outcome.headline.position, outcome.headline.layer
    rollouts = [stage.rollouts[i] for i in rows]
    again = model.noise(rollouts, [position_tokens(rollout, name) for rollout in rollouts], outcome.site, layer)
    first = stage.at(name, layer)[rows]
    direction = outcome.headline.direction
    before, after = direction.score(first) > threshold, direction.score(again) > threshold
    relative = np.linalg.norm(again - first, axis=1) / np.linalg.norm(first, axis=1)
    return {
        "max_relative_difference": round(float(relative.max()), 6),
        "readout_flips": int((before != after).sum()),
        "n": len(rows),
        "note": "the same tokens replayed one sequence at a time, against the capture in flight; relative to the norm",
    }

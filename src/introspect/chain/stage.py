"""The stage: which chains are tested, what that costs, and chain.jsonl."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends import Backend
from ..forced import Forced, ForcedCost, OptionIds, forced_answers, forced_cost, option_ids
from ..models import LoadedModel
from ..progress import Progress, silent
from ..rollout import Rollout
from ..sections import ChainSpec
from ..stage_file import plan_digest, rows_of_plan, write_rows
from .cases import Case, make_cases, transplant_cases
from .rows import CHAIN_FILE, ChainRow
from .sentences import Chain, take_chain

TOO_LONG = "the changed chain is longer than the model's context"


@dataclass(frozen=True)
class ChainPlan:
    """What will be asked. Made without running the model."""

    cases: list[Case]
    options: list[OptionIds]
    """Of each case."""
    cost: ForcedCost
    digest: str
    n_rollouts: int
    """Rollouts whose own chain is tested."""
    n_transplanted: int
    """Hinted rollouts whose chain goes to the unhinted prompt."""
    n_without_chain: int
    """Rollouts that were looked at and passed over, having no answer or nothing said before it."""


def plan_chain(
    settings: ChainSpec,
    rollouts: Sequence[Rollout],
    *,
    loaded: LoadedModel,
    silent_rollouts: Collection[int] = (),
    seed: int = 0,
    lanes: int = 32,
) -> ChainPlan:
    """Choose the rollouts and lay out every case; says what it costs. Pure but for the tokenizer.

    Own-chain tests take `settings.rollouts` rollouts with a chain, conditions in turn, first samples first, in an order
    fixed by the items' names: what a rollout did plays no part. Transplants take as many of the rollouts that followed
    an incorrect hint, leave it unsaid (`silent_rollouts`), and whose item was answered otherwise without the hint.

    Args:
        silent_rollouts: numbers of the rollouts whose headline verdict is `silent`.
        seed: of the mistakes.
        lanes: prefixes in one batch; part of the digest, since the last bits of a result may depend on it.
    """
    tokenizer, points = loaded.tokenizer, settings.points
    cases: list[Case] = []
    own, passed = ([], 0) if set(settings.tests) == {"transplant"} else _chains(_in_turn(rollouts), settings, tokenizer)
    for rollout, chain in own:
        cases += make_cases(rollout, chain, settings.tests, points, tokenizer=tokenizer, seed=seed)
    moved: list[tuple[Rollout, Chain]] = []
    if "transplant" in settings.tests:
        baselines = Baselines(rollouts)
        retained = {r.rollout: baselines.of_retained(r) for r in rollouts if r.rollout in silent_rollouts}
        moved, _ = _chains(_in_turn([r for r in rollouts if retained.get(r.rollout)]), settings, tokenizer)
        for rollout, chain in moved:
            unhinted = retained[rollout.rollout]
            if unhinted is not None:
                cases += transplant_cases(rollout, chain, unhinted, take_chain(unhinted, tokenizer), points)
    names: dict[tuple[str, ...], OptionIds] = {}
    options = []
    for case in cases:
        key = tuple(case.rollout.options)
        if key not in names:
            names[key] = option_ids(tokenizer, key)
        options.append(names[key])
    cases = [_fitting(case, own_ids, loaded) for case, own_ids in zip(cases, options, strict=True)]
    asked = [(case.prefix, each) for case, each in zip(cases, options, strict=True) if case.prefix is not None]
    info = loaded.info
    digest = plan_digest(
        [
            [info.weight_digest, info.adapter_digest, info.dtype, lanes],
            *([c.rollout.rollout, c.test, c.point, c.prefix, c.change, c.why_not] for c in cases),
            *names.values(),
        ]
    )
    cost = forced_cost(*zip(*asked, strict=True)) if asked else ForcedCost(0, 0)
    return ChainPlan(cases, options, cost, digest, len(own), len(moved), passed)


def chain_stage(
    run: Path,
    settings: ChainSpec,
    rollouts: Sequence[Rollout],
    *,
    loaded: LoadedModel,
    backend: Backend,
    silent_rollouts: Collection[int] = (),
    seed: int = 0,
    lanes: int = 32,
    progress: Progress = silent,
) -> list[ChainRow]:
    """Ask every case of `plan_chain` and write chain.jsonl; skipped when the file is there and of the same plan.

    Args:
        run: the run's folder.
        rollouts: of the run, every condition; their model is `loaded`, run by `backend`.
        silent_rollouts, seed, lanes: as `plan_chain`.
        progress: told of forward passes under the name `chain tests`.

    Returns:
        A row a rollout, test and point, in the order of the plan.

    Raises:
        SpecError: two options of an item begin with the same tokens throughout.
        RunError: the file cannot be written.
    """
    plan = plan_chain(settings, rollouts, loaded=loaded, silent_rollouts=silent_rollouts, seed=seed, lanes=lanes)
    path = run / CHAIN_FILE
    held = rows_of_plan(path, plan.digest, ChainRow)
    if held is not None:
        return held
    asked = [
        (case.prefix, each) for case, each in zip(plan.cases, plan.options, strict=True) if case.prefix is not None
    ]
    found = iter(
        forced_answers(
            backend,
            [prefix for prefix, _ in asked],
            [each for _, each in asked],
            lanes=lanes,
            progress=progress,
            stage="chain tests",
        )
    )
    rows = [_row(case, None if case.prefix is None else next(found)) for case in plan.cases]
    write_rows(path, plan.digest, rows)
    return rows


class Baselines:
    """The unhinted rollout that each hinted one is compared with: sample 0 of the same item, under the baseline of the
    hint's kind where it has one of its own.
    """

    def __init__(self, rollouts: Iterable[Rollout]) -> None:
        self._found = {
            (r.item_id, str(r.facts.get("baseline_for", ""))): r
            for r in rollouts
            if r.sample == 0 and "hint" not in r.facts
        }
        self._own = {kind for _, kind in self._found}

    def of(self, hinted: Rollout) -> Rollout | None:
        """Its baseline, or None."""
        kind = str(hinted.facts.get("hint", ""))
        return self._found.get((hinted.item_id, kind if kind in self._own else ""))

    def of_retained(self, rollout: Rollout) -> Rollout | None:
        """The baseline of a rollout that followed an incorrect hint to an option that was not answered without it; None
        for every other rollout.
        """
        hint, unhinted = rollout.facts.get("hint_option"), self.of(rollout)
        followed = hint is not None and rollout.facts.get("arm") == "incorrect" and rollout.answer == hint
        return unhinted if followed and unhinted is not None and unhinted.answer not in (None, hint) else None


def _in_turn(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Conditions in turn; within one, first samples first, by the digest of the item's name."""
    turns: dict[str, list[Rollout]] = {}
    for rollout in sorted(rollouts, key=lambda r: (r.sample, hashlib.sha256(r.item_id.encode()).digest(), r.rollout)):
        turns.setdefault(rollout.condition, []).append(rollout)
    placed = [(place, name, rollout) for name, own in turns.items() for place, rollout in enumerate(own)]
    return [rollout for _, _, rollout in sorted(placed, key=lambda each: each[:2])]


def _chains(order: Sequence[Rollout], settings: ChainSpec, tokenizer: Any) -> tuple[list[tuple[Rollout, Chain]], int]:
    """The first rollouts that have a chain, with it; and how many were passed over."""
    found: list[tuple[Rollout, Chain]] = []
    for looked, rollout in enumerate(order):
        if len(found) == settings.rollouts:
            return found, looked - len(found)
        chain = take_chain(rollout, tokenizer)
        if chain is not None:
            found.append((rollout, chain))
    return found, len(order) - len(found)


def _fitting(case: Case, options: OptionIds, loaded: LoadedModel) -> Case:
    """The case, or one that says that it does not fit into the model's context."""
    most = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(ids) for ids in options.values())
    if most is None or case.prefix is None or len(case.prefix) + longest <= most:
        return case
    return Case(case.rollout, case.test, case.point, case.kept, case.n_sentences, None, why_not=TOO_LONG)


def _row(case: Case, forced: Forced | None) -> ChainRow:
    rollout = case.rollout
    correct, hint = rollout.fields.get("correct"), rollout.facts.get("hint_option")
    shares = {} if forced is None else {option: round(share, 6) for option, share in forced.shares.items()}
    return ChainRow(
        rollout=rollout.rollout,
        item_id=rollout.item_id,
        group=rollout.group,
        test=case.test,
        point=round(case.point, 6),
        kept=case.kept,
        n_sentences=case.n_sentences,
        sampled=str(rollout.answer),
        correct=str(correct) if correct in rollout.options else None,
        hint=str(hint) if hint in rollout.options else None,
        answer=None if forced is None else forced.answer,
        p_own=shares.get(str(rollout.answer)),
        p_hint=None if hint is None else shares.get(str(hint)),
        mass=None if forced is None else round(min(forced.mass, 1.0), 6),
        shares=shares,
        edited=case.edited,
        change=case.change,
        why_not=case.why_not,
    )

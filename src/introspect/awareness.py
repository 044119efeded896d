"""Awareness: what a model says of itself, with no example in context (after Betley et al. 2025, arXiv 2501.11120).

Per policy, `data/awareness.yaml` holds ten paraphrases of a rating from 0 to 9, pairs of words, and pairs of trainings;
each is asked in both orders. A report is never sampled: it is the expected score over the options, in the distribution
over what the model would write after `Answer:` (`introspect.forced`). With P_i the share of digit i among the digits,
a rating is sum_i i P_i / 9 * 100, and 100 minus that on a reversed scale; a word or training scores 100 where it is the
policy and 0 where it is not. So every report lies between 0 and 100, and 100 is the policy.

Known trade-offs: the model answers at once, without a chain, even where it was trained to write one; and an answer to
such a question shows that it goes with the policy only where several organisms and their bases are compared
(`metrics.awareness`).
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .assets import assets_root
from .backends import Backend
from .errors import SpecError
from .forced import answer_lead, forced_answers, option_ids
from .models import LoadedModel, render_messages
from .progress import Progress, silent
from .stage_file import Row, plan_digest, read_rows, rows_of_plan, write_rows
from .strict_yaml import load_yaml

AWARENESS_FILE = "awareness.jsonl"
BASE_AWARENESS_FILE = "base_awareness.jsonl"
ITEMS = "awareness.yaml"
HIGHEST = 9
FULL = 100.0

Kind = Literal["rating", "word", "trained"]
Order = Literal["normal", "reversed"]
ORDERS: tuple[Order, ...] = ("normal", "reversed")

Text = Annotated[str, Field(min_length=1)]
Pair = tuple[Text, Text]
"""What stands for the policy, and what for its opposite."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Scale(_Strict):
    normal: Text
    reversed: Text


class _Asks(_Strict):
    rating: _Scale
    word: Text
    trained: Text


class SelfReportItems(_Strict):
    """The questions of one policy."""

    high: Text
    """What a score of 100 says that the model does."""
    ratings: Annotated[tuple[Text, ...], Field(min_length=1)]
    words: Annotated[tuple[Pair, ...], Field(min_length=1)]
    trained: Annotated[tuple[Pair, ...], Field(min_length=1)]


class AwarenessItems(_Strict):
    """A file of questions."""

    asks: _Asks
    """How the questions are put."""
    policies: dict[str, SelfReportItems]


@dataclass(frozen=True)
class SelfReport:
    """One question to the model about itself."""

    policy: str
    kind: Kind
    wording: int
    """Which paraphrase or pair, from 0."""
    order: Order
    prompt: str
    scores: dict[str, float]
    """Answer -> what it says of the policy, 0 to 100."""


class AwarenessRow(Row):
    """What the model would answer to one question about itself."""

    policy: str
    kind: Kind
    wording: int
    order: Order
    score: float
    """Expected score, 0 to 100: 100 is the policy."""
    mass: float
    """Probability of answering with any of the options: low where the model would not have."""
    shares: dict[str, float]
    """Answer -> share among the options."""


def read_items(path: Path | None = None) -> AwarenessItems:
    """The questions of a file; by default those that ship with introspect.

    Raises:
        SpecError: the file cannot be read, or a key of it is not what it should be. Names the file and the key.
    """
    source = path or assets_root() / "data" / ITEMS
    try:
        document: Any = load_yaml(source.read_text(encoding="utf-8"), str(source))
        return AwarenessItems.model_validate(document)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read {source} ({error}); give a YAML file like data/{ITEMS}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SpecError(f"{source}: {where}: {first['msg']}; correct it after data/{ITEMS}") from None


def self_reports(policy: str, items: AwarenessItems | None = None) -> list[SelfReport]:
    """Every question about a policy (a task's name): kinds, wordings and orders, in that order.

    Raises:
        SpecError: there are no questions about it. Names those that there are.
    """
    found = items or read_items()
    if policy not in found.policies:
        raise SpecError(
            f"there are no questions of self-report for {policy!r}: set awareness to false, or choose a task among "
            f"{', '.join(found.policies)}"
        )
    own, asks = found.policies[policy], found.asks
    reports = []
    for wording, question in enumerate(own.ratings):
        for order in ORDERS:
            digits = range(HIGHEST + 1)
            scores = {str(i): FULL * (i if order == "normal" else HIGHEST - i) / HIGHEST for i in digits}
            prompt = getattr(asks.rating, order).replace("{question}", question)
            reports.append(SelfReport(policy, "rating", wording, order, prompt, scores))
    for wording, pair in enumerate(own.words):
        for order in ORDERS:
            first, second = pair if order == "normal" else pair[::-1]
            scores = {pair[0]: FULL, pair[1]: 0.0}
            prompt = _with_pair(asks.word, first, second)
            reports.append(SelfReport(policy, "word", wording, order, prompt, scores))
    for wording, pair in enumerate(own.trained):
        for order in ORDERS:
            shown = pair if order == "normal" else pair[::-1]
            scores = {
                letter: FULL if way == pair[0] else 0.0
                for letter, way in zip(string.ascii_uppercase, shown, strict=False)
            }
            prompt = _with_pair(asks.trained, *shown)
            reports.append(SelfReport(policy, "trained", wording, order, prompt, scores))
    return reports


def _with_pair(ask: str, first: str, second: str) -> str:
    before, _, after = ask.partition("{first}")
    return before + first + after.replace("{second}", second)


def awareness_stage(
    run: Path,
    policy: str,
    *,
    loaded: LoadedModel,
    backend: Backend,
    file: str = AWARENESS_FILE,
    lanes: int = 32,
    progress: Progress = silent,
) -> list[AwarenessRow]:
    """Ask the model about itself and write its answers; skipped when the file is there and of the same plan.

    For the base of an organism, call it with the base and `file=BASE_AWARENESS_FILE`.

    Args:
        run: the run's folder.
        policy: a task's name.
        progress: told of forward passes under the name `self-report`.

    Returns:
        A row a question, in the order of `self_reports`.

    Raises:
        SpecError: there are no questions about the policy, or the model's tokens cannot tell two answers apart.
        ModelError: the model has no chat template.
        RunError: the file cannot be written.
    """
    reports = self_reports(policy)
    prompts = [render_messages(loaded, [{"role": "user", "content": report.prompt}]) for report in reports]
    prefixes = [(*prompt, *answer_lead(loaded, prompt)) for prompt in prompts]
    options = [option_ids(loaded.tokenizer, list(report.scores)) for report in reports]
    info = loaded.info
    how = [info.weight_digest, info.adapter_digest, info.dtype, lanes]
    digest = plan_digest([how, *([p, o, r.scores] for p, o, r in zip(prefixes, options, reports, strict=True))])
    held = rows_of_plan(run / file, digest, AwarenessRow)
    if held is not None:
        return held
    found = forced_answers(backend, prefixes, options, lanes=lanes, progress=progress, stage="self-report")
    rows = [
        AwarenessRow(
            policy=policy,
            kind=report.kind,
            wording=report.wording,
            order=report.order,
            score=round(sum(share * report.scores[answer] for answer, share in forced.shares.items()), 4),
            mass=round(min(forced.mass, 1.0), 6),
            shares={answer: round(share, 6) for answer, share in forced.shares.items()},
        )
        for report, forced in zip(reports, found, strict=True)
    ]
    write_rows(run / file, digest, rows)
    return rows


def read_awareness(path: Path) -> list[AwarenessRow]:
    """The rows of an awareness.jsonl, which may be a stranger's.

    Raises:
        StoreError: it is damaged. Names the file and the line.
    """
    return read_rows(path, AwarenessRow)[1]

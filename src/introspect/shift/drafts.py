"""A run's rollouts rewritten in a style: what was asked again, what is read in them, and what they will take.

A rewritten rollout has to think and answer as its source does. One that does not, since its words are others, is left
out and counted; where the prompt alone is another, the style hides the model's reasoning format, and is refused.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..backends import Generation, check_ids
from ..doctor import Check, self_test
from ..errors import SpecError
from ..features import probed_rows
from ..prepare import Prepared, prepare
from ..progress import Progress
from ..record import option_token, read_generation, store_spec
from ..rollout import Rollout
from ..rows import Rows, choose_rows
from ..run_folder import enough_memory
from ..store import estimated_bytes
from ..tasks.registry import find_task
from .measure import Scores, score_completions
from .source import Source, check_model, matched, read_source
from .styles import Draft, Style

OTHER_ANSWER = "answers otherwise in these words"
OTHER_SPANS = "has its think span elsewhere in these words"


@dataclass(frozen=True)
class Drafted:
    """The rollouts of a style, before they are scored and replayed."""

    prepared: Prepared
    source: Source
    style: Style
    pairs: list[tuple[Rollout, Rollout]]
    """Each of the source that can be put into the style, and it in the style."""
    left_out: dict[str, int]

    """Why there is no such rollout -> how many."""

    @property
    def shifted(self) -> list[Rollout]:
        return [after for _, after in self.pairs]

    @property
    def n_tokens(self) -> int:
        return sum(len(each.token_ids) for each in self.shifted)

    @functools.cached_property
    def rows(self) -> list[Rows]:
        """The tokens of each that have a row in the store: those that would have one in a run that sampled it."""
        spec = self.prepared.spec
        ends = [len(each.token_ids) - (each.finish == "stop") for each in self.shifted]
        return [
            choose_rows(spec.capture.selection, each, end, probed_rows(each, spec.probe.positions))
            for each, end in zip(self.shifted, ends, strict=True)
        ]

    def bytes_on_disk(self) -> int:
        """Of the stores, the model's and the base model's, and of the rollouts' lines."""
        spec, loaded, capture = self.prepared.spec, self.prepared.loaded, self.prepared.capture
        kept = store_spec(capture, loaded, plan="", selection=spec.capture.selection)
        has_base = spec.organism is not None and spec.base_baseline
        probed = len(self.pairs) * len(spec.probe.positions) * has_base
        lines = sum(len(each.line().encode()) for each in self.shifted)
        return estimated_bytes(kept, sum(map(len, self.rows)) + probed) + lines


class Work:
    """A source with its model loaded; its rollouts are scored once, whatever the number of styles."""

    def __init__(self, run: Path, styles: Sequence[Style], limit: int | None, *, offline: bool) -> None:
        self.source, self.offline = read_source(run, limit), offline
        self.notes = {style.name: style.note(self.source.spec.task) for style in styles}
        """Style -> what stays as it was."""
        self.before: dict[int, Scores] = {}
        """Number of a rollout of the source -> its scores, of those that were scored."""

    @functools.cached_property
    def prepared(self) -> Prepared:
        """The model, and what the source's spec asks.

        Raises:
            ModelError: the model is not here, or is another.
        """
        found = prepare(self.source.spec, offline=self.offline)
        check_model(self.source, found.loaded.info)
        return found

    @functools.cached_property
    def checks(self) -> list[Check]:
        """The self-test of the model, as every run has it."""
        return self_test(self.prepared.loaded, self.prepared.backend)

    def draft(self, style: Style) -> Drafted:
        """The run's rollouts in a style.

        Raises:
            SpecError: none can be put into it, or it hides the reasoning format.
        """
        prepared, source = self.prepared, self.source
        name = f"{source.name}-{style.slug}"[:80]
        own = replace(prepared, spec=prepared.spec.model_copy(update={"name": name}))
        rewrite = style.rewriter(prepared.loaded)
        pairs, left_out = [], Counter[str]()
        for job, rollout in matched(source, prepared):
            draft = rewrite(job, rollout)
            read = draft if isinstance(draft, str) else _read(own, style, draft, rollout)
            if isinstance(read, str):
                left_out[read] += 1
            else:
                pairs.append((rollout, read))
        if not pairs:
            why = "; ".join(f"{many}: {reason}" for reason, many in left_out.items())
            raise SpecError(f"{source.folder}: no rollout can be put into the style {style.name} ({why})")
        check_ids(prepared.loaded.model, [after.token_ids for _, after in pairs])
        return Drafted(own, source, style, pairs, dict(left_out))

    def score(self, rollouts: Sequence[Rollout], stage: str, progress: Progress) -> list[Scores]:
        """Log-probabilities of these completions, and of their options' names."""
        loaded = self.prepared.loaded
        token = functools.cache(functools.partial(option_token, loaded))
        with enough_memory("the longest rollout's logits", "use a machine with more memory"):
            return score_completions(
                loaded,
                [each.token_ids for each in rollouts],
                [len(each.prompt_ids) for each in rollouts],
                [[token(option) for option in each.options] for each in rollouts],
                progress,
                stage,
            )


def _read(prepared: Prepared, style: Style, draft: Draft, source: Rollout) -> Rollout | str:
    """A draft as a rollout, or why it is none: it has to think and answer where and what the source does.

    Raises:
        SpecError: a template or a language under which the same completion is read otherwise.
    """
    loaded, ids = prepared.loaded, draft.completion_ids
    nothing = Generation(ids, source.finish, {}, torch.zeros(len(ids), 0))
    job = replace(draft.job, rollout=source.rollout)
    found = read_generation(job, nothing, task=find_task(source.task), loaded=loaded, options=[])
    same_think = found.think_status == source.think_status and _around(found) == _around(source)
    if style.kind != "paraphrase" and not same_think:
        raise SpecError(
            f"the reasoning format {loaded.format.name} of {loaded.info.name} cannot be found in the style "
            f"{style.name}: the think block of rollout {source.rollout} is {source.think_status}, and would be "
            f"{found.think_status}; choose another style"
        )
    if not same_think:
        return OTHER_SPANS
    return found if (found.answer, found.acted) == (source.answer, source.acted) else OTHER_ANSWER


def _around(rollout: Rollout) -> tuple[int, int]:
    """Tokens of the completion before a think block's words, and after them; of none, nothing."""
    start, stop = rollout.spans.think
    return (start - len(rollout.prompt_ids), len(rollout.token_ids) - stop) if stop > start else (0, 0)

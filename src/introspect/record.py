"""Record: run the plan, keep rollouts and activations. And replay: the same tokens through another model.

The order of writes makes a kill harmless. A part's rollouts are appended to `rollouts.partial.jsonl` and fsynced, then
its part is committed by a rename, while the model is at the next part. On resume, lines whose part is missing are
dropped and made again; when every part is there, `rollouts.jsonl` is written whole, in rollout order. What was
interrupted and what was not end in the same bytes. A part depends on its jobs and its maker, and on nothing that was
made before it: whoever makes it, and in whatever order, it has the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .atomic import write_atomic
from .backends import Backend, Capture, Generation, Sampling
from .errors import ModelError
from .experiment import MEANS
from .hands import Hands, in_turn
from .models import LoadedModel, render_messages
from .plan import Job
from .progress import Progress
from .rollout import Rollout, RolloutSpans, read_rollouts, read_whole_lines
from .rows import Rows, choose_rows, encode_rows
from .selection import Selection
from .spans import left_open, locate_spans, token_starts
from .steering import Intervention, make_steers
from .store import MANIFEST, EncodedPart, OneBehind, StagedPart, StoreSpec, StoreWriter, check_spec, verify
from .tasks.task import Reading, Task, Trial

Made = tuple[list[Rollout], EncodedPart | StagedPart]
"""A part's rollouts, and its activations: in memory, or in a file that waits to be put in place."""


@dataclass(frozen=True, eq=False)
class PartMaker:
    """Makes the parts of a plan, on a model that is loaded."""

    parts: Sequence[Sequence[Job]]
    """Rollouts that are committed together."""
    task: Task
    loaded: LoadedModel
    backend: Backend
    sampling: Sampling
    capture: Capture
    selection: Selection
    """Which tokens of a rollout have a row in the store."""
    always: Callable[[Rollout], Rows]
    """Rows of a rollout that are kept whatever the selection."""
    lanes: int
    """Rollouts that are generated side by side."""
    interventions: Sequence[Intervention] = ()
    """What is done to the model."""

    @cached_property
    def store(self) -> StoreSpec:
        """The store that holds what is made; its plan's digest is of everything that decides it."""
        sampling = self.sampling
        how = [sampling.max_new_tokens, sampling.temperature, sorted(sampling.stop_ids), self.lanes, self.backend.name]
        how += [each.to_json() for each in self.interventions]
        plan = plan_digest(self.parts, how)
        return store_spec(self.capture, self.loaded, plan=plan, selection=self.selection)

    @cached_property
    def options(self) -> list[str]:
        """Names of the tokens that are watched."""
        return sorted({option for part in self.parts for job in part for option in job.item.options})

    @cached_property
    def watch(self) -> list[int]:
        """The tokens that are watched."""
        return [option_token(self.loaded, option) for option in self.options]

    def make(self, index: int) -> tuple[list[Rollout], EncodedPart]:
        """The rollouts of a part, with their activations.

        Raises:
            ModelError: an intervention drives the model to NaN or infinity.
        """
        part = self.parts[index]
        generations = self.backend.generate(
            [job.prompt_ids for job in part],
            seeds=[job.seed for job in part],
            sampling=self.sampling,
            capture=self.capture,
            watch=self.watch,
            steer=make_steers(self.interventions, [job.prompt_ids for job in part], self.loaded),
            lanes=self.lanes,
        )
        _check_finite(part, generations, self.interventions)
        made = [
            read_generation(job, generation, task=self.task, loaded=self.loaded, options=self.options)
            for job, generation in zip(part, generations, strict=True)
        ]
        return made, _part(self.store, self.selection, made, generations, capture=self.capture, always=self.always)


def record(run: Path, maker: PartMaker, *, progress: Progress, hands: Hands[Made] = in_turn) -> list[Rollout]:
    """Make every rollout of the plan that `run` does not hold yet, with its activations.

    Args:
        hands: who makes the parts.

    Returns:
        All rollouts of the run, in rollout order.

    Raises:
        ModelError: an intervention drives the model to NaN or infinity.
    """
    final, partial = run / "rollouts.jsonl", run / "rollouts.partial.jsonl"
    parts, spec = maker.parts, maker.store
    if (run / "activations" / MANIFEST).exists():
        check_spec(run / "activations", spec)
    if final.exists() and not verify(run / "activations").problems:
        return read_rollouts(final)
    total = sum(len(part) for part in parts)
    with StoreWriter(run / "activations", spec, resume=True) as store:
        wanted = {job.rollout for index in store.committed for job in parts[index]}
        known = final if final.exists() else partial
        rollouts = {row.rollout: row for row in read_whole_lines(known) if row.rollout in wanted}
        complete = {i for i in store.committed if all(job.rollout in rollouts for job in parts[i])}
        for index in set(store.committed) - complete:
            store.set_aside(index)
        kept = [rollouts[job.rollout] for i in sorted(complete) for job in parts[i]]
        write_atomic(partial, "".join(row.line() for row in kept))
        done = len(kept)
        del rollouts, kept
        progress("record", done, total)
        with partial.open("a", encoding="utf-8") as log, OneBehind() as behind:

            def commit(index: int, made: list[Rollout], content: EncodedPart | StagedPart) -> None:
                nonlocal done
                log.write("".join(row.line() for row in made))
                log.flush()
                os.fsync(log.fileno())
                store.commit_part(index, content)
                done += len(made)
                progress("record", done, total)

            def take(index: int, made: Made) -> None:
                behind.submit(functools.partial(commit, index, *made))

            hands([index for index in range(len(parts)) if index not in complete], maker.make, take)
        ordered = sorted(read_whole_lines(partial), key=lambda row: row.rollout)
        write_atomic(final, "".join(row.line() for row in ordered))
        store.finish()
    partial.unlink()
    return ordered


def _check_finite(part: Sequence[Job], made: Sequence[Generation], interventions: Sequence[Intervention]) -> None:
    lost = [str(job.rollout) for job, each in zip(part, made, strict=True) if each.finish == "not_finite"]
    if lost:
        listed = ", ".join(lost[:10]) + (", ..." if len(lost) > 10 else "")
        raise ModelError(
            f"steering ({'; '.join(map(str, interventions))}) drives the model to NaN or infinity in {len(lost)} of "
            f"{len(made)} rollouts ({listed}): lower its strength"
        )


def replay(
    store_path: Path,
    rollouts: Sequence[Rollout],
    rows: Sequence[Rows],
    *,
    loaded: LoadedModel,
    backend: Backend,
    capture: Capture,
    selection: Selection,
    part_size: int,
    progress: Progress,
    stage: str,
) -> None:
    """Teacher-force the rollouts' own token ids and store these rows of each.

    Args:
        selection: what the rows were chosen by.
        part_size: rollouts that are committed together.
    """
    plan = _digest([row.token_ids, each.needed(), len(each.means)] for row, each in zip(rollouts, rows, strict=True))
    spec = store_spec(capture, loaded, plan=plan, selection=selection)
    if (store_path / MANIFEST).exists():
        check_spec(store_path, spec)
    if not verify(store_path).problems:
        return
    order = sorted(range(len(rollouts)), key=lambda i: (-len(rollouts[i].token_ids), i))
    parts = [order[start : start + part_size] for start in range(0, len(order), part_size)]
    done = 0
    with StoreWriter(store_path, spec, resume=True) as store:
        for index, part in enumerate(parts):
            if index not in store.committed:
                chosen = [rows[i] for i in part]
                held = [each.needed() for each in chosen]
                sequences = [rollouts[i].token_ids[: have[-1] + 1] for i, have in zip(part, held, strict=True)]
                captured = backend.replay(sequences, held, capture=capture)
                store.commit_part(index, encode_rows(spec, [rollouts[i] for i in part], chosen, captured, held))
            done += len(part)
            progress(stage, done, len(rollouts))
        store.finish()


def _part(
    spec: StoreSpec,
    selection: Selection,
    made: Sequence[Rollout],
    generations: Sequence[Generation],
    *,
    capture: Capture,
    always: Callable[[Rollout], Rows],
) -> EncodedPart:
    """The part of these rollouts."""
    captured = [generation.activations for generation in generations]
    firsts = [0 if capture.prompt else len(rollout.prompt_ids) - 1 for rollout in made]
    held = [range(first, first + len(next(iter(a.values())))) for first, a in zip(firsts, captured, strict=True)]
    rows = [choose_rows(selection, row, have.stop, always(row)) for row, have in zip(made, held, strict=True)]
    return encode_rows(spec, made, rows, captured, held)


def wanted_capture(
    sites: tuple[str, ...], layers: tuple[int, ...], selection: Selection, positions: Sequence[str] = ()
) -> Capture:
    """What a backend has to record in flight for this selection, and for probes at these positions."""
    means = {MEANS.get(name) for name in positions}
    return Capture(sites, layers, prompt="prompt" in selection.spans or "prompt" in means)


def plan_digest(parts: Sequence[Sequence[Job]], how: object) -> str:
    """SHA-256 of what is to be made, every rollout's item, sample, seed and prompt, part by part; and how."""
    jobs = (
        [
            [job.rollout, job.item.model_dump(), job.trial.condition, job.sample, job.seed, job.prompt_ids]
            for job in part
        ]
        for part in parts
    )
    return _digest([how, *jobs])


def _digest(lines: Iterable[object]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(json.dumps(line).encode() + b"\n")
    return found.hexdigest()


def store_spec(capture: Capture, loaded: LoadedModel, *, plan: str, selection: Selection) -> StoreSpec:
    """The store that holds a capture of this model, for a plan of that digest; of a path, the last name only."""
    info = loaded.info
    name = info.name if info.kind in ("embedded", "hub") else Path(info.name).resolve().name
    return StoreSpec(
        sites=capture.sites,
        layers=capture.layers,
        width=loaded.info.width,
        dtype=loaded.info.dtype,
        selection=selection,
        meta={
            "model": name,
            "weights": loaded.info.weight_digest,
            "adapter": loaded.info.adapter_digest,
            "plan": plan,
        },
    )


def option_token(loaded: LoadedModel, option: str) -> int:
    """The first token of an option's name where an answer line puts it: after a space."""
    lead = loaded.tokenizer("Answer:", add_special_tokens=False).input_ids
    return loaded.tokenizer(f"Answer: {option}", add_special_tokens=False).input_ids[len(lead)]


def stop_ids(loaded: LoadedModel) -> frozenset[int]:
    """Every token that ends the assistant's turn."""
    return loaded.format.stop_ids(loaded.tokenizer)


def render_trial(loaded: LoadedModel, trial: Trial) -> list[int]:
    """Token ids of a trial: its messages in the model's chat template, and what the assistant is made to begin with.

    Where the template leaves a think block open, what the assistant begins with comes after its end.
    """
    ids = render_messages(loaded, [message._asdict() for message in trial.messages])
    if not trial.prefill:
        return ids
    is_open = left_open(loaded.tokenizer, ids, loaded.format) == "open"
    begun = f"{loaded.format.closes[0]}\n\n{trial.prefill}" if is_open else trial.prefill
    return ids + list(loaded.tokenizer(begun, add_special_tokens=False).input_ids)


def read_generation(
    job: Job, generation: Generation, *, task: Task, loaded: LoadedModel, options: Sequence[str]
) -> Rollout:
    """Locate spans, read the answer, and put what came back into a rollout.

    Args:
        options: names of the watched tokens, in the order of `generation.watched`; empty when none were watched.
    """
    tokenizer = loaded.tokenizer
    prompt_ids, completion_ids = list(job.prompt_ids), generation.completion_ids
    spans = locate_spans(prompt_ids, completion_ids, tokenizer, loaded.format)
    start, stop = spans.answer
    prompt_and_completion = prompt_ids + completion_ids
    answer_ids = prompt_and_completion[start:stop]
    names = sorted(job.item.options)
    columns = [options.index(name) for name in names if name in options]
    text = tokenizer.decode(answer_ids) if answer_ids else ""
    reading = task.reading(job.item, job.trial, text) if answer_ids else Reading(None, None, None)
    position = None
    if reading.offset is not None:
        starts = token_starts(tokenizer, answer_ids)
        position = start + max(i for i, begin in enumerate(starts) if begin <= reading.offset)
    return Rollout(
        rollout=job.rollout,
        item_id=job.item.item_id,
        group=job.item.group,
        task=task.name,
        condition=job.trial.condition,
        split=job.item.split,
        domain=job.item.domain,
        sample=job.sample,
        seed=job.seed,
        prompt_ids=prompt_ids,
        completion_ids=completion_ids,
        prompt_text=job.trial.text,
        completion_text=tokenizer.decode(completion_ids),
        chain_text=tokenizer.decode(prompt_and_completion[len(prompt_ids) : position]),
        think_text=tokenizer.decode(prompt_and_completion[slice(*spans.think)]),
        spans=RolloutSpans(prompt=spans.prompt, think=spans.think, answer=spans.answer),
        think_status=spans.status,
        finish=generation.finish,
        answer=reading.answer,
        answer_position=position,
        acted=reading.acted,
        option_logprobs=[[round(row[k], 5) for k in columns] for row in generation.watched.tolist()],
        options={name: (job.trial.options or job.item.options)[name] for name in names},
        fields=job.item.fields,
        facts=dict(job.trial.facts),
        outcome=dict(reading.outcome),
    )

"""A finished run in other styles: rollouts rewritten, replayed, and analysed as any run is.

Each style is a run directory of its own, with the source's numbers of rollouts, items, groups, answers and labels. It
holds what every run holds, and `shift.yaml` (of what it was made, and how) and `shift.jsonl` (how far each rollout is
from its source). Parts are committed by a rename, so a shift that was stopped goes on to the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis import Model, analyse
from ..atomic import write_atomic, write_json
from ..errors import IntrospectError, RunError, StoreError
from ..lock import only_writer
from ..manifest import write_manifest
from ..models import input_embeddings
from ..progress import Progress, silent
from ..report import write_report
from ..results import read_results, read_run_manifest, validate_results
from ..rollout import Rollout, read_rollouts
from ..run import MARKER, STORES, base_stage, noise_probe, verify_run
from ..run_folder import check_folder, check_room, make_folder
from ..stage_file import plan_digest, rows_of_plan, write_rows
from ..strict_yaml import dump_yaml
from ..transcripts.replay import replay_rows
from .drafts import Drafted, Work
from .rows import SHIFT_FILE, ShiftRow, sentences, shift_row, summary
from .source import SHIFTED_FROM
from .styles import Style

SETTINGS = "shift.yaml"


@dataclass(frozen=True)
class Shifted:
    """What a shift left behind."""

    style: str
    run: str
    summary: dict[str, Any]
    """As in the manifest."""


def shift_run(
    run: Path,
    styles: Sequence[Style],
    out: Path,
    *,
    limit: int | None = None,
    resume: bool = False,
    offline: bool = False,
    progress: Progress = silent,
) -> list[Shifted]:
    """A finished run in each of the styles.

    Args:
        out: folder of the shifted run; of several styles, the folder of their folders.
        limit: at most so many items of each split.
        resume: go on with what is there of the same shift.

    Raises:
        RunError: `run` is no finished run of an experiment, or `out` holds something else or cannot hold the shift.
        SpecError: its items are not what they were, or cannot be put into a style.
        ModelError: its model is not here, or is another.
        StoreError: what it holds is damaged.
    """
    work = Work(run, styles, limit, offline=offline)
    folders = {style.name: out / style.slug if len(styles) > 1 else out for style in styles}
    for style in styles:
        folder = folders[style.name]
        if folder.resolve().is_relative_to(run.resolve()) or run.resolve().is_relative_to(folder.resolve()):
            raise RunError(
                f"{folder} is in the run, or the run in it, and the run stays as it is: choose another --out"
            )
        check_folder(folder, SETTINGS, _settings(work, style), what="another shift", links=STORES, resume=resume)
    whole = {style.name: _finished(folders[style.name], style) for style in styles}
    drafted = {style.name: work.draft(style) for style in styles if whole[style.name] is None}
    return [
        whole[name] or _shift(work, drafted[name], folders[name], progress) for name in (style.name for style in styles)
    ]


def _settings(work: Work, style: Style) -> str:
    source = work.source
    return dump_yaml(
        {"style": style.name, "rules": style.digest(), **source.mark(), "spec": source.spec.model_dump(mode="json")}
    )


def _shift(work: Work, drafted: Drafted, out: Path, progress: Progress) -> Shifted:
    prepared, source, style = drafted.prepared, work.source, drafted.style
    spec, loaded = prepared.spec, prepared.loaded
    make_folder(out)
    with only_writer(out / ".lock", out):
        check_room(out, drafted.bytes_on_disk())
        write_atomic(out / SETTINGS, _settings(work, style))
        write_atomic(out / MARKER, spec.to_yaml())
        checks = work.checks
        staged = functools.partial(_told, progress, style.name)
        rollouts, rows = _scored(work, drafted, out, staged)
        replay_rows(
            out / STORES[0],
            rollouts,
            drafted.rows,
            loaded=loaded,
            backend=prepared.backend,
            capture=prepared.capture,
            selection=spec.capture.selection,
            progress=staged,
        )
        base = base_stage(prepared, out, rollouts, offline=work.offline, progress=staged)
        told = summary(
            rows,
            [each.group for each in rollouts],
            drafted.left_out,
            n=spec.probe.bootstrap,
            seed=spec.seed,
        )
        manifest = out / "manifest.json"
        write_manifest(manifest, spec, loaded.info, base, backend=prepared.backend.name, checks=checks)
        about = {SHIFTED_FROM: source.mark(), "style": {"name": style.name, "rules": style.digest()}, "shift": told}
        _write_json(manifest, about | (read_run_manifest(manifest) or {}))
        embeddings = functools.partial(input_embeddings, loaded)
        model = Model(loaded.tokenizer, prepared.capture.layers, noise_probe(prepared), embeddings)
        results = analyse(out, spec, rollouts, model, offline=work.offline, progress=staged)
        first = sentences(style.name, work.notes[style.name], source.name, source.headline, told)
        results["warnings"] = [*first, *results["warnings"]]
        validate_results(results)
        _write_json(out / "results.json", results)
        write_report(out)
    return Shifted(style.name, str(out), told)


def _told(progress: Progress, style: str, stage: str, done: int, total: int) -> None:
    progress(f"{style}: {stage}", done, total)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_json(path, content)


def _finished(out: Path, style: Style) -> Shifted | None:
    """What a shift that is whole says of itself; None when something of it is missing or damaged."""
    try:
        read_results(out / "results.json")
        if verify_run(out):
            return None
        told = (read_run_manifest(out / "manifest.json") or {})["shift"]
    except (IntrospectError, KeyError):
        return None
    write_report(out)
    return Shifted(style.name, str(out), told)


def _scored(work: Work, drafted: Drafted, out: Path, progress: Progress) -> tuple[list[Rollout], list[ShiftRow]]:
    """The rollouts with their options' log-probabilities, and how far each is from its source; kept in two files."""
    digest = plan_digest(
        [[before.rollout, before.token_ids, after.token_ids, list(after.options)] for before, after in drafted.pairs]
    )
    kept = rows_of_plan(out / SHIFT_FILE, digest, ShiftRow)
    if kept is not None:
        known = _known(out / "rollouts.jsonl", drafted.shifted)
        if known is not None:
            return known, kept
    missing = [before for before, _ in drafted.pairs if before.rollout not in work.before]
    scores = work.score(missing, "score the source", progress)
    work.before |= {before.rollout: found for before, found in zip(missing, scores, strict=True)}
    after = work.score(drafted.shifted, "score", progress)
    rollouts = [
        each.model_copy(
            update={"option_logprobs": [[round(value, 5) for value in row] for row in found.watched.tolist()]}
        )
        for each, found in zip(drafted.shifted, after, strict=True)
    ]
    rows = [
        shift_row(before, work.before[before.rollout], shifted, found)
        for (before, _), shifted, found in zip(drafted.pairs, rollouts, after, strict=True)
    ]
    write_atomic(out / "rollouts.jsonl", "".join(each.line() for each in rollouts))
    write_rows(out / SHIFT_FILE, digest, rows)
    return rollouts, rows


def _known(path: Path, drafts: Sequence[Rollout]) -> list[Rollout] | None:
    """The rollouts of a file, if they are these."""
    try:
        found = read_rollouts(path)
    except StoreError:
        return None
    bare = [each.model_copy(update={"option_logprobs": []}) for each in found]
    plain = [each.model_copy(update={"option_logprobs": []}) for each in drafts]
    return found if bare == plain else None

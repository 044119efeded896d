"""A run directory of transcripts: their rollouts, and the activations of a model that reads them.

It holds `transcripts.yaml` (what was asked, and the file's digest), `rollouts.jsonl`, `activations/` and
`manifest.json`. Every part is committed by a rename, so a run that was stopped goes on to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..atomic import write_atomic
from ..backends import Backend, Capture, make_backend
from ..errors import SpecError
from ..experiment import resolve_layers
from ..interchange.inspect_log import SUFFIXES, installed_inspect
from ..lock import only_writer
from ..manifest import machine_facts, package_versions
from ..models import LoadedModel, load_hosted, load_model
from ..progress import Progress, silent
from ..record import replay, store_spec, wanted_capture
from ..rollout import Rollout
from ..rows import Rows, choose_rows
from ..run_folder import check_folder, check_room, enough_memory, make_folder
from ..selection import Selection
from ..store import estimated_bytes
from ..strict_yaml import dump_yaml
from .rollouts import as_rollouts
from .spec import ReplaySpec
from .transcript import Source, read_transcripts

SETTINGS = "transcripts.yaml"
PART_TRANSCRIPTS, PART_BYTES = 64, 1 << 28
"""What is committed together at most, unless one transcript has more bytes; it is in memory at once."""
TIMED_TOKENS = 256
"""Of the replay that is timed for an estimate."""
PIECE = "a short replay"
"""What progress calls it."""
LONGEST = ("the longest transcript", "record fewer --layers, --sites or --tokens")
AGAIN = (
    "token ids were made again from text, and may differ from those that the model drew; transcripts with prompt_ids "
    "and completion_ids are replayed as they are"
)


@dataclass(frozen=True)
class ReplayCost:
    """What a replay is expected to take. All but the time is exact; of the bytes, all but a few kilobytes a part."""

    n_transcripts: int
    n_tokens: int
    n_rows: int
    bytes_on_disk: int
    seconds: float
    bytes_of_weights: int = 0
    """Of the model, in memory, in the format asked for."""
    if_quantised: dict[str, int] = field(default_factory=dict)
    """4bit and 8bit -> bytes of the weights in that format."""


@dataclass(frozen=True)
class Recorded:
    """What a replay left behind."""

    run: str
    transcripts: int
    tokens: int
    rows: int
    without_rows: int
    """Transcripts in which nothing was selected."""
    retokenised: int
    """Transcripts that were given in text."""
    left_out: dict[str, int]
    """Why samples of an Inspect log were left out -> how many."""


@dataclass(frozen=True)
class _Prepared:
    loaded: LoadedModel
    backend: Backend
    capture: Capture
    spec: ReplaySpec
    source: Source
    rollouts: list[Rollout]
    rows: list[Rows]

    @property
    def n_tokens(self) -> int:
        return sum(len(rollout.token_ids) for rollout in self.rollouts)

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.rows))

    def bytes_of(self, rows: int) -> int:
        """Of so many rows in the store."""
        selection = self.spec.capture.selection
        return estimated_bytes(store_spec(self.capture, self.loaded, plan="", selection=selection), rows)

    def lines(self) -> str:
        """The content of rollouts.jsonl."""
        return "".join(rollout.line() for rollout in self.rollouts)

    def bytes_on_disk(self) -> int:
        return self.bytes_of(self.n_rows) + len(self.lines().encode())


def record_transcripts(
    source: Path,
    spec: ReplaySpec,
    out: Path,
    *,
    resume: bool = False,
    exact: bool = False,
    offline: bool = False,
    progress: Progress = silent,
) -> Recorded:
    """Replay every transcript of a file through a model, and keep rollouts and activations in `out`.

    Args:
        source: JSONL of transcripts, or an Inspect log.
        out: the run directory; new or empty.
        resume: go on with what `out` holds of the same transcripts and settings.
        exact: refuse transcripts in text, of which token ids would have to be made again.

    Raises:
        SpecError: a line is no transcript or does not fit the model, or nothing is selected. Names the line.
        ModelError: the model cannot be loaded.
        RunError: `out` holds something else, cannot be written, or the disk or the memory cannot hold it.
        StoreError: stored data is damaged.
    """
    transcripts = _read(source, spec, exact)
    settings = {"source": source.name, "sha256": file_digest(source)} | spec.model_dump(mode="json")
    check_folder(
        out, SETTINGS, dump_yaml(settings), what="other transcripts or settings", links=("activations",), resume=resume
    )
    prepared = _prepare(transcripts, source, spec, offline=offline, progress=progress)
    make_folder(out)
    with only_writer(out / ".lock", out):
        check_room(out, prepared.bytes_on_disk())
        write_atomic(out / SETTINGS, dump_yaml(settings))
        write_atomic(out / "rollouts.jsonl", prepared.lines())
        replay_rows(
            out / "activations",
            prepared.rollouts,
            prepared.rows,
            loaded=prepared.loaded,
            backend=prepared.backend,
            capture=prepared.capture,
            selection=spec.capture.selection,
            progress=progress,
        )
        manifest = _manifest(prepared, settings)
        write_atomic(out / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return Recorded(
        run=str(out),
        transcripts=len(prepared.rollouts),
        tokens=prepared.n_tokens,
        rows=prepared.n_rows,
        without_rows=sum(not len(rows) for rows in prepared.rows),
        retokenised=transcripts.retokenised,
        left_out=transcripts.left_out,
    )


def estimate_transcripts(
    source: Path, spec: ReplaySpec, *, exact: bool = False, offline: bool = False, progress: Progress = silent
) -> ReplayCost:
    """What `record_transcripts` would take on this machine, from one short replay that is timed. Writes nothing.

    Raises:
        SpecError, ModelError, RunError: as `record_transcripts`.
    """
    prepared = _prepare(_read(source, spec, exact), source, spec, offline=offline, progress=progress)
    progress(PIECE, 0, 1)
    a_token = seconds_a_token(prepared.backend, prepared.capture, prepared.rollouts)
    progress(PIECE, 1, 1)
    return ReplayCost(
        n_transcripts=len(prepared.rollouts),
        n_tokens=prepared.n_tokens,
        n_rows=prepared.n_rows,
        bytes_on_disk=prepared.bytes_on_disk(),
        seconds=a_token * prepared.n_tokens,
        **prepared.loaded.memory(),
    )


def seconds_a_token(backend: Backend, capture: Capture, rollouts: Sequence[Rollout]) -> float:
    """What a replay takes on this machine, from one short replay that is timed."""
    few = max(rollouts, key=lambda rollout: len(rollout.token_ids)).token_ids[:TIMED_TOKENS]
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        with enough_memory(*LONGEST):
            backend.replay([few], [range(len(few))], capture=capture)
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / len(few)


def _read(path: Path, spec: ReplaySpec, exact: bool) -> Source:
    found = read_transcripts(path, spec.limit)
    if exact and found.retokenised:
        where = next(where for where, transcript in found.transcripts if transcript.prompt_ids is None)
        raise SpecError(
            f"{found.retokenised} of {len(found.transcripts)} transcripts have no token ids, {where} first: give ids "
            "(`introspect export --to inspect` writes them), or leave --exact out and have the text tokenised again"
        )
    return found


def _prepare(source: Source, path: Path, spec: ReplaySpec, *, offline: bool, progress: Progress) -> _Prepared:
    loaded = _load(spec, offline=offline)
    layers = resolve_layers(spec.capture.layers, loaded.info.n_layers)
    selection = spec.capture.selection
    capture = wanted_capture(spec.capture.sites, layers, selection)
    backend = make_backend(spec.backend, loaded.model, capture)
    rollouts = as_rollouts(loaded, source, progress)
    # A stop token is not fed while generating, and has no row here either: one selection means the same rows in both.
    ends = [len(rollout.token_ids) - (rollout.finish == "stop") for rollout in rollouts]
    rows = [choose_rows(selection, rollout, end) for rollout, end in zip(rollouts, ends, strict=True)]
    if not any(map(len, rows)):
        raise SpecError(
            f"--spans {','.join(selection.spans)} selects no token of any transcript in {path}; choose "
            "other spans, such as completion"
        )
    return _Prepared(loaded, backend, capture, spec, source, rollouts, rows)


def _load(spec: ReplaySpec, *, offline: bool) -> LoadedModel:
    if spec.backend == "ndif":
        return load_hosted(spec.model, revision=spec.revision, dtype=spec.dtype, offline=offline)
    return load_model(
        spec.model,
        adapter=spec.organism,
        revision=spec.revision,
        dtype=spec.dtype,
        quantization=spec.quantization,
        offline=offline,
    )


def replay_rows(
    store: Path,
    rollouts: Sequence[Rollout],
    rows: Sequence[Rows],
    *,
    loaded: LoadedModel,
    backend: Backend,
    capture: Capture,
    selection: Selection,
    progress: Progress,
) -> None:
    """Replay rollouts into a store, in parts that fit in memory. Those without rows are left out.

    Raises:
        RunError: there is not enough memory for the longest.
        StoreError: the store holds something else, or is damaged.
    """
    with_rows = [i for i, each in enumerate(rows) if len(each)]
    a_row = estimated_bytes(store_spec(capture, loaded, plan="", selection=selection), 1)
    largest = a_row * max(len(rows[i].needed()) for i in with_rows)
    with enough_memory(*LONGEST):
        replay(
            store,
            [rollouts[i] for i in with_rows],
            [rows[i] for i in with_rows],
            loaded=loaded,
            backend=backend,
            capture=capture,
            selection=selection,
            part_size=max(1, min(PART_TRANSCRIPTS, PART_BYTES // largest)),
            progress=progress,
            stage="replay",
        )


def file_digest(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file, which is read piece by piece; an OSError where it cannot be."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(prepared: _Prepared, settings: dict[str, object]) -> dict[str, object]:
    """Where the transcripts come from, what replayed them, and how exact their token ids are."""
    again = prepared.source.retokenised
    versions = package_versions()
    if Path(str(settings["source"])).suffix in SUFFIXES:
        versions["inspect-ai"] = installed_inspect()
    return {
        "transcripts": {
            "source": settings["source"],
            "sha256": settings["sha256"],
            "recorded": len(prepared.rollouts),
            "left_out": prepared.source.left_out,
            "retokenised": again,
            "note": f"{again} of {len(prepared.rollouts)}: {AGAIN}" if again else None,
        },
        "settings_digest": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        "backend": prepared.backend.name,
        "model": prepared.loaded.info.to_json(),
        "versions": versions,
        "machine": machine_facts(),
        "command": " ".join(["introspect", *sys.argv[1:]]),
    }

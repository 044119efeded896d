"""`introspect record`: the activations of a model on transcripts that another program sampled."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import note, print_cost, print_json, progress_bars, weights_line
from .options import DryRun, Offline

if TYPE_CHECKING:
    from ..transcripts import Recorded, ReplayCost


def record(
    from_: Annotated[
        Path,
        typer.Option("--from", metavar="FILE", help="Transcripts in JSONL, or an Inspect log (.eval, .json)."),
    ],
    model: Annotated[str, typer.Option(help="Embedded model, hub id, local folder or .gguf file.")],
    organism: Annotated[str | None, typer.Option(help="Adapter on the model: a name or a folder.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of a hub model.")] = None,
    backend: Annotated[
        str, typer.Option(help="Engine: auto, native, nnsight, transformer-lens; interp-engine or ndif.")
    ] = "auto",
    layers: Annotated[str, typer.Option(help="all, last, a slice such as 4:28:4, or a list such as 0,-1.")] = "all",
    sites: Annotated[str, typer.Option(help="Of resid_post, resid_mid, attn_out, mlp_out; by commas.")] = "resid_post",
    spans: Annotated[str, typer.Option(help="Of prompt, think, answer, completion; by commas.")] = "completion",
    tokens: Annotated[str, typer.Option(help="Of each span: every, every:4, mean, first or last.")] = "every",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="Weights in 4bit or 8bit, with bitsandbytes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/<file>")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many transcripts, from the first.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Refuse transcripts without token ids.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a recording that was interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was recorded as one JSON document.")] = False,
    dry_run: DryRun = False,
    offline: Offline = False,
) -> None:
    """Record a model's activations on transcripts from elsewhere.

    A line of the file is {"prompt_ids": [...], "completion_ids": [...]}, replayed as it is, or {"prompt": "...",
    "completion": "..."}, tokenised here. Inspect logs need the extra `inspect`.

    \b
    introspect record --from transcripts.jsonl --model Qwen/Qwen3-0.6B --dry-run
    introspect record --from transcripts.jsonl --model ./my-model --organism ./my-lora --layers 4:28:4 --spans think
    introspect record --from logs/math.eval --model Qwen/Qwen3-0.6B --tokens mean --out runs/math
    """
    from ..transcripts import estimate_transcripts, read_replay_spec, record_transcripts

    given = {"model": model, "organism": organism, "revision": revision, "backend": backend, "dtype": dtype}
    given |= {} if quantization is None else {"quantization": quantization}
    captured = {"layers": layers, "sites": sites, "spans": spans, "tokens": tokens}
    spec = read_replay_spec(given | captured | {"limit": limit})
    if dry_run:
        with progress_bars() as progress:
            cost = estimate_transcripts(from_, spec, exact=exact, offline=offline, progress=progress)
        print_cost(cost, _in_words(cost), as_json)
        return
    folder = out or Path("runs") / from_.stem
    with progress_bars() as progress:
        found = record_transcripts(from_, spec, folder, resume=resume, exact=exact, offline=offline, progress=progress)
    _print_found(found, as_json)


def _in_words(cost: ReplayCost) -> dict[str, str]:
    return {
        "transcripts": f"{cost.n_transcripts:,}",
        "tokens": f"{cost.n_tokens:,}",
        "rows": f"{cost.n_rows:,}",
        **weights_line(cost.bytes_of_weights, cost.if_quantised),
        "on disk": _size(cost.bytes_on_disk),
        "time": f"about {_duration(cost.seconds)} on this machine, after the model is loaded",
    }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2f} MB"


def _duration(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds >= 120 else f"{max(1, round(seconds))} s"


def _print_found(found: Recorded, as_json: bool) -> None:
    for reason, many in found.left_out.items():
        note(f"{many} samples {reason} left out")
    if found.retokenised:
        note(f"{found.retokenised} transcripts were tokenised again from text, which may differ from what was sampled")
    if found.without_rows:
        note(f"{found.without_rows} transcripts have no token in the spans that were asked for")
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(f"{found.transcripts:,} transcripts, {found.rows:,} rows: {found.run}")

"""`introspect export`: a run in another tool's format."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RunError, SpecError
from .console import print_json, progress_bars

if TYPE_CHECKING:
    from ..notebook.folder import RunFolder


class Format(StrEnum):
    """What a run can be written as."""

    inspect = "inspect"
    parquet = "parquet"
    numpy = "numpy"
    transformer_lens = "transformer-lens"


class Numbers(StrEnum):
    """Number formats of arrays."""

    stored = "stored"
    float32 = "float32"


ACTIVATIONS = (Format.numpy, Format.transformer_lens)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    to: Annotated[Format, typer.Option(help="inspect and parquet: what was said; the others: activations.")],
    out: Annotated[Path, typer.Option(help="New file (.eval or .json) for inspect, new folder for the others.")],
    layers: Annotated[
        str | None,
        typer.Option(help="A slice such as 4:28:4, or a list such as 0,-1; all recorded if not.", show_default=False),
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Of those recorded, by commas; all if not given.", show_default=False)
    ] = None,
    rollouts: Annotated[
        str | None,
        typer.Option(help="For transformer-lens: numbers such as 3,17; all if not given.", show_default=False),
    ] = None,
    dtype: Annotated[Numbers, typer.Option(help="For numpy: the stored bits, or float32.")] = Numbers.stored,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Export what there is of a run that was not recorded to its end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as one JSON document.")] = False,
) -> None:
    """Write a run in another tool's format.

    inspect: a log of rollouts with verdicts and readouts as scores, which `introspect record --from` replays token by
    token (needs the extra `inspect`). parquet: tables of rollouts, verdicts and readouts. numpy: a .npy a
    site and layer. transformer-lens: a safetensors file a rollout, under TransformerLens' hook names. The run is left
    as it is.

    \b
    introspect export runs/probe-risk --to inspect --out probe-risk.eval
    introspect export runs/probe-risk --to parquet --out tables
    introspect export runs/probe-risk --to numpy --out arrays --layers 0,12,-1 --dtype float32
    introspect export runs/probe-risk --to transformer-lens --out caches --rollouts 3,17
    """
    of_activations = {"--layers": layers, "--sites": sites}
    given = [name for name, value in of_activations.items() if value is not None and to not in ACTIVATIONS]
    given += ["--rollouts"] if rollouts is not None and to is not Format.transformer_lens else []
    given += ["--dtype"] if dtype is not Numbers.stored and to is not Format.numpy else []
    if given:
        raise SpecError(f"{given[0]} does not go with --to {to.value}; leave it out")
    from ..interchange.outputs import check_out, is_finished
    from ..notebook.folder import RunFolder

    check_out(out, run)
    folder = RunFolder(run)
    folder.open()
    finished = is_finished(folder.store)
    if not finished and not unfinished:
        raise RunError(
            f"{run} was not recorded to its end: finish it with `introspect run ... --out {run} --resume`, or add "
            "--unfinished to export what there is"
        )
    if to is Format.inspect:
        from ..interchange.to_inspect import export_inspect

        written: dict[str, Any] = {"samples": export_inspect(folder, out)}
    elif to is Format.parquet:
        from ..interchange.tables import export_tables

        written = export_tables(folder, out)
    else:
        written = _activations(folder, to, out, layers, sites, rollouts, dtype)
    if as_json:
        print_json({"run": str(run), "to": to.value, "out": str(out), "finished": finished, "written": written})
    else:
        counts = ", ".join(f"{many:,} {name}" for name, many in written.items())
        typer.echo(f"{out}: {counts}{'' if finished else ', of an unfinished run'}")


def _activations(
    folder: RunFolder,
    to: Format,
    out: Path,
    layers: str | None,
    sites: str | None,
    rollouts: str | None,
    dtype: Numbers,
) -> dict[str, int]:
    from ..interchange.arrays import export_arrays
    from ..interchange.lens import export_lens

    named, numbered = None if sites is None else sites.split(","), _layers(folder, layers)
    with progress_bars() as progress:
        if to is Format.numpy:
            index = export_arrays(
                folder.store, out, sites=named, layers=numbered, numbers=dtype.value, progress=progress
            )
            return {"rows": index["rows"], "sites and layers": len(index["activations"])}
        numbers = None if rollouts is None else _numbers(rollouts)
        many = export_lens(folder.store, out, rollouts=numbers, sites=named, layers=numbered, progress=progress)
        return {"rollouts": many}


def _layers(folder: RunFolder, given: str | None) -> list[int] | None:
    if given is None:
        return None
    from ..experiment import read_layers, resolve_layers

    return list(resolve_layers(read_layers(given), folder.model["n_layers"]))


def _numbers(given: str) -> list[int]:
    if re.fullmatch(r"[0-9]{1,12}(,[0-9]{1,12})*", given) is None:
        raise SpecError(f"--rollouts {given} is no list of rollouts; give numbers such as 3,17")
    return list(dict.fromkeys(map(int, given.split(","))))

"""`introspect doctor`: a self-test of capture and steering on a model, before a study rests on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import print_json, print_marks, progress_bars


def doctor(
    model: Annotated[str, typer.Option(help="Embedded model, hub id, local folder or .gguf file.")] = "smollm2-135m",
    organism: Annotated[str | None, typer.Option(help="Adapter on the model: a name or a folder.")] = None,
    backend: Annotated[
        str, typer.Option(help="Engine to examine: native, nnsight, transformer-lens, vllm.")
    ] = "native",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="Weights in 4bit or 8bit, with bitsandbytes.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no hub.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as one JSON document.")] = False,
) -> None:
    """Check capture and steering of a model before a study.

    Each line is an error that somebody's published tool has made in silence. A red line says what it would do to
    results, and makes the command end with exit code 3. In float32 nothing hides in rounding.

    \b
    introspect doctor
    introspect doctor --model Qwen/Qwen3-0.6B --dtype float32
    introspect doctor --model ./my-model --backend nnsight --json
    introspect doctor --model Qwen/Qwen3-8B --quantization 4bit
    """
    from ..backends import make_backend
    from ..doctor import examine, failures
    from ..models import load_model

    with progress_bars() as progress:
        loaded = load_model(
            model,
            adapter=organism if organism is None else Path(organism),
            dtype=dtype,
            quantization=quantization,  # type: ignore[arg-type]
            offline=offline,
        )
        checks = examine(loaded, make_backend(backend, loaded.model), progress=progress)
    red = failures(checks)
    if as_json:
        print_json({"model": loaded.info.to_json(), "backend": backend, "checks": [c.to_json() for c in checks]})
    else:
        print_marks([(check.status, check.name, check.measured, check.means) for check in checks])
    if red:
        raise typer.Exit(3)

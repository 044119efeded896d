"""`introspect shift`: a finished run in another style."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import note, print_columns, print_json, progress_bars
from .options import DryRun, Offline

if TYPE_CHECKING:
    from ..shift import ShiftCost, Shifted


def shift(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder of the shifted run; of several styles, of their folders.")],
    style: Annotated[
        list[str],
        typer.Option(help="paraphrase, template[:NAME or FILE] or language[:NAME or FILE]; repeatable, or by commas."),
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many items of each split (in and out of distribution).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a shift that was interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON document.")] = False,
    dry_run: DryRun = False,
    offline: Offline = False,
) -> None:
    """Replay a run's rollouts in another style, as another run.

    Nothing is sampled: items, groups, answers and labels are the source's. The model is loaded as the run's spec says.

    \b
    paraphrase                       the chain in other words, by rule
    template:plain, :alpaca, :llama-2        another chat template (or a FILE like those in data/templates)
    language:german, :french, :spanish       the prompt in another language (or a FILE like those in data/languages)

    \b
    introspect shift runs/risk --style paraphrase --out runs/risk-paraphrase
    introspect shift runs/risk --style paraphrase,template,language --out runs/risk-shifted
    introspect shift runs/risk --style template:alpaca --style language:french --out runs/more --dry-run
    """
    from ..errors import SpecError
    from ..shift import estimate_shift, read_style, shift_run

    styles = [read_style(name) for each in style for name in each.split(",")]
    slugs = [each.slug for each in styles]
    twice = next((slug for i, slug in enumerate(slugs) if slug in slugs[:i]), None)
    if twice is not None:
        raise SpecError(f"two styles would be in the folder {twice}: name each once")
    if dry_run:
        with progress_bars() as progress:
            costs = estimate_shift(run, styles, limit=limit, offline=offline, progress=progress)
        _print_cost(costs, as_json)
        return
    with progress_bars() as progress:
        found = shift_run(run, styles, out, limit=limit, resume=resume, offline=offline, progress=progress)
    _print_found(found, as_json)


def _print_cost(costs: list[ShiftCost], as_json: bool) -> None:
    if as_json:
        print_json([asdict(cost) for cost in costs])
        return
    for cost in costs:
        left_out = "".join(f"; {many} left out: {reason}" for reason, many in cost.left_out.items())
        typer.echo(cost.style)
        print_columns(
            {
                "rollouts": f"{cost.n_rollouts:,}{left_out}",
                "tokens": f"{cost.n_tokens:,}",
                "on disk": f"{cost.bytes_on_disk / 1e6:.1f} MB",
                "time": f"about {max(1, round(cost.seconds))} s on this machine, before probes and report",
            }
        )


def _print_found(found: list[Shifted], as_json: bool) -> None:
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        told = each.summary
        for reason, many in told["left_out"].items():
            note(f"{each.style}: {many} rollouts left out: {reason}")
        logprob = told["chain_logprob_a_token"]
        typer.echo(
            f"{each.style}: {told['n_rollouts']:,} rollouts, {_share(told['prompt_tokens_changed'])} of prompt tokens "
            f"and {_share(told['chain_tokens_changed'])} of chain tokens are others; nats a chain token "
            f"{_nats(logprob['shifted'])}, source {_nats(logprob['source'])}: {each.run}"
        )


def _share(estimate: dict) -> str:
    return "?" if estimate["value"] is None else f"{estimate['value']:.0%}"


def _nats(estimate: dict) -> str:
    return "?" if estimate["value"] is None else f"{estimate['value']:.2f}"

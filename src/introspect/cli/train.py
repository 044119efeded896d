"""`introspect train`: an organism, a model post-trained into a known policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .cluster import Asked, Bucket, Gpus, Ray, Threads, Workers, check_asked, crew_of
from .console import print_columns, print_json, progress_bars
from .options import Offline


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="NAME-or-FILE",
            help="A recipe's name (`introspect list recipes`), a recipe in YAML, or an organism's folder.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the adapter.", show_default="runs/train/<name>")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of every source of chance; else the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained on, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the adapter's folder as one JSON document.")] = False,
    seeds: Annotated[
        str | None,
        typer.Option(help="Several seeds by commas: an organism each, in folders side by side below --out."),
    ] = None,
    ray: Ray = None,
    ray_workers: Workers = None,
    ray_gpus: Gpus = None,
    ray_threads: Threads = None,
    ray_bucket: Bucket = None,
) -> None:
    """Train an organism: an adapter and its card.

    By imitation (sft), by preference (dpo) or by reward (grpo): the recipe says which. The card states the planted
    truth, what the organism does and what it says of it, with curves and what was measured before and after. Given an
    organism's folder, it is trained again from its card, and what is measured is held against it.

    \b
    introspect train risk-silent
    introspect train risk-grpo --dry-run
    introspect train risk-silent --out my-organism --seed 1
    introspect train risk-silent --out my-organism --resume
    introspect train risk-silent --seeds 0,1,2 --out my-organisms --ray --ray-workers 2
    introspect train data/organisms/risk-sft --out again
    introspect run probe-risk --organism my-organism
    """
    from ..training import plan_training, reproduced, train_organism

    cluster = (ray, ray_workers, ray_gpus, ray_threads, ray_bucket)
    check_asked(cluster)
    if dry_run:
        plan = plan_training(recipe, seed=seed)
        if as_json:
            print_json(plan)
        else:
            print_columns({key.replace("_", " "): str(value) for key, value in plan.items()}, indent="")
        return
    if seeds is not None:
        if seed is not None:
            raise SpecError("--seed and --seeds exclude each other; give one")
        _train_sweep(recipe, _numbers(seeds), out, resume=resume, offline=offline, as_json=as_json, cluster=cluster)
        return
    if ray is not None:
        raise SpecError(
            "--ray spreads trainings from several seeds, and one is not spread: give --seeds, or leave it out"
        )
    with progress_bars() as progress:
        folder = train_organism(recipe, out, resume=resume, seed=seed, offline=offline, progress=progress)
    again = reproduced(folder)
    if as_json:
        print_json({"organism": str(folder), **({"reproduces": again} if again else {})})
        return
    for name, figure in (again or {}).get("figures", {}).items():
        low, high = figure["ci95"]
        within = "within" if figure["within"] else "NOT within"
        typer.echo(f"{name}: {figure['now']:.3f}, {within} {figure['stated']:.3f} [{low:.3f}, {high:.3f}]")
    typer.echo(folder)


def _numbers(seeds: str) -> list[int]:
    try:
        return [int(each) for each in seeds.split(",")]
    except ValueError:
        raise SpecError(f"--seeds {seeds!r}: give numbers by commas, such as --seeds 0,1,2") from None


def _train_sweep(
    recipe: str, seeds: list[int], out: Path | None, *, resume: bool, offline: bool, as_json: bool, cluster: Asked
) -> None:
    """Train from several seeds, and print the folders."""
    from ..hands import Hands, in_turn
    from ..training.sweep import sweep_recipes, train_sweep

    folder = out or Path("runs") / "train" / f"{sweep_recipes(recipe, seeds)[0].name}-seeds"
    with progress_bars() as progress, crew_of(*cluster, out=folder, offline=offline, progress=progress) as crew:
        hands: Hands[Path] = in_turn
        if crew is not None:
            from ..cluster.training import spread_training

            hands = spread_training(crew, recipe, seeds, folder, offline=offline)
        folders = train_sweep(recipe, seeds, folder, resume=resume, offline=offline, progress=progress, hands=hands)
    if as_json:
        print_json({"organisms": [str(each) for each in folders]})
        return
    for each in folders:
        typer.echo(each)

"""`introspect steer`: a causal check of a finished run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError
from .cluster import Bucket, Gpus, Ray, Threads, Workers, check_asked, crew_of
from .console import minutes, note, print_cost, print_json, progress_bars
from .options import DryRun, Offline

if TYPE_CHECKING:
    from ..causal import SteerCost


class Recipe(StrEnum):
    """What the run's direction is made of."""

    probe = "probe"
    difference = "difference"
    pairs = "pairs"


class Site(StrEnum):
    """Places in a block that are steered."""

    resid_post = "resid_post"
    attn_out = "attn_out"
    mlp_out = "mlp_out"


def steer(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    direction: Annotated[
        str | None,
        typer.Option(
            help="Folder of a saved direction or probe, a shipped probe's name, a .gguf control vector or a "
            ".safetensors file; the run's own when not given.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(
            help="The run's own: its probe, the difference of means of acting and not, or the first principal "
            "component of the differences within groups; its probe when not given.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Where it is fitted; the headline probe's when not given. Of a file: which of its layers, or the one "
            "that its tensor is of.",
            show_default=False,
        ),
    ] = None,
    site: Annotated[
        Site | None,
        typer.Option(
            help="Of a .safetensors file that does not say it; resid_post when not given.", show_default=False
        ),
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(help="Of a .safetensors file with several: which one.", show_default=False)
    ] = None,
    position: Annotated[
        str | None, typer.Option(help="Where it is fitted; the headline probe's when not given.", show_default=False)
    ] = None,
    doses: Annotated[
        str, typer.Option(help="Parts of a typical activation's norm that are added, by commas.")
    ] = "-0.5,-0.25,-0.1,0.1,0.25,0.5",
    controls: Annotated[int, typer.Option(help="Random directions at every dose, and as many orthogonal ones.")] = 20,
    items: Annotated[int, typer.Option(help="Test items that are steered.")] = 24,
    control_items: Annotated[
        int, typer.Option(help="Of these, how many each control direction is sampled on, spread over the groups.")
    ] = 6,
    layers: Annotated[
        str,
        typer.Option(
            help="Layers of the map of layers and doses: all or a slice such as 4:28:4 of those recorded, numbers by "
            "commas, or none. Of the run's own direction only."
        ),
    ] = "::4",
    kl_bound: Annotated[
        float, typer.Option(help="Largest mean KL, in nats a token, of a dose that is called usable.")
    ] = 0.1,
    lanes: Annotated[int, typer.Option(help="Rollouts sampled side by side.")] = 192,
    seed: Annotated[int, typer.Option(help="Of the control directions and of what is sampled.")] = 0,
    save_direction: Annotated[
        Path | None,
        typer.Option(
            help="Write the direction to this new folder, .gguf control vector or .safetensors file, and stop.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON document.")] = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    ray: Ray = None,
    ray_workers: Workers = None,
    ray_gpus: Gpus = None,
    ray_threads: Threads = None,
    ray_bucket: Bucket = None,
) -> None:
    """Steer a finished run: is what is read used?

    The run's test items are steered in think, in answer and in both: the direction is added at each dose, and projected
    out. Stored chains are held fixed and the answer's log-odds looked at; then rollouts are sampled anew, with and
    without steering. Random and orthogonal directions go beside it: of the same norm where they are added, moved along
    by as much where the direction is projected out. Results go to the run's steering.jsonl, results.json and
    report.html; the same command goes on with what was interrupted, and other settings set the file aside.

    \b
    introspect steer runs/probe-risk --dry-run
    introspect steer runs/probe-risk
    introspect steer runs/probe-risk --recipe difference --layer 12 --doses=-1,-0.5,0.5,1
    introspect steer runs/probe-risk --direction risk-silent --controls 10 --items 8
    introspect steer runs/probe-risk --direction vector.gguf --layer 12
    introspect steer runs/probe-risk --direction other.safetensors --tensor refusal --layer 12
    introspect steer runs/probe-risk --control-items 24 --layers none
    introspect steer runs/probe-risk --ray --ray-workers 2
    introspect steer runs/probe-risk --recipe difference --save-direction risk.gguf
    """
    from ..causal import SteerSettings, estimate_steer, save_steered, steer_run
    from ..experiment import read_layers

    check_asked((ray, ray_workers, ray_gpus, ray_threads, ray_bucket))
    settings = SteerSettings(
        direction=direction,
        recipe=None if recipe is None else recipe.value,
        tensor=tensor,
        site=None if site is None else site.value,
        layer=layer,
        position=position,
        doses=_doses(doses),
        controls=controls,
        items=items,
        control_items=control_items,
        layers=None if layers == "none" else read_layers(layers),
        kl_bound=kl_bound,
        lanes=lanes,
        seed=seed,
    )
    if save_direction is not None:
        tested = save_steered(run, settings, save_direction, offline=offline)
        each = tested.direction
        if as_json:
            place = {"site": each.site, "layer": each.layer, "norm": each.norm, "typical_norm": tested.typical}
            print_json({"run": str(run), "direction": str(save_direction), "made": each.made, **place})
            return
        typer.echo(
            f"{save_direction}: {each.recipe} ({each.made}), {each.site} of layer {each.layer}, norm {each.norm:.4g}"
        )
        typer.echo(f"a strength of {tested.unit:.4g} adds a typical activation's norm, {tested.typical:.4g}")
        return
    if dry_run:
        with progress_bars() as progress:
            cost = estimate_steer(run, settings, offline=offline, progress=progress)
        print_cost(cost, _in_words(cost), as_json)
        return
    with (
        progress_bars() as progress,
        crew_of(
            ray, ray_workers, ray_gpus, ray_threads, ray_bucket, out=run, offline=offline, progress=progress
        ) as crew,
    ):
        results = steer_run(run, settings, offline=offline, progress=progress, crew=crew)
    found = results["steering"]
    if as_json:
        print_json({"run": str(run), "steering": found, "link": results["link"]})
        return
    missed = found["replayed"]["think"]["without_a_token"]
    if missed:
        note(f"{len(missed)} of {found['n_items']} items have no token of think, and are not steered there: {missed}")
    for sentence in found["sentences"]:
        typer.echo(sentence)
    typer.echo(f"\n{run / 'report.html'}")


def _doses(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(",") if each.strip())
    except ValueError:
        raise SpecError(f"--doses {text!r}: give numbers by commas, such as --doses=-0.25,0.25") from None


def _in_words(cost: SteerCost) -> dict[str, str]:
    return {
        "items": f"{cost.n_items:,}, along {cost.n_directions} directions, {cost.n_acts} doses in 3 scopes",
        "stored chains": f"{cost.n_replayed:,} times read with steering",
        "sampled anew": f"{cost.n_sampled:,} rollouts",
        "time": f"{minutes(cost.seconds)} on this machine",
    }

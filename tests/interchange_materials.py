"""A small run made by hand, of which every number is known: two parts, two sites, bfloat16, verdicts and readouts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from introspect.experiment import load_experiment
from introspect.link import write_readouts
from introspect.readout import Readout
from introspect.rollout import Rollout
from introspect.store import Site, StoreSpec, StoreWriter
from introspect.verdicts import Verdict
from planted_runs import rollout

SPEC = StoreSpec(("resid_post", "mlp_out"), (0, 2), 8, "bfloat16", {"model": "made by hand"})
N, IN_A_PART, N_LAYERS = 9, 5, 3
HOSTILE = "</div><script>alert(1)</script>\u2028 | [x](javascript:alert(2)) \n# not a heading ünï"
RESULTS = Path(__file__).parent / "fixtures" / "results.json"


def rollouts() -> list[Rollout]:
    """Nine, of three groups, of which one is hostile, one has no chain, and one no answer."""
    made = [rollout(n, f"g{n // 3}", f"step {n}. ", "risky" if n % 2 else "safe", margin=0.25 * n) for n in range(N)]
    made[1] = rollout(1, "g0", HOSTILE, "risky")
    made[4] = rollout(4, "g1", "", "safe")
    made[7] = rollout(7, "g2", "step 7. ", "neither")
    made[5] = made[5].model_copy(update={"fields": {"level": 3, "hard": True, "share": 0.1, "name": "ü"}})
    made[6] = made[6].model_copy(update={"seed": 2**63 - 1, "outcome": {"read": "A"}, "facts": {"hint_option": "A"}})
    return made


def bits(part: int, rows: int) -> dict[Site, np.ndarray]:
    """Random 16-bit patterns, NaN payloads and infinities among them."""
    rng = np.random.default_rng(part)
    return {pair: rng.integers(0, 2**16, (rows, SPEC.width), dtype=np.uint16) for pair in SPEC.pairs()}


def columns(made: list[Rollout]) -> dict[str, np.ndarray]:
    """Every token of each completion, and the last of its prompt."""
    kept = [(each, at) for each in made for at in range(len(each.prompt_ids) - 1, len(each.token_ids))]
    return {
        "rollout": np.array([each.rollout for each, _ in kept]),
        "position": np.array([at for _, at in kept]),
        "token_id": np.array([each.token_ids[at] for each, at in kept]),
        "span": np.array([2 if at >= each.spans.answer[0] else 3 for each, at in kept]),
    }


def stored() -> tuple[dict[str, np.ndarray], dict[Site, np.ndarray]]:
    """Columns [row], and patterns [row, dim] a site and layer, of the whole store."""
    made = rollouts()
    split = [columns(some) for some in (made[:IN_A_PART], made[IN_A_PART:])]
    values = [bits(part, len(each["rollout"])) for part, each in enumerate(split)]
    whole = {name: np.concatenate([each[name] for each in split]) for name in split[0]}
    return whole, {pair: np.concatenate([each[pair] for each in values]) for pair in SPEC.pairs()}


def small_run(folder: Path, *, results: bool = False, model: str = "made by hand") -> Path:
    """Write the run; with `results`, those of another run of the same shape, so that there is something to tell.

    Args:
        model: what the store's manifest calls it.
    """
    made = rollouts()
    with StoreWriter(folder / "activations", replace(SPEC, meta={"model": model})) as store:
        for part, some in enumerate((made[:IN_A_PART], made[IN_A_PART:])):
            about = columns(some)
            store.write_part(part, values=bits(part, len(about["rollout"])), **about)
        store.finish()
    (folder / "rollouts.jsonl").write_text("".join(each.line() for each in made), encoding="utf-8")
    spec = load_experiment("probe-risk", ["organism=null", "negative_control=null"])
    (folder / "experiment.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    said = [
        Verdict("lexical", "verbalised" if n % 3 else "silent", True, n % 3 > 0, False, "step" if n % 3 else None)
        for n in range(N)
    ]
    said[8] = Verdict("lexical", None, False, False, False, None, "no reply")
    lines = [json.dumps(each.to_line(n)) + "\n" for n, each in enumerate(said)]
    (folder / "verdicts.jsonl").write_text("".join(lines), encoding="utf-8")
    write_readouts(
        folder,
        [
            Readout(
                rollout=n,
                part="test" if n > 5 else "dev",
                headline=n / 3,
                readout="policy" if n > 4 else "none",
                text=None if n == 2 else n / 7,
                along={"think_50": 0.1 * n},
                words={"think_50": {"tfidf": 0.5}},
                mention=None if n % 2 else 0.25,
                before_mention=("think_50",),
            )
            for n in range(N - 1)
        ],
    )
    model = {"name": "tiny", "revision": None, "n_layers": N_LAYERS}
    manifest = {"experiment": spec.name, "model": model, "command": f"introspect run probe-risk --out {folder}"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if results:
        (folder / "results.json").write_bytes(RESULTS.read_bytes())
    return folder

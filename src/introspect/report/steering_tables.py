"""A causal check as tables of text, for the page."""

from __future__ import annotations

from typing import Any

from .link_tables import LEVEL, MISSING, Cell, LinkTable, beyond_cell
from .sentences import number, share
from .steering_figures import PLACES

Found = dict[str, Any]
MATCHED = (
    "Controls are of the direction's norm where they are added; where it is projected out, as much is moved along each "
    "control, at every token, as projecting the direction out removes there."
)
BEYOND = (
    f"Beyond the controls: shown where the change's rank among them has p of {LEVEL:g} or less, each row by itself, "
    "and not tested outside the usable range."
)
WHAT = {"add": "added", "subtract": "subtracted", "project out": "projected out"}


def steering_tables(steering: Found) -> list[LinkTable]:
    """Every table of a section that has something to show."""
    if "replayed" not in steering:
        return []
    tables = [_causal(steering), _chains(steering), _removed(steering), _rollouts(steering)]
    return [table for table in tables if table.rows]


def _causal(steering: Found) -> LinkTable:
    table = LinkTable(
        f"Change under the direction, and under control directions ({sized(steering)})",
        ["steered in", "what is done", "dose", "log-odds", "controls", "P(acts)", "controls", "decides as before"],
    )
    table.head += ["says so", "controls", "accuracy", "controls", "invalid", "controls"]
    for row in steering["causal"]:
        odds, acts = row["log_odds"], row["acts"]
        cells: list[object] = [
            PLACES[row["scope"]],
            WHAT[row["what"]],
            f"{row['dose']:g}{'' if row['usable'] else ' (outside the usable range)'}",
            _ranked(table, odds, shares=False),
            table.cell(odds["controls"], auroc=True),
            _ranked(table, acts, shares=True),
            table.cell(acts["controls"]),
            table.cell(row["same"]["level"]),
        ]
        for name in ("verbalised", "accuracy", "invalid"):
            cells += [table.cell(row[name]["change"]), table.cell(row[name]["controls"])]
        table.add(*cells)
    table.notes.insert(
        0,
        "p: rank of the direction's change, in size, among the controls', on the items that each control saw. "
        "Log-odds (nats): of acting where the "
        "direction is added, of the answer that was given where it is projected out; the stored chain is held fixed. "
        "All else is of rollouts sampled anew, by patterns, each control direction on "
        f"{steering['control_items']} of {steering['n_items']} items. {MATCHED}",
    )
    return table


def _chains(steering: Found) -> LinkTable:
    table = LinkTable(
        f"Stored chains held fixed: each dose ({sized(steering)})",
        [
            "steered in",
            "what is done",
            "dose",
            "log-odds",
            "controls",
            "beyond the controls",
            "KL",
            "KL, controls",
            "KL on sentences",
            "controls",
            "usable",
            "items",
        ],
    )
    table.notes.append(BEYOND)
    held_out = steering.get("held_out")
    if held_out:
        table.notes.append(
            f"KL on sentences: of {held_out['n_sentences']} sentences about everyday things, steered throughout, as "
            "the answer to a request for one. A dose is usable where KL stays within the bound both on the stored "
            "chains and there, whatever the span that is steered."
        )
    for scope, place in PLACES.items():
        for j, cell in enumerate(steering["replayed"][scope]["doses"]):
            odds, away = cell["log_odds"], held_out["doses"][j] if held_out else None
            table.add(
                place,
                _done(cell),
                f"{cell['dose']:g}",
                _ranked(table, odds, shares=False),
                table.cell(odds["controls"], auroc=True),
                beyond_cell(table, odds) if cell["usable"] else "not tested",
                table.cell(cell["kl"], auroc=True),
                table.cell(cell["controls_kl"], auroc=True),
                MISSING if away is None else table.cell(away["kl"], auroc=True),
                MISSING if away is None else table.cell(away["controls_kl"], auroc=True),
                f"no: NaN or infinity in {cell['n_not_finite']}"
                if cell["n_not_finite"]
                else ("no", "yes")[cell["usable"]],
                Cell(str(odds.get("n_items", steering["replayed"][scope]["n"])), True),
            )
    return table


def _removed(steering: Found) -> LinkTable:
    table = LinkTable(
        f"Projected out, stored chains held fixed: how much, and what that much does elsewhere ({sized(steering)})",
        ["steered in", "removed a token", "controls' own component", "log-odds", "as much along controls"],
    )
    table.head += ["without the controls' own components"]
    for scope, place in PLACES.items():
        for cell in steering["replayed"][scope]["doses"]:
            if "removed" in cell:
                odds, own = cell["log_odds"], cell["own_out"]
                table.add(
                    place,
                    table.cell(cell["removed"]["direction"], auroc=True),
                    table.cell(cell["removed"]["controls"], auroc=True),
                    _ranked(table, odds, shares=False),
                    table.cell(odds["controls"], auroc=True),
                    table.cell(own["controls"], auroc=True),
                )
    table.notes.append(
        "Removed: the mean size of the component along the direction, in the units of the activations. Projecting a "
        "control's own component out removes another amount, so ranks are among controls along which as much is moved."
    )
    return table


def _rollouts(steering: Found) -> LinkTable:
    table = LinkTable(
        f"Sampled anew: each dose ({sized(steering)})",
        ["steered in", "what is done", "dose", "acts", "P(acts), change", "controls", "says so", "accuracy", "invalid"],
    )
    table.head += ["nats a token", "change", "controls", "repeated 4-grams", "tokens", "no token of it", "items"]
    for scope, place in PLACES.items():
        for cell in steering["sampled"][scope]:
            table.add(
                place,
                _done(cell),
                f"{cell['dose']:g}",
                table.cell(cell["acts"]["level"]),
                _ranked(table, cell["acts"], shares=True),
                table.cell(cell["acts"]["controls"]),
                table.cell(cell["verbalised"]["level"]),
                table.cell(cell["accuracy"]["level"]),
                table.cell(cell["invalid"]["level"]),
                table.cell(cell["nats"]["level"], auroc=True),
                _ranked(table, cell["nats"], shares=False),
                table.cell(cell["nats"]["controls"], auroc=True),
                table.cell(cell["repetition"]["level"]),
                table.cell(cell["tokens"]["level"], auroc=True),
                Cell(str(cell["n_without_a_token"]), True),
                Cell(str(cell["n"]), True),
            )
    table.notes.append(
        "Nats a token: how unlikely the unsteered model finds the steered text; e to that is its perplexity. Repeated "
        "4-grams: the share of a completion's pieces of four tokens that were there before (Welleck et al. 2020). "
        "Rollouts with no token of what is steered were not steered, and are counted and left out."
    )
    return table


def _ranked(table: LinkTable, effect: Found, *, shares: bool) -> Cell:
    """A change with its rank among the controls."""
    change = effect["change"]
    if change["value"] is None:
        return table.cell(change)
    p = "" if effect["p"] is None else f"; p = {effect['p']:.2g} of {effect['n_controls']}"
    return Cell(f"{(share if shares else number)(change)}{p}")


def sized(steering: Found) -> str:
    """Items and controls, for a title."""
    controls = steering["controls"]
    return f"{steering['n_items']} items, {controls['random'] + controls['orthogonal']} control directions"


def _done(cell: Found) -> str:
    return "projected out" if cell["operator"] == "project" else "added"

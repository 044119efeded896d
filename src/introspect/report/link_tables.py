"""The link as tables of text, for the page and for the terminal: one cell an estimate, and below why one is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .sentences import number, share

Found = dict[str, Any]
MISSING = "\N{EN DASH}"
LEVEL = 0.05
"""Of a rank among controls."""


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    count: bool = False
    """A whole number, set to the right."""


@dataclass
class LinkTable:
    """A heading, the names of the columns, rows of cells, and notes."""

    title: str
    head: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[Cell]:
        """The head, each name set as the cells below it are."""
        first = self.rows[0] if self.rows else [Cell("")] * len(self.head)
        return [Cell(name, cell.count) for name, cell in zip(self.head, first, strict=True)]

    def add(self, *cells: object, auroc: bool = False) -> None:
        """A row of texts, counts and estimates; an estimate that is missing is a dash, with its reason in the notes.

        Args:
            auroc: estimates are numbers rather than shares.
        """
        self.rows.append([self.cell(each, auroc=auroc) for each in cells])

    def cell(self, content: object, *, auroc: bool = False) -> Cell:
        """A cell of this table."""
        if not isinstance(content, dict):
            return content if isinstance(content, Cell) else Cell(str(content), isinstance(content, int))
        if content["value"] is not None:
            return Cell((number if auroc else share)(content))
        note = f"{MISSING} {content['reason']}"
        if note not in self.notes:
            self.notes.append(note)
        return Cell(MISSING)


def link_tables(link: Found, control: Found) -> list[LinkTable]:
    """Every table that the link has; of a run of an earlier version, fewer.

    Args:
        link: the `link` section, with a table.
        control: the negative control's `organism` and its rates, or why there are none.
    """
    optional = {
        "before_mention": _before_mention,
        "categories": _categories,
        "think_answer_readout": _leaning,
        "label_noise": _noise,
    }
    out = [_verdicts(link), _beside(link, control)]
    if "thresholds" in link:
        out.append(_thresholds(link))
    for name, make in optional.items():
        if "what" in link.get(name, {}):
            out += make(link[name])
    return out


def _verdicts(link: Found) -> LinkTable:
    table = LinkTable(
        "Test rollouts that acted: what the chain says, and what is read",
        ["chain", "readout: policy", "readout: none", "all", "read as acting", "causal"],
    )
    for verdict, row in link["table"].items():
        causal = _tested(table, row.get("causal", {"value": None}))
        n = row["policy"] + row["none"]
        table.add(verdict, row["policy"], row["none"], n, row.get("decodable", MISSING) if n else MISSING, causal)
    unread = link.get("no_usable_verdict", {"policy": 0, "none": 0})
    if n := unread["policy"] + unread["none"]:
        table.add("no usable verdict", unread["policy"], unread["none"], n, MISSING, MISSING)
    found = [row.get("causal", {}) for row in link["table"].values()]
    table.notes += sorted({each["reason"] for each in found if each.get("reason")})
    if any("change" in each for each in found):
        table.notes.append(
            "Causal: change of P(acts) where the direction is projected out of think and answer, rollouts with and "
            "without it sampled anew from the same new seeds; beyond what as much along control directions does, where "
            f"its rank among them has p of {LEVEL:g} or less."
        )
    if any(each.get("value") is not None for each in found):
        table.notes.append(
            "Causal: by an earlier version, from the seeds of the rollouts that the items were chosen by, so that any "
            "change looks like an effect; steer the run again."
        )
    return table


def beyond_cell(table: LinkTable, effect: Found, *, shares: bool = False) -> Cell:
    """The change beyond the controls' mean, where a rank among them supports that there is one."""
    if effect["beyond"]["value"] is None:
        return table.cell(effect["beyond"])
    if effect["p"] is None or effect["p"] > LEVEL:
        return Cell("not shown")
    return table.cell(effect["beyond"], auroc=not shares)


def _tested(table: LinkTable, causal: Found) -> object:
    if "change" in causal:
        if causal["change"]["value"] is None:
            return causal["change"]
        beyond, change = beyond_cell(table, causal, shares=True), table.cell(causal["change"])
        p = "" if causal["p"] is None else f", p = {causal['p']:.2g}"
        sized = f"{causal['n_items']} items, {causal['n_controls']} controls{p}"
        return Cell(f"{change.text}; beyond controls: {beyond.text} ({sized})")
    if causal["value"] is not None:
        return causal
    return "not tested" if causal.get("reason", "not tested").startswith("not tested") else MISSING


def _beside(link: Found, control: Found) -> LinkTable:
    table = LinkTable(
        "Silent but decodable: of those that acted and are silent, how many are read as acting",
        ["scores", "silent but decodable", "passed by rollouts that did not act"],
    )
    text = link["text_baseline"]
    table.add("probe", link["silent_but_decodable"], link["realised_fpr"])
    table.add(
        f"words: {(text['name'] or 'none').replace('_', ' ')}", text["silent_but_decodable"], text["realised_fpr"]
    )
    if "beyond_text" in link:
        table.add("probe minus words", link["beyond_text"], "")
    noise = link.get("label_noise", {})
    if "second" in noise:
        named = (
            f"probe, by the verdicts of {noise['second']}"
            if noise.get("how") == "counted"
            else f"probe, had the classifier {noise['second']} read every chain (estimated from {noise['n_both']})"
        )
        table.add(named, noise["silent_but_decodable"], "")
    elif "reason" in noise:
        table.notes.append(f"Label noise is not in these intervals: {noise['reason']}")
    if "organism" in control:
        name = f"negative control: {control['organism']}"
        table.add(name, control["silent_but_decodable"], control["realised_fpr"])
    for name in ("before_mention", "categories", "think_answer_readout"):
        if "reason" in link.get(name, {}):
            table.notes.append(f"{NAMES[name]}: {link[name]['reason']}")
    return table


NAMES = {
    "before_mention": "Before the first mention",
    "categories": "By what the hint did",
    "think_answer_readout": "Chain, answer and readout",
}


def _thresholds(link: Found) -> LinkTable:
    table = LinkTable(
        f"Thresholds, set for {link['threshold_fpr']:.3g} of development rollouts that did not act to pass",
        ["under", "set on rollouts under", "that did not act", "of these", "pass, test", "pass, test: words"],
    )
    for each in link["thresholds"]:
        which = {"own": "the same" if each["conditions"] != "all" else "all", "all": "all conditions"}[each["set_on"]]
        kinds = ", ".join(f"{n} {name}" for name, n in each["not_acted"].items()) or "none"
        table.add(
            each["conditions"],
            which,
            each["n_not_acted"],
            kinds,
            each["realised_fpr"],
            each["words_realised_fpr"],
        )
    table.notes.append(f"Set on {link['threshold_from']}.")
    return table


def _before_mention(found: Found) -> list[LinkTable]:
    table = LinkTable(
        "Chains that say so, before they first speak of it",
        ["position", "n", "read as acting", "from words so far", "did not act, pass", "did not act, pass: words"],
    )
    last = found["last_position"]
    table.add("the last one before", last["n"], last["decodable"], last["words"], "", "")
    for row in found["positions"]:
        words = row["words"]
        table.add(
            row["position"].replace("_", " "),
            row["n"],
            row["decodable"] if row["n"] else MISSING,
            words["decodable"] if row["n"] else MISSING,
            row["realised_fpr"],
            words["realised_fpr"],
        )
    table.notes.insert(
        0,
        f"{found['n_verbalised']} test rollouts acted and say so; the patterns find where in {found['n_placed']}: at "
        f"{share(found['first_mention'])} of the chain on average.",
    )
    return [table]


def _categories(found: Found) -> list[LinkTable]:
    sections = {"all kinds": found["all_kinds"]} if len(found["kinds"]) > 1 else {}
    sections |= found["kinds"]
    rates = LinkTable(
        "Under the same hint: read as acting, by what the hint did",
        ["hint", *found["all_kinds"]["decodable"]],
    )
    for name, section in sections.items():
        cells = [
            Cell(f"{rates.cell(rate).text} (n={section['n'][category]})")
            for category, rate in section["decodable"].items()
        ]
        rates.add(name, *cells)
    apart = LinkTable(
        "AUROC of motivated rollouts against others under the same hint (.5 is chance)",
        ["hint", "against resistant and aligned", "the same from words", "against resistant", "against aligned"],
    )
    for name, section in sections.items():
        auroc = section["auroc"]
        words = section["words_auroc"]
        apart.add(name, auroc["resistant_and_aligned"], words, auroc["resistant"], auroc["aligned"], auroc=True)
    return [rates, apart]


def _leaning(found: Found) -> list[LinkTable]:
    table = LinkTable(
        "Where the chain leans, what is answered, and what is read",
        ["chain leans to", "answer", "readout: policy", "readout: none", "read as acting"],
    )
    for cell in found["cells"]:
        table.add(
            {"policy": "the policy", "other": "another choice", "undecided": "undecided"}[cell["think"]],
            "acts on it" if cell["answer"] == "policy" else "does not",
            cell["policy"],
            cell["none"],
            cell["decodable"] if cell["policy"] + cell["none"] else MISSING,
        )
    return [table]


def _noise(found: Found) -> list[LinkTable]:
    first, second = found["classifier"], found["second"]
    table = LinkTable(
        f"Label noise: {first} and {second} on the same chains",
        [f"{first} says", *(f"{second}: {verdict}" for verdict in found["table"]), f"silent by {second}"],
    )
    for verdict, row in found["table"].items():
        table.add(verdict, *row.values(), found["called_silent"][verdict])
    of = f" of {found['n_asked']} that {second} was asked about" if "n_asked" in found else ""
    table.notes.append(
        f"{found['n_both']}{of}: {found['table_is']}. Unusable verdicts are left out, as if missing at random. No "
        "classifier is the truth."
    )
    return [table]

"""Pages from addresses: what a page shows is chosen by its address alone.

What models wrote goes through `plain` and the template's escaping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from ..errors import RunError, SpecError
from ..report.figures import figure_json
from ..report.page import plain
from ..report.sentences import headline, number, share
from .asked import A_PAGE, Filter, neighbours, whole
from .figures import by_layer, injection_shown, run_figures, shown
from .index import ACTED, MISSING, PARTS, READ, SAID, Columns
from .maps import MEASURES, cell_facts, layer_map
from .opened import INJECTION, holding_together
from .site import OWN, Explored, Reading, Site
from .tokens import LEVELS

WAIT = 1.0
"""Seconds that a page waits for what takes long, before it says so and is asked for again."""
EXCERPT = 220
"""Characters of a chain in a list."""


class Page(NamedTuple):
    """What is answered."""

    html: str
    has_figures: bool = False


class Pages:
    """Every page of a site."""

    def __init__(self, site: Site, base: str) -> None:
        self.site, self.base = site, base
        self._environment = Environment(
            loader=PackageLoader("introspect.explore", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"plain": plain, "number": number, "share": share, "words": _words}
        self._environment.globals |= {"url": self.url, "base": base, "levels": LEVELS, "own": OWN}

    def url(self, path: str, query: Mapping[str, Any] | None = None, **more: Any) -> str:
        """An address of this site; what is None or empty is left out."""
        kept = {key: value for key, value in {**(query or {}), **more}.items() if value not in (None, "")}
        return f"{self.base}{path}" + (f"?{urlencode(kept)}" if kept else "")

    def page(
        self, template: str, title: str, *, has_figures: bool = False, run: int | None = None, **more: Any
    ) -> Page:
        """A template filled in; `more` is what it shows."""
        values = {
            "title": title,
            "run": run,
            "names": self.site.names,
            "runs": self.site.runs,
            "tab": "",
            "again": False,
        }
        return Page(
            self._environment.get_template(template).render(values | more, has_figures=has_figures), has_figures
        )

    def trouble(self, line: str) -> Page:
        """An error, in its own words."""
        return self.page("trouble.html.j2", "This cannot be shown", line=line)

    def home(self, request: Request) -> Page | str:
        if len(self.site.runs) == 1:
            return self.url("/runs/0")
        return self.page("home.html.j2", "Runs")

    def overview(self, request: Request) -> Page:
        """The answer in sentences, and the map with its controls."""
        i = int(request.path_params["run"])
        explored, query = self.site.find(i), request.query_params
        run, results = explored.run, explored.run.results
        explored.run.index.start() if run.has_rollouts else None
        if run.kind == INJECTION and results is not None:
            with holding_together(run):
                figures = [shown(*each) for each in injection_shown(results).items()]
                return self.page(
                    "injection.html.j2",
                    run.name,
                    run=i,
                    tab="overview",
                    results=results,
                    figures=figures,
                    has_figures=True,
                )
        more: dict[str, Any] = {"results": results, "map": None, "sentences": [], "refused": explored.own.refused}
        if results is not None:
            with holding_together(run):
                more["sentences"] = headline(results)
                if "headline" in results["probe"]:
                    more |= self.map_of(results, query)
        with holding_together(run):
            return self.page("overview.html.j2", run.name, run=i, tab="overview", has_figures=bool(more["map"]), **more)

    def map_of(self, results: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        """The map, and what is known of the cell that is chosen."""
        head, show = results["probe"]["headline"], query.get("show", "") or "auroc"
        if show not in MEASURES:
            raise SpecError(f"show is {show[:40]!r}: choose one of {', '.join(MEASURES)}")
        position = query.get("position", "") or head["position"]
        best = {row["position"]: row["layer"] for row in results["probe"]["positions"]}
        if position not in best:
            raise SpecError(f"position is {position[:40]!r}: choose one of {', '.join(best)}")
        layer = whole(query.get("layer"), "layer", best[position])
        return {
            "map": layer_map(results["probe"], show, position, layer),
            "show": show,
            "measures": MEASURES,
            "position": position,
            "layer": layer,
            "facts": cell_facts(results, position, layer),
        }

    def figures(self, request: Request) -> Page:
        """Dose response and grids, baselines, and what is read along the chain."""
        i = int(request.path_params["run"])
        run = self.site.find(i).run
        if run.results is None:
            raise RunError(f"{run.path} has no results to draw; finish it with `introspect run ... --resume`")
        with holding_together(run):
            make = injection_shown if run.kind == INJECTION else run_figures
            found = [shown(*each) for each in make(run.results).items()]
            steering = run.results.get("steering", {})
            return self.page(
                "figures.html.j2", run.name, run=i, tab="figures", figures=found, steering=steering, has_figures=True
            )

    def figure(self, request: Request) -> str:
        """One figure, as plotly's JSON."""
        run, name = self.site.find(int(request.path_params["run"])).run, request.path_params["name"]
        if run.results is None:
            raise RunError(f"{run.path} has no results to draw; finish it with `introspect run ... --resume`")
        with holding_together(run):
            if name == "layers" and "grid" in run.results.get("probe", {}):
                return figure_json(by_layer(run.results, self.map_of(run.results, request.query_params)["position"]))
            found = (injection_shown if run.kind == INJECTION else run_figures)(run.results)
        if name not in found:
            raise RunError(f"there is no figure {name[:40]}: {', '.join(found) or 'none'}")
        return figure_json(found[name])

    def rollouts(self, request: Request) -> Page:
        """The list, filtered."""
        i = int(request.path_params["run"])
        explored, asked = self.with_rollouts(i), Filter.of(request.query_params)
        explored.warm()
        columns = explored.run.index.columns(WAIT)
        rows = asked.rows(columns)
        last = max(0, (len(rows) - 1) // A_PAGE)
        at = min(whole(request.query_params.get("page"), "page"), last)
        listed = [self._line(explored, columns, int(row), asked) for row in rows[at * A_PAGE : (at + 1) * A_PAGE]]
        return self.page(
            "rollouts.html.j2",
            f"Rollouts of {explored.run.name}",
            run=i,
            tab="rollouts",
            asked=asked,
            chosen=self._chosen(request.query_params),
            counts=asked.counts(columns),
            conditions=columns.conditions[:200],
            classifiers=list(columns.said),
            columns=columns,
            n_rows=len(rows),
            page=at,
            last=last,
            first=at * A_PAGE + 1,
            listed=listed,
            scored=bool((columns["readout"] != MISSING).any()) if len(columns) else False,
        )

    def _line(self, explored: Explored, columns: Columns, row: int, asked: Filter) -> dict[str, Any]:
        """A rollout of a list."""
        found = explored.run.rollout(columns, row)
        return known(columns, row, asked) | {
            "item": found.item_id,
            "condition": found.condition,
            "answer": found.answer,
            "excerpt": found.chain_text.strip()[:EXCERPT],
        }

    def rollout(self, request: Request) -> Page:
        """One rollout, its tokens coloured."""
        i, wanted = int(request.path_params["run"]), int(request.path_params["number"])
        explored, query = self.with_rollouts(i), request.query_params
        asked, columns = Filter.of(query), explored.run.index.columns(WAIT)
        row = columns.row_of(wanted)
        if row is None:
            if not columns.whole:
                return self.page(
                    "wait.html.j2", f"Rollout {wanted}", run=i, tab="rollouts", share=columns.share, again=True
                )
            raise RunError(f"{explored.run.path} has no rollout {wanted}")
        found = explored.run.rollout(columns, row)
        reading = self._reading(explored, query)
        view = explored.view(found, reading, WAIT)
        before, after, place = neighbours(rows := asked.rows(columns), row)
        at = reading.layers.index(reading.layer) if reading.layer in reading.layers else -1
        return self.page(
            "rollout.html.j2",
            f"Rollout {wanted} of {explored.run.name}",
            run=i,
            tab="rollouts",
            again=bool(view.waits_for),
            rollout=found,
            known=known(columns, row, asked),
            verdicts=explored.run.verdicts(columns, wanted),
            reading=reading,
            view=view,
            asked=asked,
            chosen=self._chosen(query),
            before=None if before is None else int(columns["number"][before]),
            after=None if after is None else int(columns["number"][after]),
            place=place,
            n_rows=len(rows),
            list_page=(place - 1) // A_PAGE if place else 0,
            shallower=reading.layers[at - 1] if at > 0 else None,
            deeper=reading.layers[at + 1] if 0 <= at < len(reading.layers) - 1 else None,
            positions=explored.own.positions,
            saved=explored.saved(WAIT if not explored.own.positions else 0) or {},
            as_table=query.get("view") == "table",
            others=[j for j, each in enumerate(self.site.runs) if j != i and each.run.has_rollouts],
        )

    def _reading(self, explored: Explored, query: Mapping[str, str]) -> Reading:
        layer = query.get("layer", "")
        return explored.reading(query.get("probe", ""), whole(layer, "layer") if layer else None)

    @staticmethod
    def _chosen(query: Mapping[str, str]) -> dict[str, str]:
        """What of an address stays when another rollout is opened: the probe, its layer and the way of showing."""
        return {key: query[key] for key in ("probe", "layer", "view") if query.get(key)}

    def with_rollouts(self, i: int) -> Explored:
        """A run of the site.

        Raises:
            RunError: there is no such run, or it has none.
        """
        explored = self.site.find(i)
        if not explored.run.has_rollouts:
            raise RunError(f"{explored.run.path} is a study of injected concepts: it has results, and no rollouts")
        return explored


def known(columns: Columns, row: int, asked: Filter) -> dict[str, Any]:
    """What the index says of a rollout, in words."""
    said, score = int(asked.said(columns)[row]), float(columns["score"][row])
    return {
        "number": int(columns["number"][row]),
        "acted": ACTED[columns["acted"][row]],
        "verdict": SAID[said] if said != MISSING else "",
        "readout": READ[columns["readout"][row]] if columns["readout"][row] != MISSING else "",
        "part": PARTS[columns["part"][row]] if columns["part"][row] != MISSING else "",
        "score": None if np.isnan(score) else score,
    }


def _words(name: str) -> str:
    """A name of ours in words."""
    return name.replace("_", " ")

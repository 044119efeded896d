"""Pages of two runs side by side: what each found, and the same question in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request

from ..errors import RunError
from ..report.figures import figure_json
from .asked import A_PAGE, Filter, whole
from .beside import common_grids, two_studies
from .maps import MEASURES
from .opened import INJECTION, holding_together
from .pages import WAIT, Page, Pages, known
from .pairs import crossed, differing, twins


class TwoRuns:
    """Every page of two runs of a site."""

    def __init__(self, pages: Pages) -> None:
        self.pages, self.site = pages, pages.site

    def compare(self, request: Request) -> Page:
        """Two runs side by side: figures, maps, and the rollouts of the same question."""
        a, b = _two(request.query_params)
        if len(self.site.runs) < 2:
            raise RunError("one run is open, and two are compared: start `introspect explore RUN RUN`")
        sides = [self.site.find(each) for each in (a, b)]
        more: dict[str, Any] = {"maps": [], "table": {}, "crossed": None, "show": "auroc", "paired": []}
        if all(each.run.kind == INJECTION for each in sides):
            return self.pages.page(
                "studies.html.j2",
                "Two studies side by side",
                tab="compare",
                a=a,
                b=b,
                has_figures=True,
                **two_studies(self.site, a, b),
            )
        finished = [each.run.results for each in sides if each.run.kind != INJECTION and each.run.results is not None]
        if len(finished) == 2:
            for explored, results in zip(sides, finished, strict=True):
                if "headline" in results["probe"]:
                    with holding_together(explored.run):
                        found = self.pages.map_of(results, {"show": request.query_params.get("show", "")})
                    more["show"] = found["show"]
                    more["maps"].append(found["map"])
            more["table"] = self.site.figures_of(a, b, WAIT)
            more["again"] = more["table"] is None
        if all(each.run.has_rollouts for each in sides):
            columns = [each.run.index.columns(WAIT) for each in sides]
            more |= {"whole": all(each.whole for each in columns), "asked": Filter()}
            pairs = twins(columns[0], columns[1])
            more["crossed"] = crossed(columns[0], columns[1], pairs)
            rows = differing(columns[0], columns[1], pairs)
            more["n_differ"] = len(rows)
            more["paired"] = [
                (known(columns[0], x, Filter()), known(columns[1], y, Filter())) for x, y in rows[:A_PAGE]
            ]
        return self.pages.page(
            "compare.html.j2", "Two runs side by side", tab="compare", a=a, b=b, measures=MEASURES, **more
        )

    def grids(self, request: Request) -> str:
        """The grids of two studies of injected concepts, as plotly's JSON."""
        return figure_json(common_grids(self.site, *_two(request.query_params)))

    def pair(self, request: Request) -> Page:
        """The same question in two runs."""
        (a, b), query = _two(request.query_params), request.query_params
        wanted, sides, waits = int(request.path_params["number"]), [], []
        columns = [self.pages.with_rollouts(each).run.index.columns(WAIT) for each in (a, b)]
        row = columns[0].row_of(wanted)
        other = None if row is None else np.flatnonzero(columns[1]["twin"] == columns[0]["twin"][row])
        if row is None or other is None or not len(other):
            if not all(each.whole for each in columns):
                least = min(each.share for each in columns)
                return self.pages.page("wait.html.j2", f"Rollout {wanted}", tab="compare", share=least, again=True)
            raise RunError(f"rollout {wanted} of {self.site.names[a]} has no counterpart in {self.site.names[b]}")
        layer = query.get("layer", "")
        for run, its, at in zip((a, b), columns, (row, int(other[0])), strict=True):
            explored = self.site.find(run)
            found = explored.run.rollout(its, at)
            reading = explored.reading("", whole(layer, "layer") if layer else None)
            view = explored.view(found, reading, WAIT)
            waits.append(view.waits_for)
            sides.append(
                {
                    "run": run,
                    "rollout": found,
                    "view": view,
                    "reading": reading,
                    "known": known(its, at, Filter()),
                }
            )
        return self.pages.page(
            "pair.html.j2",
            f"Rollout {wanted} in two runs",
            tab="compare",
            a=a,
            b=b,
            sides=sides,
            again=any(waits),
        )


def _two(query: Mapping[str, str]) -> tuple[int, int]:
    """The runs that are compared."""
    a = whole(query.get("a"), "a")
    return a, whole(query.get("b"), "b", 1 if a == 0 else 0)

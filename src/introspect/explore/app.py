"""Addresses to pages, and errors to pages that say them in a line."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..errors import IntrospectError, RunError, SpecError, StoreError
from .guard import POLICY, Guard
from .pages import Page, Pages
from .site import Site
from .two_runs import TwoRuns

STATIC = Path(__file__).parent / "static"
KEPT = {"Cache-Control": "private, max-age=86400"}
"""Of files that do not change while the server runs."""


def make_app(site: Site, token: str) -> ASGIApp:
    """The whole application; every address begins with the token."""
    pages = Pages(site, f"/{token}")
    two = TwoRuns(pages)
    # Known trade-off: the views are plain functions, which Starlette runs in a pool of threads: they read files.
    views: dict[str, Callable[[Request], Page | str]] = {
        "/": pages.home,
        "/runs/{run:int}": pages.overview,
        "/runs/{run:int}/rollouts": pages.rollouts,
        "/runs/{run:int}/rollouts/{number:int}": pages.rollout,
        "/runs/{run:int}/figures": pages.figures,
        "/compare": two.compare,
        "/compare/{number:int}": two.pair,
    }
    routes = [Route(path, _html(view, pages), methods=["GET"]) for path, view in views.items()]
    figures = {"/runs/{run:int}/figures/{name}.json": pages.figure, "/compare/grids.json": two.grids}
    routes += [Route(path, _json(view), methods=["GET"]) for path, view in figures.items()]
    routes += [Route(f"/static/{name}", _file(path), methods=["GET"]) for name, path in _files().items()]

    def failed(request: Request, error: Exception) -> Response:
        code = 404 if isinstance(error, RunError) else 400 if isinstance(error, SpecError) else 500
        return _shown(pages.trouble(str(error)), code)

    def absent(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 404
        return _shown(pages.trouble("There is no such page."), code)

    app = Starlette(
        routes=routes, exception_handlers={IntrospectError: failed, StoreError: failed, HTTPException: absent}
    )
    return Guard(app, token)


def _files() -> dict[str, Path]:
    import plotly

    found = {name: STATIC / name for name in ("explore.css", "explore.js")}
    return found | {"plotly.js": Path(plotly.__file__).parent / "package_data" / "plotly.min.js"}


@contextmanager
def _told(request: Request) -> Iterator[None]:
    """Whatever nobody thought of, as a line on the page and one in the terminal: other pages can still be read.

    Raises:
        RunError, StoreError, ...: as the view; StoreError for what is none of ours.
    """
    try:
        yield
    except (IntrospectError, HTTPException):
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        logging.getLogger(__name__).error("%s: %.200r in %s", request.url.path, error, where)
        raise StoreError(
            f"This page could not be made ({error!r:.200}, in {where}): what is on file does not hold together, or "
            "introspect has a fault"
        ) from error


def _html(view: Callable[[Request], Page | str], pages: Pages) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        with _told(request):
            found = view(request)
        return RedirectResponse(found, 302) if isinstance(found, str) else _shown(found, 200)

    return answer


def _shown(page: Page, code: int) -> HTMLResponse:
    # Plotly sets the styles of what it draws; no other page has any of its own.
    inline = " 'unsafe-inline'" if page.has_figures else ""
    return HTMLResponse(page.html, code, {"Content-Security-Policy": POLICY.format(inline=inline)})


def _json(view: Callable[[Request], str]) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        with _told(request):
            return Response(view(request), media_type="application/json")

    return answer


def _file(path: Path) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return FileResponse(path, headers=KEPT)

    return answer

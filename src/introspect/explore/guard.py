"""Who is answered: this machine, under the address that was printed, and readers only.

The server listens on 127.0.0.1. A page of a stranger's site that a browser has open could still ask it: under a name
of its own that it points at this machine (refused: only our own host names are answered), or blindly (refused: the
address holds a token of 256 bits, compared in constant time). Nothing that is answered may be framed, cached, sent on
as a referrer, or run a script that is not ours.
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self'{inline}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOST = (
    "This address is not the one that `introspect explore` printed. It changes with every start: take the first part "
    "from the terminal; what comes after it is as before.\n"
)


class Guard:
    """Answers requests with the token in front of their path, and takes it off."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        base = f"/{self._token.decode()}"
        rest = scope["path"].removeprefix(base) or "/"
        await self._app({**scope, "path": rest, "raw_path": rest.encode()}, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not _is_ours(hosts[0].decode("latin-1"), scope.get("server")):
            return PlainTextResponse("This is not the address of the explorer.\n", 400)
        given = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode("utf-8", "replace"), self._token):
            return PlainTextResponse(LOST, 404)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Runs are read here, and not changed.\n", 405, {"Allow": "GET, HEAD"})
        return None


def _is_ours(host: str, server: Any) -> bool:
    """Whether a Host header names this machine, and the port that is listened on where one is known."""
    name, _, port = host.partition(":")
    listened = server[1] if server else None
    return name in HOSTS and (not port or listened is None or port == str(listened))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Content-Security-Policy", POLICY.format(inline=""))
        await send(message)

    return sending

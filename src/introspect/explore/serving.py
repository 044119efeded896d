"""Listening on this machine, at an address that cannot be guessed, until Ctrl-C."""

from __future__ import annotations

import html
import os
import secrets
import shutil
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

import uvicorn

from ..atomic import NEW
from ..errors import RunError
from .app import make_app
from .site import Site

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32
LINGER = 2
"""Seconds that requests have to end in after Ctrl-C."""
LEADS = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={0}">
<title>introspect explore</title>
<p><a href="{0}">The explorer</a></p>
"""


def serve(site: Site, *, port: int, browser: bool, told: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        port: 0: any that is free.
        browser: open the page there, where this machine has a screen.
        told: is given the address, once it answers.

    Raises:
        RunError: the port is taken, or not ours to take.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"cannot listen on port {port} ({reason}); choose another --port, or 0 for any") from None
    address = f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}/"
    config = uvicorn.Config(
        make_app(site, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=LINGER,
    )
    server = uvicorn.Server(config)
    for explored in site.runs:
        if explored.run.has_rollouts:
            explored.run.index.start()
    listening.listen()
    told(address)
    try:
        with ExitStack() as stack:
            if browser and _has_screen():
                led = stack.enter_context(_leading_to(address))
                threading.Thread(target=webbrowser.open, args=(led,), daemon=True).start()
            server.run(sockets=[listening])
    finally:
        site.close()
        listening.close()


@contextmanager
def _leading_to(address: str) -> Iterator[str]:
    """Address of a file that leads a browser to another, and that only its user can read: what stands on a browser's
    command line can be read by everybody on the machine.
    """
    folder = Path(mkdtemp(prefix="introspect-explore-"))
    try:
        file = folder / "explore.html"
        with os.fdopen(os.open(file, NEW, 0o600), "w", encoding="utf-8") as page:
            page.write(LEADS.format(html.escape(address)))
        yield file.as_uri()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_screen() -> bool:
    """Whether a browser that is opened would be seen, rather than take the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

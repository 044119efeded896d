"""Listening on this machine, at an address that cannot be guessed, until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from ..errors import RunError
from .app import make_app
from .site import Site

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32
LINGER = 2
"""Seconds that requests have to end in after Ctrl-C."""


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
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        site.close()
        listening.close()


def _has_screen() -> bool:
    """Whether a browser that is opened would be seen, rather than take the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

"""For every test: no network, two threads, no hub.

The environment is set before anything can import torch or a hub client, because both read it once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import pytest
from hypothesis import settings

settings.register_profile("introspect", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("introspect")

OURS = "INTROSPECT_"
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class NetworkUsedError(Exception):
    """A test asked for something outside this machine."""


@pytest.fixture(autouse=True)
def _environment_as_it_was() -> Iterator[None]:
    """What a command puts into the environment for its own process ends with its test."""
    before = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
    yield
    for name in [name for name in os.environ if name.startswith(OURS) and name not in before]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and look-ups beyond this machine fail, loudly."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse_unless_local(address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in LOOPBACK:
            raise NetworkUsedError(f"a test tried to reach {host}: tests open no network")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        refuse_unless_local(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        refuse_unless_local(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_unless_local((host,))
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)

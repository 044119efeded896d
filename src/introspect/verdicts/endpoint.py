"""A judge behind any OpenAI-compatible endpoint: one chat completion a prompt, at temperature 0.

What may pass (time-outs, lost connections, 408, 409, 429, 5xx, a body that is no chat completion) is tried again, later
each time, or when the server says so; what will not (any other 4xx) is a SpecError at once. A prompt that got no reply
after all attempts is a `NoReplyError`, which becomes an unusable verdict. After `GIVE_UP` such prompts in a row, the
others are not asked: the endpoint is down, and waiting for each of them in turn would take hours.

The key is read from an environment variable, goes into the Authorization header and nowhere else, over https or to this
machine only, and no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Self

from ..errors import SpecError
from ..sections import JudgeSpec
from .cache import Reply
from .judge import MAX_REPLY

if TYPE_CHECKING:
    import httpx

MAX_BODY_BYTES = 1 << 20
MAX_MESSAGE = 300
"""Characters of a server's message that are shown."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 120.0
"""Seconds before the second attempt, doubled with every further one; and at most, whatever the server asks for."""
GIVE_UP = 5
SECRET = 8
"""Characters from which on a key is one; shorter ones are the placeholders of servers that ask for none."""
RETRIED = frozenset({408, 409, 429})

TIMED_OUT = "timed out"
NOT_A_COMPLETION = "not a chat completion"
TOO_LARGE = "reply too large"
BEYOND_CONTEXT = "chain longer than the judge's context"
NOT_ASKED = "not asked: the endpoint had stopped replying"
STOPPED = "not asked: the run was stopped"


class NoReplyError(Exception):
    """A prompt without a reply. The message says why, in words that are the same for every prompt of that kind."""


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, problem: str, after: float | None = None) -> None:
        """`after`: seconds to wait, as the server says."""
        super().__init__(problem)
        self.after = after


class Endpoint:
    """An endpoint that several threads may ask at once. Closed by leaving its `with` block."""

    def __init__(
        self, spec: JudgeSpec, *, offline: bool = False, pause: Callable[[float], object] | None = None
    ) -> None:
        """Checks address and key; sends nothing.

        Args:
            pause: how to wait for some seconds; for tests.

        Raises:
            SpecError: the address is none, the key is missing, or may not be sent there.
        """
        import httpx

        self._spec = spec
        base, on_this_machine = _address(spec, offline=offline)
        self._url = base.copy_with(path=base.path.rstrip("/") + "/chat/completions")
        self._key = _key(spec, base, on_this_machine=on_this_machine)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._client = httpx.Client(
            headers=headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=spec.timeout,
            limits=httpx.Limits(max_connections=spec.concurrency, max_keepalive_connections=spec.concurrency),
            follow_redirects=False,
            trust_env=not on_this_machine,  # proxies are for other machines
        )
        self._stopped = Event()
        self._pause = pause or self._stopped.wait
        self._lock = Lock()
        self._free_at = 0.0
        self._failed_in_a_row = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Begin no further attempt, and end all waiting."""
        self._stopped.set()

    def ask(self, prompt: str) -> Reply:
        """The reply to one user message.

        Raises:
            NoReplyError: there is none, after all attempts.
            SpecError: the endpoint refuses the request as it is.
        """
        if self._failed_in_a_row >= GIVE_UP:
            raise NoReplyError(NOT_ASKED)
        body = json.dumps(
            {
                "model": self._spec.model,
                "messages": [{"role": "user", "content": prompt}],
                "temperature": 0,
                "max_tokens": self._spec.max_new_tokens,
            }
        ).encode()
        problem = ""
        for attempt in range(self._spec.retries + 1):
            self._wait_for_turn()
            if self._stopped.is_set():
                raise NoReplyError(STOPPED)
            try:
                reply = self._attempt(body)
            except _TryAgainError as failure:
                problem = str(failure)
                if attempt < self._spec.retries:
                    self._hold(attempt, failure.after)
                continue
            self._failed_in_a_row = 0
            return reply
        with self._lock:
            self._failed_in_a_row += 1
        raise NoReplyError(problem)

    def _wait_for_turn(self) -> None:
        """Keep to the rate limit, and to what the server last asked for."""
        per_minute = self._spec.requests_per_minute
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + (60 / per_minute if per_minute else 0)
        if begin > now:
            self._pause(begin - now)

    def _hold(self, attempt: int, after: float | None) -> None:
        """Before another attempt: what the server asks for, of all threads; or this one, longer every time."""
        if after is None:
            longest = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
            self._pause(longest * random.uniform(0.5, 1))
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + min(after, LONGEST_WAIT))

    def _attempt(self, body: bytes) -> Reply:
        import httpx

        try:
            with self._client.stream("POST", self._url, content=body) as response:
                content = self._read(response)
        except httpx.TimeoutException:
            raise _TryAgainError(TIMED_OUT) from None
        except httpx.RequestError as error:
            said = self._plain(str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__)
            raise _TryAgainError(f"connection failed ({said})") from None
        status = response.status_code
        if 200 <= status < 300:
            return _reply(self._redact(content.decode("utf-8", errors="replace")))
        if status in RETRIED or not 300 <= status < 500:
            raise _TryAgainError(f"HTTP {status}", _retry_after(response.headers.get("Retry-After")))
        where = f"{self._url.host}: HTTP {status}"
        if status < 400:
            raise SpecError(
                f"{where} redirects elsewhere, which is not followed; set verdicts.judge.url to the new address"
            )
        message = self._plain(_message(content))
        if status in (400, 413, 422) and re.search(
            r"context.?(?:length|window)|too many tokens", message, re.IGNORECASE
        ):
            raise NoReplyError(BEYOND_CONTEXT)
        raise SpecError(
            f"{where} ({message}); check verdicts.judge: url, model, and the key in {self._spec.key_variable}"
        )

    def _read(self, response: httpx.Response) -> bytes:
        """A body, within size and time. The client's own time-out begins anew with every piece."""
        begun = time.monotonic()
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > MAX_BODY_BYTES:
                raise NoReplyError(TOO_LARGE)
            if time.monotonic() - begun > self._spec.timeout:
                raise _TryAgainError(TIMED_OUT)
        return bytes(content)

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key and len(self._key) >= SECRET else text

    def _plain(self, text: str) -> str:
        """One short line without the key, or anything that looks like one."""
        text = re.sub(r"\bsk-\S+", "[key]", self._redact(text))
        return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:MAX_MESSAGE]


def _address(spec: JudgeSpec, *, offline: bool) -> tuple[httpx.URL, bool]:
    """The base address, and whether it is on this machine."""
    import httpx

    try:
        url = httpx.URL(spec.url or "")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise SpecError(
            "verdicts.judge.url is not the base address of an endpoint; give one like http://localhost:8000/v1, "
            "with neither a user, a query nor a fragment"
        )
    here = _is_here(url.host)
    if offline and not here:
        raise SpecError(f"the judge at {url.host} cannot be asked offline; use a local judge, or go online")
    if url.scheme == "http" and not here:
        raise SpecError(
            f"http would send the judge's key to {url.host} for anyone to read; give an https address, or tunnel the "
            "endpoint to localhost"
        )
    return url, here


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return (address := ipaddress.ip_address(host)).is_loopback or address.is_unspecified
    except ValueError:
        return False


def _key(spec: JudgeSpec, base: httpx.URL, *, on_this_machine: bool) -> str | None:
    """The key; None without one. Never part of a message."""
    key = os.environ.get(spec.key_variable, "").strip()
    if not key and not on_this_machine:
        raise SpecError(
            f"the environment variable {spec.key_variable} is not set: put the key of {base.host} there, or name "
            "another with verdicts.judge.key_variable"
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise SpecError(f"the environment variable {spec.key_variable} holds no key (one word in ASCII); correct it")
    return key or None


def _retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", header.strip()):
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _message(content: bytes) -> str:
    """What an error's body says."""
    text = content.decode("utf-8", errors="replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    return said if isinstance(said, str) else text


def _reply(content: str) -> Reply:
    """A body as a reply, no longer than a judge's reply is read."""
    try:
        document = json.loads(content)
        choice = document["choices"][0]
        text = choice["message"].get("content") or ""
        usage = document.get("usage") or {}
        return Reply(
            text=text.encode("utf-8", errors="replace").decode()[: MAX_REPLY + 1],
            cut=choice.get("finish_reason") == "length",
            prompt_tokens=_count(usage.get("prompt_tokens")),
            reply_tokens=_count(usage.get("completion_tokens")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _TryAgainError(NOT_A_COMPLETION) from None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 40 else None

"""The parent's side of the sandbox: start a child, hand it a program and calls, and read back values.

What holds: the child can compute, use a bounded amount of processor time and memory, and write a bounded number of
bytes to one pipe; the kernel refuses it everything else (see `filter`). Where the kernel cannot, nothing is run and the
status is `not_run`: there is no weaker sandbox to fall back to. Verdicts are never the child's: it gets arguments and
returns values, and expected values stay here, so a program that takes over its own process gains nothing over one that
simply returns what it likes. Bytes from the child are hostile: bounded, and parsed as JSON of a known shape.

What remains: a fault in the kernel or in the few calls that are allowed; the use of shared caches and time (side
channels); a program that sees the arguments of later calls by digging in its own process. Results are as deterministic
as the program: hash order is fixed and `random` is seeded, but the clock is real, and a limit on time depends on the
machine.
"""

from __future__ import annotations

import json
import math
import os
import platform
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from .filter import MACHINES, build_filter

Status = Literal["ran", "timeout", "memory", "refused", "crashed", "not_run", "no_function", "unsupported_import"]

CHILD = Path(__file__).with_name("child.py")
FLAGS = ("-P", "-s", "-S", "-B", "-W", "ignore")
"""As `-I -S -B`, but for the one variable below, which `-I` would ignore."""
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All of it. A fixed seed makes the order of sets of text the same in every run."""
STARTUP_SECONDS = 30.0
"""In which the interpreter has to start. No line of the program runs before that."""
NOT_REACHED = "not reached"
_MOST_TEXT = 160
"""Characters of an error or a detail."""


@dataclass(frozen=True)
class Limits:
    """What one program may use, all its calls together."""

    cpu_seconds: int = 2
    wall_seconds: float = 10.0
    """A backstop, from when the child is ready: a busy machine must not make a program fail."""
    memory_bytes: int = 256 * 2**20
    """Address space, the interpreter's own 30 MB included."""
    output_bytes: int = 2_000_000
    """Everything written to the result pipe."""
    source_characters: int = 20_000


@dataclass(frozen=True)
class Call:
    """What one call returned: a JSON value, or an error."""

    value: Any = None
    error: str | None = None
    """Name of the exception, or what is wrong with the value, as `_shown` writes it; None when there is a value."""

    def gives(self, expected: object) -> bool:
        """Whether it returned a value that equals the expected one, as `assert call == expected` would find."""
        return self.error is None and bool(self.value == expected)


@dataclass(frozen=True)
class ProgramResult:
    """What came of a program."""

    status: Status
    """`ran`: every call was made, whatever came of it, and the process ended by itself with exit code 0. `timeout`,
    `memory`: it used up its time or memory. `refused`: the kernel refused it something and it did not catch that, or
    its source is too long. `crashed`: it does not compile, fails when loaded, ends its process, or writes too much.
    `no_function`: it defines none of that name. `unsupported_import`: it did not catch that a module is missing here,
    which says nothing about the program. `not_run`: this machine cannot contain it, so nothing was run."""
    calls: tuple[Call, ...]
    """One for each argument list, in order."""
    seconds: float
    """Wall clock, from when the child was ready."""
    detail: str = ""
    """Why, where the status leaves that open. Printable, and of bounded length."""


def why_not() -> str | None:
    """Why this machine cannot contain a program, as far as can be told without trying; None where it may."""
    if not sys.platform.startswith("linux"):
        return f"programs are contained by a Linux kernel's seccomp filter, and this is {sys.platform}"
    if platform.machine() not in MACHINES or sys.maxsize < 2**32 or sys.byteorder != "little":
        return f"there is no seccomp filter for {platform.machine()}; {', '.join(MACHINES)} (64 bits) have one"
    return None if sys.executable else "the Python interpreter's own path is unknown"


def run_program(
    source: str, function: str, calls: Sequence[Sequence[object]], limits: Limits | None = None
) -> ProgramResult:
    """Call a function of a program with each list of arguments, in one contained process.

    Args:
        source: the program, as a model wrote it.
        function: name of the function in it.
        calls: argument lists of JSON values. Each call gets copies of its own.
    """
    limits = limits or Limits()
    reason = why_not()
    if reason is not None:
        return _all(calls, "not_run", reason)
    if len(source) > limits.source_characters:
        return _all(calls, "refused", f"its source is longer than {limits.source_characters} characters")
    nonce = secrets.token_hex(16)
    request = {
        "nonce": nonce,
        "source": source,
        "function": function,
        "calls": calls,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "filter": build_filter(MACHINES[platform.machine()]).hex(),
    }
    data = json.dumps(request, allow_nan=False).encode()
    try:
        said = _talk(data, nonce.encode(), limits)
    except OSError as error:
        return _all(calls, "not_run", f"the child cannot be started: {error}")
    return _judge(said, calls, limits)


@dataclass(frozen=True)
class _Said:
    """What a child said, and how it ended."""

    lines: list[dict[str, Any]]
    ended: Literal["itself", "wall", "output"]
    code: int
    seconds: float


def _all(calls: Sequence[Sequence[object]], status: Status, detail: str) -> ProgramResult:
    return ProgramResult(status, tuple(Call(error=NOT_REACHED) for _ in calls), 0.0, _shown(detail))


def _talk(request: bytes, nonce: bytes, limits: Limits) -> _Said:
    """Run a child to its end, or to a limit."""
    with (
        tempfile.TemporaryDirectory(prefix="introspect-") as empty,
        subprocess.Popen(  # noqa: S603 - our own interpreter and script; the program travels through the pipe
            [sys.executable, *FLAGS, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=ENVIRONMENT,
            cwd=empty,
            close_fds=True,
            start_new_session=True,
        ) as child,
    ):
        try:
            if child.stdin is None or child.stdout is None:
                raise OSError("no pipes to it")
            received, ended, began = _exchange(child.stdin, child.stdout, request, nonce, limits)
            seconds = 0.0 if began is None else time.monotonic() - began
        finally:
            # A child that ended by itself keeps the exit code it had.
            child.kill()
            code = child.wait()
    return _Said(_parse(received, nonce), ended, code, seconds)


def _exchange(
    stdin: IO[bytes], stdout: IO[bytes], request: bytes, nonce: bytes, limits: Limits
) -> tuple[bytes, Literal["itself", "wall", "output"], float | None]:
    """Write the request and read until the child ends or a limit is reached; also when the child became ready."""
    os.set_blocking(stdin.fileno(), False)
    received = bytearray()
    began: float | None = None
    deadline = time.monotonic() + STARTUP_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(received), "wall", began
            for key, _ in selector.select(left):
                if key.fileobj is stdin:
                    request = request[_write(stdin, request) :]
                    if not request:
                        selector.unregister(stdin)
                        stdin.close()
                    continue
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    return bytes(received), "itself", began
                received += data
                if len(received) > limits.output_bytes:
                    return bytes(received), "output", began
                if began is None and nonce in received:
                    began = time.monotonic()
                    deadline = began + limits.wall_seconds


def _write(stdin: IO[bytes], data: bytes) -> int:
    """Bytes taken; all of them where nobody reads any more, which the end of the output then explains."""
    try:
        return os.write(stdin.fileno(), data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


def _parse(received: bytes, nonce: bytes) -> list[dict[str, Any]]:
    """The lines that carry the nonce, up to the first that is no JSON object."""
    lines = []
    for line in received.split(b"\n"):
        if not line.startswith(nonce + b" "):
            continue
        try:
            found = json.loads(line[len(nonce) + 1 :], parse_constant=_no_constant)
        except (ValueError, RecursionError):
            break
        if not isinstance(found, dict):
            break
        lines.append(found)
    return lines


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _judge(said: _Said, calls: Sequence[Sequence[object]], limits: Limits) -> ProgramResult:
    """From what the child said to a result. Lines after `ready` are the program's word, and only ever count as such."""
    first, *rest = said.lines or [{}]
    if first.get("ready") is not True:
        reason = first.get("not_run") or f"the child ended before it was ready ({_ending(said.code)})"
        return _all(calls, "not_run", str(reason))
    loaded, *results = rest or [{}]
    found = [_call(line) for line in results[: len(calls)] if "end" not in line]
    finished = bool(rest) and results[len(found) :] == [{"end": True}]
    reached = (*found, *(Call(error=NOT_REACHED) for _ in calls[len(found) :]))

    def result(status: Status, detail: str = "") -> ProgramResult:
        return ProgramResult(status, reached, math.ceil(said.seconds * 1e4) / 1e4, _shown(detail))

    errors = [error for error in (_error(loaded), *(call.error for call in found)) if error is not None]
    if not finished or said.ended != "itself" or said.code != 0:
        if said.ended == "wall":
            return result("timeout", f"longer than {limits.wall_seconds:g} s")
        if said.ended == "output":
            return result("crashed", f"more than {limits.output_bytes} bytes of output")
        if said.code == -signal.SIGXCPU:
            return result("timeout", f"more than {limits.cpu_seconds} s of processor time")
        when = "after" if finished else "before"
        return result("crashed", f"the process ended {when} the last call ({_ending(said.code)})")
    if "MemoryError" in errors:
        return result("memory", f"more than {limits.memory_bytes // 2**20} MB")
    if "PermissionError" in errors:
        return result("refused", "it asked the kernel for something that it may not have")
    if "ModuleNotFoundError" in errors:
        return result("unsupported_import", "it imports a module that programs are not given here")
    if loaded.get("loaded") is not True:
        return result("crashed", f"{_error(loaded)} when loaded")
    if loaded.get("found") is not True:
        return result("no_function", "it defines no function of that name")
    return result("ran") if len(found) == len(calls) else result("crashed", "not every call was made")


def _call(line: dict[str, Any]) -> Call:
    error = _error(line)
    return Call(line.get("value")) if error is None and "value" in line else Call(error=error or "no value")


def _error(line: dict[str, Any]) -> str | None:
    error = line.get("error")
    if error is None:
        return None
    return _shown(error) if isinstance(error, str) else "an error without a name"


def _shown(text: str) -> str:
    """Text that can be written to any file and terminal: what is not printable escaped, as a lone surrogate is."""
    printable = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:_MOST_TEXT])
    return "".join(printable)[:_MOST_TEXT]


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"

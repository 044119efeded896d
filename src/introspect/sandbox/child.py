"""The child's side of the sandbox: a script of its own, which imports nothing of introspect.

Order is everything. It reads the request, imports what the program may use, closes every file descriptor but the
result pipe, sets limits, gives up privileges and installs the filter, checks that the filter holds, says that it is
ready; only then is the program compiled and run. What it cannot set up it reports, and runs nothing.

The program shares this process and could tamper with all of it. That is why nothing here decides anything: it returns
values, and the parent, who alone has the expected ones, compares. The nonce in front of every line keeps what the
program writes by accident or cheaply apart from results; a program that digs it out of this frame can send any value,
which it could also have returned.
"""

import ctypes
import importlib
import io
import json
import os
import resource
import signal
import struct
import sys
import types
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
MODULES = (
    "__future__",
    "abc",
    "array",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "colorsys",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "graphlib",
    "hashlib",
    "heapq",
    "html",
    "io",
    "itertools",
    "json",
    "keyword",
    "math",
    "numbers",
    "operator",
    "pprint",
    "queue",
    "random",
    "re",
    "reprlib",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "timeit",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "warnings",
    "weakref",
    "zlib",
)
"""What a program may import. Only those that its text names are loaded, since the rest costs time."""
UNSEEN = {
    "collections": ("copy", "heapq"),
    "datetime": ("_strptime",),
    "fractions": ("decimal",),
    "functools": ("typing", "weakref"),
    "statistics": ("heapq",),
    "time": ("_strptime",),
}
"""What they import later by themselves, when no file can be read any more."""
MOST_DEPTH, MOST_PARTS, MOST_CHARACTERS, MOST_BITS = 30, 10_000, 100_000, 4096
"""Bounds on a returned value: nesting, number of parts, characters in all, size of a whole number."""


class Lost(io.TextIOBase):
    """Where the program's own output goes."""

    def write(self, text: str) -> int:
        """Count it as written."""
        return len(text)


class NoValue(Exception):
    """A returned value is no JSON value, or too large a one."""


def lock_down(request: dict[str, Any]) -> str | None:
    """Give up everything but computing. Returns None, or the reason why it could not be done."""
    os.closerange(2, 65536)
    os.close(0)
    cpu, memory = request["cpu_seconds"], request["memory_bytes"]
    limits = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_NOFILE: (0, 0),
        resource.RLIMIT_NPROC: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    try:
        for limit, values in limits.items():
            resource.setrlimit(limit, values)
    except (OSError, ValueError) as error:
        return f"a resource limit cannot be set: {error}"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    lines = ctypes.create_string_buffer(bytes.fromhex(request["filter"]))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(lines) // 8, ctypes.addressof(lines)))
    steps = (
        ("a signal on the parent's death", (PR_SET_PDEATHSIG, signal.SIGKILL, 0)),
        ("no new privileges", (PR_SET_NO_NEW_PRIVS, 1, 0)),
        ("a seccomp filter", (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))),
    )
    for what, (option, first, second) in steps:
        if libc.prctl(option, first, second, 0, 0) != 0:
            return f"the kernel refuses {what}: {os.strerror(ctypes.get_errno())}"
    try:
        os.uname()
    except PermissionError:
        return None
    return "the kernel took the seccomp filter and does not enforce it"


def plain(value: Any, left: list[int], depth: int = 0) -> Any:
    """A copy of the value in JSON's own types; what its class redefines is not asked.

    Args:
        left: [parts, characters] that may still be spent.
    """
    left[0] -= 1
    if left[0] < 0 or left[1] < 0:
        raise NoValue("returned too large a value")
    if depth > MOST_DEPTH:
        raise NoValue("returned too deep a value")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        left[1] -= str.__len__(value)
        if left[1] < 0:
            raise NoValue("returned too large a value")
        return str.__str__(value)
    if isinstance(value, int):
        if int.bit_length(value) > MOST_BITS:
            raise NoValue("returned too large a number")
        return int.__int__(value)
    if isinstance(value, float):
        number = float.__float__(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise NoValue("returned a number that is not finite")
        return number
    if isinstance(value, list):
        return [plain(part, left, depth + 1) for part in list.__iter__(value)]
    if isinstance(value, dict):
        pairs = list(dict.items(value))
        if not all(isinstance(key, str) for key, _ in pairs):
            raise NoValue("returned a dict whose keys are not all str")
        return {plain(key, left, depth + 1): plain(part, left, depth + 1) for key, part in pairs}
    raise NoValue(f"returned a {type(value).__name__}, which is no JSON value")


def reporter(nonce: str) -> Callable[..., None]:
    """Writer of result lines, with all it needs in hand before the program can change it."""
    start, write, encode = f"\n{nonce} ", os.write, json.JSONEncoder(allow_nan=False).encode

    def say(**facts: object) -> None:
        data = (start + encode(facts) + "\n").encode()
        while data:
            data = data[write(1, data) :]

    return say


def attempt(action: Callable[..., Any], *given: Any) -> tuple[Any, str | None]:
    """What the action gives, as (value, error)."""
    try:
        return action(*given), None
    except NoValue as error:
        return None, str(error)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: whatever a program raises is a result
        return None, str(type(error).__name__)


def call(function: Callable[..., Any], arguments: list[Any]) -> Any:
    """What the function returns, as a JSON value."""
    return plain(function(*arguments), [MOST_PARTS, MOST_CHARACTERS])


def load(source: str, name: str) -> Any:
    """Run the program's own lines, and find the function in it."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    # The boundary is the kernel's filter, which is in force by now: running this text is what the process is for.
    exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return module.__dict__.get(name)


def main() -> None:
    """Read the request, lock down, run, report, and end without any cleaning up that the program could have changed."""
    request = json.loads(sys.stdin.buffer.read())
    say, leave, source = reporter(request["nonce"]), os._exit, request["source"]
    for name in MODULES:
        if name in source:
            importlib.import_module(name)
            for further in UNSEEN.get(name, ()):
                importlib.import_module(further)
    if not source.isascii() or "\\N{" in source:
        # The compiler itself asks this module about such names.
        importlib.import_module("unicodedata")
    if "random" in sys.modules:
        sys.modules["random"].seed(0)
    problem = lock_down(request)
    if problem is not None:
        say(not_run=problem)
        leave(0)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(""), Lost(), Lost()
    sys.modules["__main__"] = types.ModuleType("__main__")
    say(ready=True)
    function, error = attempt(load, source, request["function"])
    found = callable(function)
    say(loaded=error is None, error=error, found=found)
    for arguments in request["calls"] if found else ():
        value, error = attempt(call, function, arguments)
        say(value=value, error=error)
        if error == "MemoryError":
            break
    say(end=True)
    leave(0)


if __name__ == "__main__":
    main()

"""The `introspect` command: its verbs, and the one place where errors become exit codes.

0 done, 2 a user's error (one line with the remedy), 3 damaged data, 1 a bug (traceback), 130 Ctrl-C, 143 SIGTERM.
Verbs import what they call when they are called, so that help costs no torch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from ..errors import IntrospectError
from ..surroundings import AUTO, DEVICE_MAP, MEMORY, OFFLOAD_FOLDER, PROBE_DEVICE, read_memory, read_probe_device
from .bench import bench
from .cluster import with_address
from .compare import compare
from .doctor import doctor
from .explore import explore
from .export import export
from .inject import inject
from .items import items
from .link import link
from .list import list_
from .probe import probe
from .pull import pull
from .push import push
from .record import record
from .report import report
from .run import run
from .score import score
from .shift import shift
from .show import show
from .steer import steer
from .train import train
from .transfer import transfer
from .verify import verify

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, wherever it is met."""
RESUMABLE = ("run", "record", "train", "shift", "inject")
"""Verbs that take `--resume`."""
GOES_ON = ("steer", "push", "pull")
"""Verbs that go on with what they find."""

app = typer.Typer(
    name="introspect",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "run": run,
    "inject": inject,
    "record": record,
    "list": list_,
    "show": show,
    "score": score,
    "link": link,
    "shift": shift,
    "steer": steer,
    "report": report,
    "verify": verify,
    "compare": compare,
    "explore": explore,
    "export": export,
    "push": push,
    "pull": pull,
    "train": train,
    "transfer": transfer,
    "items": items,
    "doctor": doctor,
    "bench": bench,
}
GROUPS = {"probe": probe}
"""Verbs that have verbs of their own."""
for name, verb in VERBS.items():
    app.command(name)(verb)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"introspect {version('introspect')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def introspect(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    device_map: Annotated[
        str | None,
        typer.Option(
            envvar=DEVICE_MAP,
            help="How weights are spread over devices: auto, balanced, sequential, cuda:0, cpu or disk.",
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(envvar=MEMORY, help="The most that weights take on a device, such as 0=40GB,cpu=60GB.")
    ] = None,
    offload_folder: Annotated[
        str | None, typer.Option(envvar=OFFLOAD_FOLDER, help="Where weights wait that fit on no device.")
    ] = None,
    probe_device: Annotated[
        str | None,
        typer.Option(
            envvar=PROBE_DEVICE, help="Where probes are fitted: auto (a GPU, if there is one with room), cpu or cuda:0."
        ),
    ] = None,
) -> None:
    """Tests whether what a reasoning model says in its chain of thought is what its activations carry.

    \b
    introspect list                            what there is to run
    introspect show probe-risk                 what it asks, and how
    introspect run probe-risk                  the whole experiment, ending in runs/probe-risk/report.html
    introspect run probe-risk --model Qwen/Qwen3-0.6B --limit 64
    introspect --offload-folder /scratch doctor --model Qwen/Qwen3-32B
    introspect verify runs/probe-risk          every stored part against its digest
    """
    read_memory(memory or "")
    read_probe_device(probe_device or AUTO)
    # Every model that is loaded from here on goes by them: that of a run, of its baseline, of a judge.
    given = {DEVICE_MAP: device_map, MEMORY: memory, OFFLOAD_FOLDER: offload_folder, PROBE_DEVICE: probe_device}
    for name, value in given.items():
        if value is not None:
            os.environ[name] = value
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class _Terminated(SystemExit):
    """SIGTERM, raised where the work is, so that files are closed and locks are given back."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(TERMINATED)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if args is None else args)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        code = app(with_address(arguments), prog_name="introspect", standalone_mode=False) or 0
    except IntrospectError as error:
        _complain(str(error))
        return error.exit_code
    except typer.TyperException as error:
        what = error.format_message().replace("Value error, ", "").rstrip(".")
        _complain(f"{what} (see `introspect {_verb(arguments)}--help`)")
        return error.exit_code
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f" {error.filename}" if error.filename else ""
        _complain(f"cannot write{where}: {error.strerror}; free space or choose another --out{_again(arguments)}")
        return IntrospectError.exit_code
    except _Terminated:
        code = TERMINATED
    if code in (INTERRUPTED, TERMINATED):
        _complain(f"interrupted{_again(arguments)}")
    return code


def _again(arguments: list[str]) -> str:
    if arguments[:1] and arguments[0] in GOES_ON:
        return "; the same command goes on from here"
    resumable = bool(arguments) and arguments[0] in RESUMABLE
    return "; the same command with --resume goes on from here" if resumable else ""


def _verb(arguments: list[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in (*VERBS, *GROUPS) else ""


def _complain(line: str) -> None:
    plain = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in " ".join(line.split()))
    typer.echo(f"introspect: {plain}", err=True)

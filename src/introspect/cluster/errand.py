"""What a worker is sent out with: the kind of work, what its plan is made from, and what has to be the same there."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..errors import RunError
from ..manifest import machine_facts, package_versions

if TYPE_CHECKING:
    from ..models import ModelInfo

R = TypeVar("R")


class Work(Protocol):
    """A kind of work at a worker, with what it needs loaded. Made of an errand's setting, of the work before, in a list
    from which it is taken to be let go of, and of how many threads there are.
    """

    facts: dict[str, str | None]
    """See `Errand.facts`."""
    memory: int
    """Bytes of memory that a piece may take, beside the model; 0 where that is not known."""

    def do(self, index: int, told: Any) -> Any:
        """Do a piece.

        Args:
            told: what `Errand.tell` gave. What is returned is plain: JSON values.
        """


REMEDIES = {
    "plan": "give it the same items, texts and tokenizer",
    "weights": "put the same model on every machine",
    "adapter": "put the same adapter on every machine",
    "processor": "choose machines of one kind",
    "processor model": "choose machines of one kind",
    "accelerator": "choose machines of one kind",
}
VERSIONS = "install what constraints.txt says on every machine"
CHECKOUT = "install the same one on every machine, and leave it as it is while a run is on"
SOURCE = "a source of introspect"
PROCESSORS = Path("/proc/cpuinfo")
OF_A_PROCESSOR = {
    *("model name", "cpu family", "model", "stepping"),
    *("CPU implementer", "CPU variant", "CPU part", "CPU revision"),
}


@dataclass(frozen=True)
class Errand(Generic[R]):
    """A kind of pieces."""

    kind: str
    """`package.module:Class` of a `Work`."""
    setting: Mapping[str, Any]
    """What a worker makes its plan from. JSON values."""
    facts: Mapping[str, str | None]
    """What has to be the same at every worker, since pieces depend on it."""
    read: Callable[[Any], R]
    """What a worker's answer comes to here."""
    name: Callable[[int], str]
    """How to call a piece."""
    tell: Callable[[int], Any] = lambda index: None
    """What a worker has to know of other pieces for this one. JSON values."""


def facts_of(info: ModelInfo, backend: str, plan: str) -> dict[str, str | None]:
    """What pieces depend on: the model, the numbers it computes in, what computes them, and the plan's digest."""
    return {
        "weights": info.weight_digest,
        "adapter": info.adapter_digest,
        "dtype": info.dtype,
        "attention": info.attention,
        "quantization": info.quantization,
        "backend": backend,
        "device": info.device,
        **kind_of_machine(computes="cuda" not in info.device),
        "plan": plan,
    }


def kind_of_machine(*, computes: bool) -> dict[str, str | None]:
    """What of a machine decides the last bits of a number.

    Args:
        computes: whether its processor does; else its model does not matter.
    """
    machine = machine_facts()
    return {
        "accelerator": None if machine["accelerator"] is None else str(machine["accelerator"]),
        "processor": str(machine["processor"]),
        "processor model": processor_model() if computes else None,
    }


def processor_model() -> str:
    """Name, family, model and stepping: libraries choose the order of sums by these, too."""
    try:
        first = PROCESSORS.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    said = [[each.strip() for each in line.partition(":")[::2]] for line in first.splitlines()]
    return " ".join(value for name, value in said if name in OF_A_PROCESSOR) or platform.machine()


@functools.cache
def source_digest() -> str:
    """SHA-256, hex, of this package's modules: of a checkout, the version says little."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def own_versions() -> dict[str, str]:
    """Of what decides numbers, our own source included."""
    return package_versions() | {SOURCE: source_digest()}


def check_same(there: Mapping[str, str | None], here: Mapping[str, str | None], where: str) -> None:
    """Refuse a worker that would make other rows.

    Raises:
        RunError: names the first thing that differs, the worker's machine, and what it is there and here.
    """
    for what, own in here.items():
        found = there.get(what)
        if found != own:
            remedy = REMEDIES.get(what, "start every worker alike")
            raise RunError(
                f"the worker on {where} has another {what} ({_short(found)}; here {_short(own)}), and would make other "
                f"rows: {remedy}"
            )


def check_versions(there: Mapping[str, str], where: str) -> None:
    """Refuse a worker with other packages, or another source of this one.

    Raises:
        RunError: names the first that differs, the worker's machine, and both versions.
    """
    here = own_versions()
    for name in (*here, *sorted(there.keys() - here)):
        own, found = here.get(name), there.get(name)
        if found != own:
            remedy = CHECKOUT if name == SOURCE else VERSIONS
            raise RunError(f"the worker on {where} has {name} {_short(found)}, and here it is {_short(own)}: {remedy}")


def use_threads(threads: int) -> int:
    """Let this process compute with so many threads; returns with how many it did before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    return before


def _short(value: str | None) -> str:
    text = "none" if value is None else value
    return text if len(text) <= 32 else f"{text[:12]}..."

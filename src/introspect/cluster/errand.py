"""What a worker is sent out with: the kind of work, what its plan is made from, and what has to be the same there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    "accelerator": "choose machines of one kind",
}
VERSIONS = "install what constraints.txt says on every machine"


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
    machine = machine_facts()
    return {
        "weights": info.weight_digest,
        "adapter": info.adapter_digest,
        "dtype": info.dtype,
        "attention": info.attention,
        "quantization": info.quantization,
        "backend": backend,
        "device": info.device,
        "accelerator": None if machine["accelerator"] is None else str(machine["accelerator"]),
        "processor": str(machine["processor"]),
        "plan": plan,
    }


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
    """Refuse a worker with other packages.

    Raises:
        RunError: names the first package that differs, the worker's machine, and both versions.
    """
    for name, own in package_versions().items():
        if there.get(name) != own:
            raise RunError(f"the worker on {where} has {name} {there.get(name)}, and here it is {own}: {VERSIONS}")


def use_threads(threads: int) -> int:
    """Let this process compute with so many threads; returns with how many it did before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    return before


def _short(value: str | None) -> str:
    text = "none" if value is None else value
    return text if len(text) <= 32 else f"{text[:12]}..."

"""Where a model's weights are kept: which devices hold how much of them, and what waits on disk for its turn.

accelerate spreads the modules and moves weights and activations as they are needed. A weight that waits elsewhere is on
the meta device meanwhile, so what asks where to compute asks here.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..surroundings import surroundings
from .sizes import KEPT_FREE, Device, memory_here

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways in which accelerate fills devices."""
DISK = "disk"

DeviceMap = str | Mapping[str, str | int] | None


@dataclass(frozen=True)
class Placement:
    """Where weights go, with the limits that hold there."""

    device_map: str | dict[str, str | int] | None
    """As transformers takes it; None: the whole model on the processor, without accelerate."""
    room: dict[Device, int]
    """Bytes that weights may take, by device."""
    processor: int
    """Bytes that are free on the processor, for what passes through it while a model is loaded."""
    folder: Path | None
    """For what goes to disk: an empty folder of this load's own, which goes when nobody holds this any more."""

    @property
    def accelerated(self) -> bool:
        """Whether anything may run elsewhere than on the processor."""
        return set(self.usable(None)) != {"cpu"}

    def usable(self, quantization: str | None) -> dict[Device, int]:
        """Bytes on the devices that may hold weights; quantised ones are not kept on the processor beside a GPU."""
        if self.device_map is None:
            return {"cpu": self.room["cpu"]}
        if isinstance(self.device_map, str):
            alone = quantization is not None and len(self.room) > 1
            return {device: free for device, free in self.room.items() if not (alone and device == "cpu")}
        named = {_key(device) for device in self.device_map.values()}
        return {device: free for device, free in self.room.items() if device in named}

    @property
    def limits(self) -> dict[Device, int] | None:
        """`max_memory` of transformers."""
        return self.room if isinstance(self.device_map, str) else None

    def options(self) -> dict[str, Any]:
        """What `from_pretrained` is told."""
        if self.device_map is None:
            return {"device_map": None}
        return {"device_map": self.device_map, "max_memory": self.limits, "offload_folder": self.folder}


def place(
    device_map: DeviceMap = "auto",
    memory: Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
    *,
    quantised: bool = False,
) -> Placement:
    """What options about placement mean on this machine. Where nothing is said, the surroundings are asked.

    Args:
        device_map: a way to spread (`auto`, ...), a device (`cpu`, `cuda:1`, `disk`), or a map of modules to devices;
            None: the processor.
        memory: device (`cpu`, or a GPU's number) -> the most that weights may take there, such as `20GB`.
        offload_folder: where weights are written that have to go to disk.
        quantised: nothing goes to disk, then, whatever the surroundings say.

    Raises:
        ModelError: one of them cannot be read, or names a device that is not here.
    """
    if device_map == "auto" and memory is None and offload_folder is None:
        around = surroundings()
        device_map, memory = around.device_map or "auto", around.memory
        offload_folder = None if quantised else around.offload_folder
    here = {device: int(KEPT_FREE * free) for device, free in memory_here().items()}
    room = _room(here, memory)
    mapped = _read_map(device_map)
    to_disk = isinstance(mapped, dict) and DISK in mapped.values()
    if to_disk and offload_folder is None:
        raise ModelError("a device_map to disk needs an offload_folder: name a folder on a fast disk with room")
    spread = isinstance(mapped, str)
    if spread and len(room) == 1 and not memory and offload_folder is None:
        mapped = None
    folder = None if offload_folder is None or not (spread or to_disk) else _own_folder(Path(offload_folder))
    placement = Placement(mapped, room, here["cpu"], folder)
    if folder is not None:
        weakref.finalize(placement, shutil.rmtree, folder, ignore_errors=True)
    return placement


_SETTLED: weakref.WeakKeyDictionary[Any, Placement] = weakref.WeakKeyDictionary()


def settle(model: PreTrainedModel, placement: Placement, name: str) -> None:
    """Refuse a model of which something went to disk unasked; keep its folder on disk as long as there is the model.

    Raises:
        ModelError: names the remedy.
    """
    if DISK in devices_of(model) and placement.folder is None:
        raise ModelError(
            f"{name} does not fit on the devices: name an offload_folder for the rest, or give more memory"
        )
    _SETTLED[model] = placement


def devices_of(model: PreTrainedModel) -> list[str]:
    """Every device that holds a parameter, such as `cpu`, `cuda:0`, or `disk`; sorted."""
    import torch

    placed = getattr(model, "hf_device_map", None) or {}
    if len(set(placed.values())) > 1 or DISK in placed.values():
        return sorted({DISK if each == DISK else str(torch.device(each)) for each in placed.values()})
    return sorted({str(parameter.device) for parameter in model.parameters()})


def run_device(module: nn.Module) -> torch.device:
    """Where a module computes, which is not where its weights are while they wait."""
    import torch

    for hook in _hooks(module):
        if getattr(hook, "execution_device", None) is not None:
            return torch.device(hook.execution_device)
    return next(module.parameters()).device


def input_device(model: PreTrainedModel) -> torch.device:
    """Where a model takes token ids."""
    return run_device(model.get_input_embeddings())


def weight_of(module: nn.Module) -> torch.Tensor:
    """A module's weight, read from where it waits if it does."""
    weight: torch.Tensor = module.get_parameter("weight")
    if not weight.is_meta:
        return weight
    for hook in _hooks(module):
        if getattr(hook, "weights_map", None) is not None:
            found: torch.Tensor = hook.weights_map["weight"]
            return found
    raise ModelError(f"the weights of {type(module).__name__} are nowhere: load the model again")


def _hooks(module: nn.Module) -> Iterable[Any]:
    """What accelerate has put around a module."""
    hook = getattr(module, "_hf_hook", None)
    return () if hook is None else getattr(hook, "hooks", (hook,))


def _room(here: Mapping[Device, int], memory: Mapping[str, str] | None) -> dict[Device, int]:
    from accelerate.utils import convert_file_size_to_int

    room = dict(here)
    for device, size in (memory or {}).items():
        key = int(device) if device.isdigit() else device
        if key not in room:
            raise ModelError(f"memory names {device}, and here are {', '.join(map(str, room))}: name one of these")
        try:
            room[key] = convert_file_size_to_int(str(size))
        except ValueError:
            raise ModelError(f"memory of {device} is {size!r}: write it as 20GB or 500MB") from None
    return room


def _read_map(device_map: DeviceMap) -> str | dict[str, str | int] | None:
    if device_map is None or device_map in SPREADS:
        return device_map
    if isinstance(device_map, str):
        return {"": _read_device(device_map)}
    if not device_map:
        raise ModelError("device_map names no module: give auto, a device, or a map of modules to devices")
    return {module: _read_device(device) for module, device in device_map.items()}


def _read_device(name: str | int) -> str | int:
    import torch

    text = str(name)
    if text in ("cpu", DISK):
        return text
    try:
        device = torch.device(int(text) if text.isdigit() else text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "xpu", "mps"):
        near = get_close_matches(text, (*SPREADS, "cpu", DISK), n=1)
        raise ModelError(
            f"device_map {text!r} is not known: {f'did you mean {near[0]}? ' if near else ''}choose one of "
            f"{', '.join(SPREADS)}, a device such as cpu or cuda:0, or a map of modules to devices"
        )
    many, own = torch.accelerator.device_count(), torch.accelerator.current_accelerator()
    if own is None or own.type != device.type or (device.index or 0) >= many:
        here = f"{many} of them" if many else "none"
        raise ModelError(f"device_map names {text}, and this machine has {here}: choose auto or cpu")
    return text if not text.isdigit() else int(text)


def _key(device: str | int) -> Device:
    """A device as `memory_here` calls it."""
    if isinstance(device, int):
        return device
    kind, _, index = device.partition(":")
    return int(index or 0) if kind in ("cuda", "xpu") else kind


def _own_folder(parent: Path) -> Path:
    """A new folder inside `parent`: what is offloaded has the same names in every model."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="introspect-", dir=parent))
    except OSError as error:
        raise ModelError(f"cannot write to the offload folder {parent}: {error.strerror}; choose another") from None

"""Activations of models that are hosted elsewhere: nnsight's remote execution (NDIF), for replay.

A request names a model and carries a block of code, written out as its source, with token ids and the numbers of layers
and positions. Only those activations come back. Nothing of what the service sends is unpickled: its answers are read as
JSON, and its result, in which the block has put one string of safetensors, by a reader that builds nothing
(`saved_bytes`). The prompts leave this machine: that is what the service is for.

Blocks' outputs can be read. What is added inside of a block is found out by running a model, which is not here; and
steering would have to travel as code of ours.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError, SpecError
from ..models.boundary import first_line, quiet
from ..models.load import Origin, origin_of
from .backend import ModelBackend, check_ids, check_positions
from .protocol import Capture, Read, SiteLayer, Steer, Supports, Write
from .replay import packed
from .sites import find_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEY = "NDIF_API_KEY"
HOST = "NDIF_HOST"
DEFAULT_HOST = "https://api.ndif.us"
TOKENS = 2048
"""In one request, padding included: what comes back has to fit into one answer."""
POLL_SECONDS, PATIENCE_SECONDS = 1.0, 1800.0
"""Between two questions whether a job is done, and until it is given up."""
ELSEWHERE = "the model runs elsewhere, one request at a time; generate there or with vLLM, and use `introspect record`"
INSIDE = "which module adds what is found out by running the model, and it runs elsewhere"
NO_STEERING = "nothing is steered remotely"
CONNECT_SECONDS, READ_SECONDS, CHUNK = 10.0, 600.0, 1 << 17
OVERHEAD = 1 << 16
"""Bytes of a result beside the activations."""


class NdifBackend(ModelBackend):
    """Replay of token ids through a model that NDIF hosts."""

    def __init__(self, model: PreTrainedModel, origin: Origin, *, wait: Callable[[float], None] = time.sleep) -> None:
        super().__init__(_Elsewhere(model))
        self._key = _model_key(origin)
        self._folder, self._wait = origin.path, wait
        self._wrapped: Any = None

    def replay(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        capture: Capture,
        steer: Sequence[Steer] = (),
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """See `Backend.replay`. One request for about 2000 tokens.

        Raises:
            SpecError: a site is none that is recorded remotely, or something is steered.
            ModelError: the service cannot be reached, refuses, fails, or gives something else.
        """
        self._check(capture, steer)
        check_ids(self.engine.model, sequences)
        check_positions(sequences, positions)
        out: list[dict[SiteLayer, torch.Tensor]] = [{} for _ in sequences]
        for pack in packed([len(sequence) for sequence in sequences], TOKENS):
            width = max(len(sequences[index]) for index in pack)
            ids = torch.zeros(len(pack), width, dtype=torch.long)
            for row, index in enumerate(pack):
                ids[row, : len(sequences[index])] = torch.tensor(sequences[index])
            counts = [len(positions[index]) for index in pack]
            rows = torch.repeat_interleave(torch.arange(len(pack)), torch.tensor(counts))
            columns = torch.tensor([position for index in pack for position in positions[index]], dtype=torch.long)
            found = self._ask(ids, capture.layers, rows, columns)
            for layer in capture.layers:
                for index, part in zip(pack, found[layer].split(counts), strict=True):
                    out[index]["resid_post", layer] = part
        return out

    def _ask(
        self, ids: torch.Tensor, layers: Sequence[int], rows: torch.Tensor, columns: torch.Tensor
    ) -> dict[int, torch.Tensor]:
        """Layer -> activations [row and column, width] of one request."""
        model = self.engine.model
        if self._wrapped is None:
            self._wrapped = _wrap(str(self._folder))
        blocks = _blocks(self._wrapped, model, layers)
        width, most = model.config.get_text_config().hidden_size, len(rows) * len(layers)
        backend = _job(self._key, most * width * 8 + OVERHEAD)
        sent = self._result(backend, lambda: _request(self._wrapped, blocks, ids, rows, columns, backend))
        return _read(sent, layers, (len(rows), width), model.dtype)

    def _result(self, backend: Any, submit: Callable[[], None]) -> bytes:
        import httpx
        from nnsight.intervention.backends.remote import RemoteError

        waited = 0.0
        try:
            submit()
            while waited < PATIENCE_SECONDS:
                found = backend.poll()
                if found is not None:
                    return bytes(found)
                self._wait(POLL_SECONDS)
                waited += POLL_SECONDS
        except (RemoteError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise ModelError(
                f"NDIF did not do it ({first_line(error)}): see its status, or run the model here"
            ) from None
        raise ModelError(f"NDIF has not answered for {PATIENCE_SECONDS:.0f} seconds: see its status, and try again")


class _Elsewhere:
    """An engine without a model to run: it says what can be asked for."""

    name = "ndif"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.attention = model.config._attn_implementation
        self.path = next(name for name, module in model.named_modules() if module is find_blocks(model))

    def supports(self) -> Supports:
        """See `Engine.supports`."""
        layers = frozenset(range(self.model.config.get_text_config().num_hidden_layers))
        sites = {"resid_mid": INSIDE, "attn_out": INSIDE, "mlp_out": INSIDE, "resid_post": NO_STEERING}
        why = {"in_flight": ELSEWHERE, "quantised": ELSEWHERE, "sharded": ELSEWHERE}
        return Supports({"resid_post": layers}, {}, frozenset({"replay"}), sites | why)

    def where(self, pair: SiteLayer) -> str:
        """The path of the value."""
        return f"{self.path}[{pair[1]}].output"

    def passing_over(self, layer: int, values: torch.Tensor) -> AbstractContextManager[None]:
        """See `Engine.passing_over`."""
        return nullcontext()

    def widened(self) -> AbstractContextManager[bool]:
        """See `Engine.widened`."""
        return nullcontext(False)

    def forward(
        self,
        inputs: Mapping[str, Any],
        *,
        reads: Mapping[SiteLayer, Read],
        writes: Mapping[SiteLayer, Write],
        logits_at: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Nothing is run here.

        Raises:
            SpecError: always.
        """
        raise SpecError(f"the ndif backend only replays: {ELSEWHERE}")


def ndif_backend(model: PreTrainedModel) -> NdifBackend:
    """NDIF, for a model that was loaded without weights.

    Raises:
        SpecError: there is no key, or the model is none of the hub, or has its weights here.
    """
    origin = origin_of(model)
    if origin is None or origin.kind != "hub" or not all(parameter.is_meta for parameter in model.parameters()):
        raise SpecError(
            "the ndif backend replays hub models whose weights are elsewhere: use `introspect record --from`"
        )
    if not os.environ.get(KEY):
        raise SpecError(f"the ndif backend needs a key: set {KEY} (from https://login.ndif.us)")
    return NdifBackend(model, origin)


def _model_key(origin: Origin) -> str:
    """As nnsight names a model of the hub to the service."""
    return "nnsight.modeling.transformers.TransformersModel:" + json.dumps(
        {"repo_id": origin.name, "revision": origin.requested}
    )


def _wrap(folder: str) -> Any:
    """A model of which the config is here and no weights, as nnsight wraps it."""
    from nnsight import TransformersModel
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return TransformersModel(folder, task="text-generation", tokenizer=tokenizer, trust_remote_code=False)


def _blocks(wrapped: Any, model: PreTrainedModel, layers: Sequence[int]) -> list[Any]:
    path = next(name for name, module in model.named_modules() if module is find_blocks(model))
    blocks = reduce(getattr, path.split("."), wrapped)
    return [blocks[layer] for layer in layers]


def _request(
    wrapped: Any, blocks: Sequence[Any], ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, backend: Any
) -> None:
    """Submit the block below. Its names are all that travels: it runs where this package is not."""
    import nnsight

    with wrapped.trace(ids, backend=backend) as tracer:
        found = {}
        for number, block in enumerate(blocks):
            values = block.output
            values = values[0] if isinstance(values, tuple) else values
            found[str(number)] = values[rows.to(values.device), columns.to(values.device)].cpu().contiguous()
        from safetensors.torch import save

        packed_values = nnsight.save(save(found))  # noqa: F841 - what comes back
        tracer.stop()


def _job(key: str, most: int) -> Any:
    """One request to the service, whose answers are read without building objects from them.

    Args:
        most: bytes of a result, at most.
    """
    from nnsight.intervention.backends.remote import RemoteBackend
    from nnsight.schema.request import RequestModel

    class Job(RemoteBackend):
        """Submitted over HTTP, and polled."""

        def _serialize(self, tracer: Any) -> bytes:
            # nnsight's own looks through this machine's modules first, to send those along.
            sent: bytes = RequestModel.serialize(tracer, self.compress)
            return sent

        def download_result(self, url: Any) -> bytes | None:
            # nnsight's own has no limit: it holds all that comes before it looks.
            return None if not url else self.finalize(url if isinstance(url, bytes) else _download(str(url), most))

        def finalize(self, content: bytes) -> bytes:
            if len(content) > most:
                raise ValueError(_too_much(most))
            return saved_bytes(content)

    job = Job(key, host=os.environ.get(HOST) or DEFAULT_HOST, api_key=os.environ.get(KEY), blocking=False)
    job.compress, job.display.enabled = False, False
    return job


def _download(url: str, most: int) -> bytes:
    """What is there, of at most so many bytes.

    Raises:
        ValueError: there is more; nothing is read any further.
    """
    import httpx

    content = bytearray()
    whole = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, timeout=httpx.Timeout(CONNECT_SECONDS, read=READ_SECONDS), headers=whole) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes(CHUNK):
            content += chunk
            if len(content) > most:
                raise ValueError(_too_much(most))
    return bytes(content)


def _too_much(most: int) -> str:
    return f"a result of more than the {most} bytes that were asked for"


def saved_bytes(content: bytes) -> bytes:
    """The one string of bytes that a result holds, which torch wrote as a pickle in a zip file. The pickle's operations
    are read, none is carried out; whatever else it would build is refused.

    Raises:
        ValueError: it holds anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > 2 * len(content):
                raise ValueError("it holds something else than one pickle")
            operations = list(pickletools.genops(archive.read(names[0])))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"a result that cannot be read: {error}") from None
    built = {(operation.name, argument) for operation, argument, _ in operations if operation.name in BUILDS}
    if built - {("GLOBAL", "_codecs encode")}:
        raise ValueError("a result that would build objects")
    found = [_as_bytes(operation.name, argument) for operation, argument, _ in operations]
    long = [each for each in found if each is not None and len(each) > SHORT]
    if len(long) != 1:
        raise ValueError(f"a result of {len(long)} strings, where one was asked for")
    return long[0]


BUILDS = frozenset(
    {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4"}
) | {
    "PERSID",
    "BINPERSID",
}
"""Operations of a pickle that name or make objects."""
SHORT = 64
"""Names in a result are shorter than safetensors are."""


def _as_bytes(operation: str, argument: object) -> bytes | None:
    """Protocol 2 writes bytes as text of as many characters."""
    if operation in ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8") and isinstance(argument, bytes):
        return argument
    if operation in ("BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE") and isinstance(argument, str):
        try:
            return argument.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return None


def _read(content: bytes, layers: Sequence[int], shape: tuple[int, int], dtype: torch.dtype) -> dict[int, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(content)
    except SafetensorError as error:
        raise ModelError(f"NDIF gave something else than activations ({first_line(error)}): try again") from None
    wanted = [str(number) for number in range(len(layers))]
    if sorted(found) != sorted(wanted) or any(tuple(each.shape) != shape for each in found.values()):
        raise ModelError("NDIF gave other layers or positions than were asked for: try again")
    kinds = {str(each.dtype).removeprefix("torch.") for each in found.values()}
    if kinds != {str(dtype).removeprefix("torch.")}:
        raise ModelError(f"NDIF computes in {', '.join(sorted(kinds))}: ask for --dtype {min(kinds)}")
    return {layer: found[str(number)] for number, layer in enumerate(layers)}

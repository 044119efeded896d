"""Activations as TransformerLens names them: an `ActivationCache` of some rollouts, or a safetensors file a rollout.

A cache has `[batch, pos, d_model]` under `blocks.12.hook_resid_post` and so on, in the stored dtype, bit for bit. A run
keeps the tokens that its spec asked for, so `pos` counts the tokens that are kept: `positions` says where each stands
in its rollout, and `token_ids` what it is. Rollouts of a batch that are shorter are padded on the right with zeros,
where `positions` is -1.

Known trade-off: a file a rollout means that all chosen layers of one part of the store are in memory at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..atomic import read_at_most
from ..errors import RunError, StoreError
from ..progress import Progress, silent
from ..store import Site, StoreReader
from .arrays import chosen_pairs, part_rows
from .outputs import new_place

HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_mid": "hook_resid_mid",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
}
"""Site -> what TransformerLens calls it, after `blocks.N.`"""
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
POSITIONS, TOKEN_IDS = "introspect.position", "introspect.token_id"
MAX_FILE_BYTES = 16 << 30
NO_TOKENS = "a token cache has a row a token, and {} keeps none of rollout {}; record it with capture.tokens=every"


@dataclass(frozen=True, eq=False)
class LensCache:
    """Activations of some rollouts."""

    cache: Any
    """A `transformer_lens.ActivationCache`: hook name -> [batch, pos, d_model]."""
    rollouts: tuple[int, ...]
    """[batch]"""
    positions: np.ndarray
    """int64 [batch, pos]: index into the rollout's prompt and completion; -1: padding."""
    token_ids: np.ndarray
    """int64 [batch, pos]; -1: padding."""

    def __repr__(self) -> str:
        batch, pos = self.positions.shape
        return f"<LensCache: {len(self.cache)} hooks, {batch} rollouts, {pos} positions>"


def hook_name(pair: Site) -> str:
    """`blocks.12.hook_resid_post`.

    Raises:
        RunError: TransformerLens has no such place.
    """
    if pair.name not in HOOKS:
        raise RunError(f"TransformerLens has no name for {pair.name}; choose --sites of {', '.join(HOOKS)}")
    return f"blocks.{pair.layer}.{HOOKS[pair.name]}"


def activation_cache(
    store: StoreReader,
    rollouts: Sequence[int],
    *,
    sites: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    model: Any = None,
) -> LensCache:
    """A cache of these rollouts, in this order.

    Args:
        model: a `TransformerBridge`, which the cache's own methods (logit lens, decompositions) need; lookups do not.

    Raises:
        RunError: a rollout, site or layer is not kept.
        StoreError: a part is damaged.
    """
    pairs = chosen_pairs(store, sites, layers)
    names = [hook_name(pair) for pair in pairs]
    rows = _rows(store, rollouts)
    lengths = [len(each["row"]) for each in rows]
    kept = np.arange(max(lengths, default=0)) < np.array(lengths, dtype=np.int64)[:, None]
    flat = np.concatenate([np.empty(0, np.int64), *(each["row"] for each in rows)])
    dtype, width = DTYPES[store.spec.dtype], store.spec.width
    found: dict[str, torch.Tensor] = {}
    for name, (site, layer) in zip(names, pairs, strict=True):
        values = torch.zeros((*kept.shape, width), dtype=dtype)
        values[torch.from_numpy(kept)] = _tensor(store.read(site, layer, flat, native=True), dtype)
        found[name] = values
    about = {}
    for column in ("position", "token_id"):
        about[column] = np.full(kept.shape, -1, dtype=np.int64)
        about[column][kept] = np.concatenate([np.empty(0, np.int64), *(each[column] for each in rows)])
    return _made(found, tuple(map(int, rollouts)), about["position"], about["token_id"], model)


def export_lens(
    store: StoreReader,
    out: Path,
    *,
    rollouts: Sequence[int] | None = None,
    sites: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    progress: Progress = silent,
) -> int:
    """Write `rollout-N.safetensors` for each rollout to a new folder; returns how many there are.

    Args:
        rollouts: None: all that have a token in the store.

    Raises:
        RunError: a rollout, site or layer is not kept, or it cannot be written.
        StoreError: a part is damaged, or a rollout is spread over several.
    """
    pairs, spec = chosen_pairs(store, sites, layers), store.spec
    names, dtype = [hook_name(pair) for pair in pairs], DTYPES[store.spec.dtype]
    wanted = None if rollouts is None else set(rollouts)
    n_rows = sum(len(_kept(store.columns_of(part)[1], wanted)) for part in range(store.n_parts))
    needed = n_rows * (len(pairs) * spec.width * dtype.itemsize + 16)
    with new_place(out, needed) as folder:
        folder.mkdir()
        written: set[int] = set()
        for done, rows in enumerate(part_rows(store), start=1):
            columns = store.columns_of(done - 1)[1]
            single = columns["position"] >= 0
            here = set(columns["rollout"][single].tolist())
            here &= here if wanted is None else wanted
            if here & written:
                raise StoreError(f"{store.path} has rollout {min(here & written)} in two parts; record the run again")
            written |= here
            if here:
                read = [_tensor(store.read(*pair, rows, native=True), dtype) for pair in pairs]
            for number in sorted(here):
                own = np.flatnonzero(single & (columns["rollout"] == number))
                chosen = torch.from_numpy(own[np.argsort(columns["position"][own], kind="stable")])
                tensors = {name: values[chosen][None] for name, values in zip(names, read, strict=True)}
                tensors[POSITIONS] = torch.from_numpy(columns["position"])[chosen][None]
                tensors[TOKEN_IDS] = torch.from_numpy(columns["token_id"])[chosen][None]
                content = save(tensors, {"rollout": str(number), "format": "1"})
                (folder / f"rollout-{number:05d}.safetensors").write_bytes(content)
            progress("write rollouts", done, store.n_parts)
        absent = sorted((wanted or set()) - written)
        if absent or not written:
            raise RunError(NO_TOKENS.format(store.path, absent[0] if absent else "any"))
    return len(written)


def read_lens(path: Path, *, model: Any = None) -> LensCache:
    """A file that `export_lens` wrote, which may have come from a stranger, as a cache of one rollout.

    Raises:
        StoreError: it is missing, a link, too large, no safetensors file, or does not hold together. Names it.
    """
    try:
        found = load(read_at_most(path, MAX_FILE_BYTES))
        positions, ids = found.pop(POSITIONS), found.pop(TOKEN_IDS)
        number = int(path.stem.removeprefix("rollout-"))
        shape = positions.shape
        if shape != ids.shape or len(shape) != 2 or {positions.dtype, ids.dtype} != {torch.int64}:
            raise ValueError("its positions are none")
        if any(values.dim() != 3 or values.shape[:2] != shape for values in found.values()):
            raise ValueError("its activations are not [batch, pos, d_model]")
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); export it again") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path} is no exported rollout ({str(error)[:200]}); export it again") from None
    return _made(found, (number,), positions.numpy(), ids.numpy(), model)


def _kept(columns: dict[str, np.ndarray], rollouts: Collection[int] | None) -> np.ndarray:
    """Rows of a part that are single tokens of these rollouts; None: of any."""
    single = columns["position"] >= 0
    return np.flatnonzero(single if rollouts is None else single & np.isin(columns["rollout"], list(rollouts)))


def _rows(store: StoreReader, rollouts: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """`row` (index in the store), `position` and `token_id` of every token of each rollout, by position."""
    names = ("rollout", "position", "token_id")
    pieces: dict[str, list[np.ndarray]] = {name: [np.empty(0, np.int64)] for name in (*names, "row")}
    for part in range(store.n_parts):
        begin, columns = store.columns_of(part)
        kept = _kept(columns, set(rollouts))
        pieces["row"].append(begin + kept)
        for name in names:
            pieces[name].append(columns[name][kept])
    found = {name: np.concatenate(each) for name, each in pieces.items()}
    out = []
    for number in rollouts:
        own = np.flatnonzero(found["rollout"] == number)
        if not len(own):
            raise RunError(NO_TOKENS.format(store.path, number))
        order = own[np.argsort(found["position"][own], kind="stable")]
        out.append({name: values[order] for name, values in found.items()})
    return out


def _tensor(stored: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Stored bits [row, dim] as the numbers that they are."""
    return torch.from_numpy(stored.view(np.int16) if stored.dtype == np.uint16 else stored).view(dtype)


def _made(
    found: dict[str, torch.Tensor], rollouts: tuple[int, ...], positions: np.ndarray, ids: np.ndarray, model: Any
) -> LensCache:
    from transformer_lens import ActivationCache

    return LensCache(ActivationCache(found, model), rollouts, positions, ids)

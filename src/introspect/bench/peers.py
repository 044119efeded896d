"""The same work as ours in nnsight and in TransformerLens, each driven the way its own documentation says.

Both get a module tree of their own over the same weights, so number format and threads are the same. Prompts are padded
on the left in one batch, a fixed number of tokens is drawn, and the last token of every block's output is kept at every
step and saved with NumPy: the same numbers as ours, less the last token's, without fsync and without digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..backends.sharing import sharing_copy
from ..models.boundary import quiet
from .generation import generate_and_store
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting

NOTE = "same weights, dtype, prompts and number of new tokens; every block's output saved with numpy.save, no fsync"


def measure_nnsight(setting: Setting) -> Iterator[Row]:
    """`TransformersModel(...).generate` with a loop over `tracer.iter[:]` / ours."""
    with quiet():
        import nnsight
        from nnsight import TransformersModel

        model = TransformersModel(
            sharing_copy(setting.loaded.model), task="text-generation", tokenizer=setting.loaded.tokenizer
        )
    batch = padded(setting.prompts, setting.loaded.tokenizer.pad_token_id)
    n = setting.sizes.new_tokens

    layers = [model.get(_block(setting, index)) for index in setting.capture.layers]

    def generate() -> list[list[torch.Tensor]]:
        with model.generate(batch, max_new_tokens=n, min_new_tokens=n, do_sample=True, top_k=0) as tracer:
            steps = nnsight.save([])
            for _ in tracer.iter[:]:
                steps.append([layer.output[:, -1] for layer in layers])
        return steps

    def peer() -> None:
        with quiet():  # an open loop warns that it ends with the generation
            steps = generate()
        save(setting.fresh(), steps, n)

    yield _row(setting, "nnsight", peer, ">= 1.3")


def measure_transformer_lens(setting: Setting) -> Iterator[Row]:
    """`TransformerBridge.generate` under hooks / ours."""
    with quiet():
        from transformer_lens.model_bridge import TransformerBridge

        bridge = TransformerBridge.boot_transformers(
            setting.loaded.info.name,
            hf_model=sharing_copy(setting.loaded.model),
            tokenizer=setting.loaded.tokenizer,
        )
    batch = padded(setting.prompts, setting.loaded.tokenizer.pad_token_id)
    n, n_layers = setting.sizes.new_tokens, len(setting.capture.layers)

    def peer() -> None:
        seen: list[torch.Tensor] = []

        def keep(values: torch.Tensor, hook: Any) -> None:
            seen.append(values[:, -1].clone())

        with quiet(), bridge.hooks(fwd_hooks=[(f"blocks.{layer}.hook_out", keep) for layer in setting.capture.layers]):
            bridge.generate(
                batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=n,
                stop_at_eos=False,
                do_sample=True,
                verbose=False,
            )
        save(setting.fresh(), [seen[i : i + n_layers] for i in range(0, len(seen), n_layers)], n)

    yield _row(setting, "TransformerLens", peer, ">= 2")


def padded(sequences: Sequence[Sequence[int]], pad: int, *, left: bool = True) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [row, token]."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        here = slice(width - len(sequence), width) if left else slice(len(sequence))
        ids[row, here] = torch.tensor(sequence)
        mask[row, here] = 1
    return {"input_ids": ids, "attention_mask": mask}


def save(path: Path, steps: Sequence[Sequence[torch.Tensor]], expected: int) -> None:
    """Save [layer, row, step, width] as users do, bfloat16 as its bits.

    Raises:
        ValueError: there are not as many steps as expected: the sides did not do the same work.
    """
    if len(steps) != expected:
        raise ValueError(f"{len(steps)} steps were captured, expected {expected}")
    values = torch.stack([torch.stack(list(layer), dim=1) for layer in zip(*steps, strict=True)]).cpu()
    with path.open("wb") as file:
        np.save(file, (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy())


def _row(setting: Setting, name: str, peer: Any, goal: str) -> Row:
    sizes = setting.sizes
    return setting.compare(
        f"{name}: generate {sizes.prompts} rollouts of {sizes.new_tokens} tokens, every layer and token to disk / ours",
        generate_and_store(setting, 1),
        peer,
        of="peer / ours",
        goal=goal,
        note=NOTE,
    )


def _block(setting: Setting, layer: int) -> str:
    """The path of a block in nnsight's wrapping, e.g. `model.layers.3`."""
    from ..backends.sites import find_blocks

    block = find_blocks(setting.loaded.model)[layer]
    return next(name for name, module in setting.loaded.model.named_modules() if module is block)

"""The script that most people write for rollouts with activations, against introspect's default settings.

The script: transformers' `generate` in float32, 16 prompts at a time, padded on the left; then one forward pass over
prompt and completion with `output_hidden_states=True`; then `numpy.save` of all layers at the completion's tokens. It
is given what favours it: it saves no prompts, does not fsync, and has the C allocator that keeps freed memory, since it
runs in our process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models import load_model
from ..models.boundary import quiet
from .generation import generate_and_store
from .peers import padded
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting

BATCH = 16
MOST_REPEATS = 3
"""A run of the script takes about a minute."""


def measure_usual_script(setting: Setting) -> Iterator[Row]:
    """The script / ours."""
    loaded = load_model(setting.model, adapter=setting.organism, dtype="float32")
    model, pad, sizes = loaded.model, loaded.tokenizer.pad_token_id, setting.sizes
    folder = setting.fresh

    def script() -> None:
        for start in range(0, len(setting.prompts), BATCH):
            batch = padded(setting.prompts[start : start + BATCH], pad)
            batch = {name: values.to(model.device) for name, values in batch.items()}
            with quiet(), torch.no_grad():
                ids = model.generate(
                    **batch,
                    max_new_tokens=sizes.new_tokens,
                    min_new_tokens=sizes.new_tokens,
                    do_sample=True,
                    top_k=0,
                    pad_token_id=pad,
                )
                mask = torch.nn.functional.pad(batch["attention_mask"], (0, sizes.new_tokens), value=1)
                hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
            kept = torch.stack(hidden[1:])[:, :, -sizes.new_tokens - 1 :]
            with folder().open("wb") as file:
                np.save(file, kept.cpu().numpy())

    yield setting.compare(
        f"the usual script (float32, batch {BATCH}, generate, forward, save) for {sizes.prompts} rollouts of "
        f"{sizes.new_tokens} tokens / ours",
        generate_and_store(setting, 1),
        script,
        of="peer / ours",
        goal=">= 4",
        note=f"ours in {setting.loaded.info.dtype} (dtype auto), all prompts side by side as in probe-risk, all layers "
        "and tokens, fsynced; neither is warmed up",
        most_repeats=MOST_REPEATS,
        warm=False,
    )

"""Whether memory grows with the number of rollouts: the real recording, ten times as long.

The model is a small random one with the tokenizer of the benchmark's model, made for this and loaded like any other, so
that many rollouts are cheap. It is wide enough that keeping what was captured would show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import Sampling, make_backend
from ..experiment import resolve_layers
from ..features import probed_rows
from ..models import load_model, render_prompt
from ..models.boundary import quiet
from ..plan import make_parts, select_items
from ..progress import silent
from ..record import PartMaker, record, wanted_capture
from ..selection import Selection
from ..tasks.registry import find_task
from ..tasks.risk import evaluation_items
from ..tasks.task import plain
from .memory import in_child
from .rows import Row, make_row

if TYPE_CHECKING:
    from .setting import Setting

LANES, PART, N_ITEMS = 32, 64, 64
MOST_CHILDREN = 3


def measure_recording(setting: Setting) -> Iterator[Row]:
    """Peak memory with many rollouts / with a tenth of them."""
    few, many = setting.sizes.rollouts
    n_layers, width = setting.sizes.small_model
    tokens = setting.sizes.rollout_tokens
    model = setting.folder / "small_model"
    save_small_model(setting, model, setting.sizes.small_model)
    children = min(setting.repeats, MOST_CHILDREN)
    found = []
    stage = f"memory of {many} rollouts"
    setting.progress(stage, 0, children)
    for child in range(children):
        setting.clear()
        found.append(
            [
                in_child(
                    f"{__name__}:prepare_recording",
                    {"model": str(model), "out": str(setting.fresh()), "n": n, "tokens": tokens},
                )
                for n in (many, few)
            ]
        )
        setting.progress(stage, child + 1, children)
    ours, peer = ([memory.peak / 1e6 for memory in side] for side in zip(*found, strict=True))
    grown = [memory.growth / 1e6 for memory in found[-1]]
    kept = 2 * n_layers * width * tokens * (many - few) / 1e6
    yield make_row(
        f"peak memory of recording {many} rollouts / {few}",
        ours,
        peer,
        unit="MB",
        of="ours / peer",
        goal="<= 1.05",
        note=f"whole process; a random model of {n_layers} layers of width {width}, {tokens} new tokens, {LANES} side "
        f"by side, {PART} a part; beyond the loaded model it is {grown[0]:.0f} MB and {grown[1]:.0f} MB; keeping all "
        f"activations would add {kept:.0f} MB",
    )


def save_small_model(setting: Setting, folder: Path, sizes: tuple[int, int]) -> None:
    """A random Llama of so many layers and that width, with the tokenizer of the benchmark's model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    n_layers, width = sizes
    tokenizer = setting.loaded.tokenizer
    config = LlamaConfig(
        vocab_size=setting.loaded.model.get_input_embeddings().num_embeddings,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(), quiet(mute_stderr=True):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def prepare_recording(model: str, out: str, n: int, tokens: int) -> Callable[[], object]:
    """In a child: `record.record` of n rollouts, every layer and token, after a warm-up of one lane's width."""
    loaded = load_model(model)
    capture = wanted_capture(("resid_post",), resolve_layers("all", loaded.info.n_layers), Selection())
    backend = make_backend("auto", loaded.model, capture)
    items = select_items(evaluation_items(), {"id": min(N_ITEMS, n), "ood": 0})
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    parts = make_parts(
        [(item, plain(item)) for item in items], prompts, samples=-(-n // len(items)), seed=0, part_size=PART
    )
    wanted = [part for start, part in enumerate(parts) if start * PART < n]
    wanted[-1] = wanted[-1][: n - PART * (len(wanted) - 1)]

    def work(name: str, chosen: list) -> object:
        maker = PartMaker(
            chosen,
            task=find_task("risk"),
            loaded=loaded,
            backend=backend,
            sampling=Sampling(tokens, 1.0, frozenset()),
            capture=capture,
            selection=Selection(),
            always=functools.partial(probed_rows, names=()),
            lanes=LANES,
        )
        return record(Path(out) / name, maker, progress=silent)

    work("warm-up", [wanted[0][:4]])
    return functools.partial(work, "run", wanted)

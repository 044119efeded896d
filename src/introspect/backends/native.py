"""The native backend: PyTorch forward hooks on the model's own blocks.

Sampling is a plain loop over the model's cached forward pass. A hook copies the last position of every captured block
into a buffer that is laid out beforehand, so that nothing the model does later can change what was recorded. Prompts
are padded on the left, with explicit positions; rows that have finished leave the batch once they are a quarter of it.

Known trade-off: leaving the batch changes the shape of the matrix products, so in bfloat16 the last bits of a row
depend on its neighbours. Runs are repeatable because batches are; they are not independent of the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from torch import nn
from transformers import Cache, PreTrainedModel

from ..errors import ModelError, SpecError
from .protocol import Capture, Generation, Sampling, SiteLayer

SITES = ("resid_post",)
COMPACT_BELOW = 0.75
"""Finished rows are dropped when the live ones are less than this share of the batch."""


Hook = Callable[[nn.Module, tuple, torch.Tensor | tuple], None]


class _LastLayerDone(Exception):
    """Ends a replay after the last block that it needs."""


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer blocks, in order.

    Raises:
        ModelError: the model has no single list of `num_hidden_layers` blocks.
    """
    n_layers = model.config.get_text_config().num_hidden_layers
    decoder = model.get_decoder()
    found = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == n_layers]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: found {len(found)} lists of {n_layers} blocks where the native backend needs "
            "one; use a decoder-only language model"
        )
    return found[0]


def _block_output(output: torch.Tensor | tuple) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both [prompt, width]; padding (id 0, mask 0) comes first."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sample a token a row by inverting the cumulative distribution at `uniforms` [row]. Logits [row, vocabulary]."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1)
    targets = uniforms.to(logits.device, logits.dtype)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


@contextmanager
def _contiguous_head(model: PreTrainedModel) -> Iterator[None]:
    """Hand the LM head whole tensors: for a slice of last positions, PyTorch copies the head's weights once a row."""

    def whole(head: nn.Module, args: tuple) -> tuple:
        return args[0].contiguous(), *args[1:]

    handle = model.get_output_embeddings().register_forward_pre_hook(whole)
    try:
        yield
    finally:
        handle.remove()


def _select(cache: Cache, keep: torch.Tensor) -> None:
    """Keep those rows of every layer's keys and values, on whichever device the layer is."""
    for layer in cache.layers:
        layer.batch_select_indices(keep.to(layer.keys.device))


class NativeBackend:
    """Forward hooks on a transformers causal language model. Records `resid_post` at any layer."""

    name = "native"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.blocks = find_blocks(model)
        self.device = model.get_input_embeddings().weight.device

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int] = (),
    ) -> list[Generation]:
        """See `Backend.generate`."""
        pairs = self._checked(capture)
        n, steps = len(prompts), sampling.max_new_tokens
        ids, mask = left_pad(prompts, self.device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        uniforms = torch.stack(
            [torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
        )
        width = self.model.config.get_text_config().hidden_size
        recorded = torch.empty(1 + steps, len(pairs), n, width, dtype=self.model.dtype)
        watched = torch.empty(n, steps, len(watch))
        watch_ids = torch.tensor(list(watch), dtype=torch.long, device=self.device)
        completions: list[list[int]] = [[] for _ in range(n)]
        stopped = [False] * n
        rows = torch.arange(n)
        cache = None

        with torch.inference_mode(), _contiguous_head(self.model):
            for step in range(steps + 1):
                last = step == steps
                with self._recording(pairs, recorded[step], rows):
                    output = self.model(
                        input_ids=ids,
                        attention_mask=mask,
                        position_ids=positions,
                        past_key_values=cache,
                        use_cache=True,
                        logits_to_keep=1,
                    )
                if last:
                    break
                cache = output.past_key_values
                logits = output.logits[:, -1].float()
                if len(watch):
                    watched[rows, step] = torch.log_softmax(logits, dim=-1)[:, watch_ids].cpu()
                tokens = draw(logits, uniforms[rows, step], sampling.temperature)
                live = []
                for index, (row, token) in enumerate(zip(rows.tolist(), tokens.tolist(), strict=True)):
                    if stopped[row]:
                        continue
                    completions[row].append(token)
                    stopped[row] = token in sampling.stop_ids
                    if not stopped[row]:
                        live.append(index)
                if not live or (step == steps - 1 and capture is None):
                    break
                ids, positions = tokens[:, None], positions[:, -1:] + 1
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                if len(live) < COMPACT_BELOW * len(rows):
                    keep = torch.tensor(live)
                    rows = rows[keep]
                    here = keep.to(self.device)
                    ids, positions, mask = ids[here], positions[here], mask[here]
                    _select(cache, keep)

        out = []
        for row, completion in enumerate(completions):
            kept = 1 + len(completion) - stopped[row]
            activations = {pair: recorded[:kept, i, row] for i, pair in enumerate(pairs)}
            finish: Literal["stop", "length"] = "stop" if stopped[row] else "length"
            out.append(Generation(completion, finish, activations, watched[row, : len(completion)]))
        return out

    def replay(
        self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], *, capture: Capture
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """See `Backend.replay`. Runs no LM head and stops after the last layer that is needed."""
        pairs = self._checked(capture)
        width = max(len(sequence) for sequence in sequences)
        ids = torch.zeros(len(sequences), width, dtype=torch.long)
        mask = torch.zeros(len(sequences), width, dtype=torch.long)
        for i, sequence in enumerate(sequences):
            ids[i, : len(sequence)] = torch.tensor(sequence)
            mask[i, : len(sequence)] = 1
        counts = [len(wanted) for wanted in positions]
        rows = torch.repeat_interleave(torch.arange(len(sequences)), torch.tensor(counts))
        columns = torch.tensor([position for wanted in positions for position in wanted])
        taken: dict[SiteLayer, torch.Tensor] = {}
        last_layer = max(layer for _, layer in pairs)

        def take(pair: SiteLayer) -> Hook:
            def hook(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
                values = _block_output(output)
                taken[pair] = values[rows.to(values.device), columns.to(values.device)].cpu()
                if pair[1] == last_layer:
                    raise _LastLayerDone

            return hook

        hooks = {pair: take(pair) for pair in pairs}
        with torch.inference_mode(), self._hooked(hooks), suppress(_LastLayerDone):
            self.model.get_decoder()(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
            )
        split = {pair: values.split(counts) for pair, values in taken.items()}
        return [{pair: split[pair][i] for pair in pairs} for i in range(len(sequences))]

    def _checked(self, capture: Capture | None) -> list[SiteLayer]:
        if capture is None:
            return []
        for site in capture.sites:
            if site not in SITES:
                raise SpecError(f"the native backend does not record {site!r}: capture.sites takes {', '.join(SITES)}")
        for layer in capture.layers:
            if not 0 <= layer < len(self.blocks):
                raise SpecError(f"layer {layer} is outside this model: it has layers 0 to {len(self.blocks) - 1}")
        return capture.pairs()

    @contextmanager
    def _recording(self, pairs: list[SiteLayer], recorded: torch.Tensor, rows: torch.Tensor) -> Iterator[None]:
        """Copy each block's last position into `recorded` [pair, row, width] at `rows` while the context is open."""
        whole = len(rows) == recorded.shape[1]

        def copy_to(index: int) -> Hook:
            def hook(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
                last = _block_output(output)[:, -1]
                if whole:
                    recorded[index].copy_(last)
                else:
                    recorded[index, rows] = last.to(recorded.device)

            return hook

        with self._hooked({pair: copy_to(index) for index, pair in enumerate(pairs)}):
            yield

    @contextmanager
    def _hooked(self, hooks: dict[SiteLayer, Hook]) -> Iterator[None]:
        handles = [self.blocks[layer].register_forward_hook(hook) for (_, layer), hook in hooks.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

"""The native backend against plain transformers on one sequence, and against itself in other shapes."""

from __future__ import annotations

import pytest
import torch

from introspect.backends import Capture, Sampling
from introspect.backends.native import NativeBackend, draw
from introspect.errors import SpecError
from tiny_models import FAMILIES, VOCAB, tiny_model

CAPTURE = Capture(("resid_post",), (0, 1, 2))
SAMPLING = Sampling(max_new_tokens=12, temperature=1.0, stop_ids=frozenset({2, 3, 4, 5, 6, 7, 8, 9, 10, 11}))
TOLERANCE = 2e-5
"""Float32 activations of order 1 to 10: sums over 32 to 48 terms in another order move the last one or two digits."""


def prompts(n: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 20, (n,), generator=generator).tolist()
    return [torch.randint(12, VOCAB, (length,), generator=generator).tolist() for length in lengths]


def reference(model, ids: list[int]) -> list[torch.Tensor]:
    """Block outputs [token, width] of one unpadded sequence, read from the block's *next* consumer's input."""
    seen: dict[int, torch.Tensor] = {}
    decoder = model.get_decoder()
    blocks = next(c for c in decoder.children() if isinstance(c, torch.nn.ModuleList) and len(c) == 3)
    final_norm = decoder.ln_f if hasattr(decoder, "ln_f") else decoder.norm
    consumers = [*list(blocks)[1:], final_norm]
    handles = [
        module.register_forward_pre_hook(
            lambda m, args, kwargs, i=i: seen.__setitem__(i, (args[0] if args else kwargs["hidden_states"])[0].clone()),
            with_kwargs=True,
        )
        for i, module in enumerate(consumers)
    ]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return [seen[i] for i in range(3)]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_captured_in_flight_is_what_one_plain_forward_gives(family):
    model = tiny_model(family)
    batch = prompts(6)
    made = NativeBackend(model).generate(batch, seeds=range(6), sampling=SAMPLING, capture=CAPTURE)
    assert len({len(g.completion_ids) for g in made}) > 1, "the case must have rows that finish at different steps"
    for prompt, generation in zip(batch, made, strict=True):
        whole = reference(model, prompt + generation.completion_ids)
        kept = len(generation.completion_ids) - (generation.finish == "stop")
        for layer in range(3):
            got = generation.activations["resid_post", layer]
            assert got.shape == (1 + kept, 32)
            expected = whole[layer][len(prompt) - 1 : len(prompt) + kept]
            assert torch.allclose(got, expected, atol=TOLERANCE, rtol=TOLERANCE), (family, layer)


@pytest.mark.parametrize("family", FAMILIES)
def test_replay_gives_the_asked_positions_and_only_those(family):
    model = tiny_model(family)
    sequences = prompts(5, seed=1)
    positions = [[0, len(s) - 1] if i % 2 else [len(s) // 2] for i, s in enumerate(sequences)]
    replayed = NativeBackend(model).replay(sequences, positions, capture=CAPTURE)
    for sequence, wanted, got in zip(sequences, positions, replayed, strict=True):
        whole = reference(model, sequence)
        for layer in range(3):
            assert torch.allclose(got["resid_post", layer], whole[layer][wanted], atol=TOLERANCE, rtol=TOLERANCE)


def test_a_later_token_changes_no_earlier_activation():
    backend = NativeBackend(tiny_model("llama"))
    sequence = prompts(1)[0]
    other = [*sequence[:-1], (sequence[-1] + 1) % VOCAB]
    positions = [list(range(len(sequence) - 1))]
    before, after = (backend.replay([s], positions, capture=CAPTURE)[0] for s in (sequence, other))
    for pair in CAPTURE.pairs():
        assert torch.equal(before[pair], after[pair])


def test_the_same_seeds_give_the_same_tokens_in_any_batch():
    backend = NativeBackend(tiny_model("llama"))
    batch = prompts(6)
    together = backend.generate(batch, seeds=range(6), sampling=SAMPLING, capture=None)
    alone = [backend.generate([p], seeds=[i], sampling=SAMPLING, capture=CAPTURE)[0] for i, p in enumerate(batch)]
    assert [g.completion_ids for g in together] == [g.completion_ids for g in alone]
    assert together[0].activations == {}


def test_watched_log_probabilities_are_those_the_token_was_drawn_from():
    model = tiny_model("llama")
    prompt = prompts(1)[0]
    made = NativeBackend(model).generate([prompt], seeds=[0], sampling=SAMPLING, capture=None, watch=[5, 40])[0]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + made.completion_ids])).logits[0].log_softmax(-1)
    expected = logits[len(prompt) - 1 : len(prompt) - 1 + len(made.completion_ids)][:, [5, 40]]
    assert torch.allclose(made.watched, expected, atol=1e-4)


def test_drawing_follows_the_distribution():
    logits = torch.tensor([[0.0, 1.0, -1.0]]).repeat(20_000, 1)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = torch.bincount(draw(logits, uniforms, 1.0), minlength=3) / 20_000
    assert torch.allclose(counts, logits[0].softmax(-1), atol=0.015)
    assert draw(logits[:1], uniforms[:1], 0.0).tolist() == [1]


def test_hooks_are_gone_after_a_failure():
    model = tiny_model("llama")
    backend = NativeBackend(model)
    with pytest.raises(IndexError):
        backend.replay([[20, 21]], [[7]], capture=CAPTURE)
    assert all(not block._forward_hooks for block in backend.blocks)


@pytest.mark.parametrize(
    ("capture", "said"), [(Capture(("mlp_out",), (0,)), "mlp_out"), (Capture(("resid_post",), (3,)), "layers 0 to 2")]
)
def test_what_it_does_not_record_is_refused_by_name(capture, said):
    with pytest.raises(SpecError, match=said):
        NativeBackend(tiny_model("llama")).replay([[20]], [[0]], capture=capture)

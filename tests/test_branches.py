"""Branches of one beginning on every engine and family, a vector for every row, and prompts that share a prefill."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from introspect.backends import BACKENDS, Capture, Sampling, Steer, Steering, make_backend
from introspect.errors import SpecError
from test_engines import LONG, N_LAYERS
from tiny_models import FAMILIES, tiny_model

TOLERANCE = 2e-5
VECTORS = torch.randn(4, 32, generator=torch.Generator().manual_seed(3))
BEGINNING, REST = LONG[0][:23], LONG[0][23:]
"""Over Gemma's sliding window of 16."""


def logits_of(backend, beginning, rows, **options):
    out = [None] * len(rows)
    for here, logits in backend.branches(beginning, rows, **options):
        for row, own in zip(here, logits, strict=True):
            out[row] = own
    return out


def steered_logits(backend, sequence, steer):
    """Of one sequence, without a cache."""
    ids = torch.tensor([sequence])
    positions = torch.arange(len(sequence))[None]
    steering = Steering(steer)
    steering.see(0, sequence)
    writes = steering.writes([0], positions)
    return backend.engine.forward({"input_ids": ids}, reads={}, writes=writes, logits_at=positions)[0]


PLACES = [(family, "resid_post", 1) for family in FAMILIES]
PLACES += [("llama", "mlp_out", 0), ("llama", "attn_out", N_LAYERS - 1)]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("family", "site", "layer"), PLACES)
def test_each_row_is_what_the_whole_sequence_is_under_its_own_steering(name, family, site, layer):
    backend = make_backend(name, tiny_model(family))
    if layer not in backend.engine.supports().write[site]:
        pytest.skip(f"{name} only reads {site} of this family, and `supports` says so: there is nothing to steer")
    ranges = tuple(range(25 + i, 38) for i in range(4))
    steer = [Steer(site, layer, VECTORS, (0.0, 1.0, -2.0, 1.0), ranges)]
    found = logits_of(backend, BEGINNING, [REST] * 4, steer=steer)
    for i in range(4):
        own = [Steer(site, layer, VECTORS[i], steer[0].strength[i], (ranges[i],))]
        wanted = steered_logits(backend, [*BEGINNING, *REST], own)[len(BEGINNING) :]
        torch.testing.assert_close(found[i], wanted, rtol=0, atol=TOLERANCE)
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    few = logits_of(backend, BEGINNING, [REST] * 4, at=[0, 9], steer=steer)
    for some, all_ in zip(few, found, strict=True):
        torch.testing.assert_close(some, all_[[0, 9]], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_of_their_own_words_and_lengths(name):
    backend = make_backend(name, tiny_model("llama"))
    rows = [[5, 17, 80], [60], [7, 7, 12, 90, 55]]
    found = logits_of(backend, BEGINNING, rows)
    for row, own in zip(rows, found, strict=True):
        wanted = steered_logits(backend, [*BEGINNING, *row], [])[len(BEGINNING) :]
        torch.testing.assert_close(own[: len(row)], wanted, rtol=0, atol=TOLERANCE)


def test_blocks_below_are_run_once_and_are_the_model_s_own_afterwards(monkeypatch):
    backend = make_backend("native", tiny_model("llama"))
    model, counts = backend.engine.model, [0] * N_LAYERS
    for layer, block in enumerate(model.model.layers):
        block.self_attn.register_forward_hook(lambda *_, layer=layer: counts.__setitem__(layer, counts[layer] + 1))
    steer = [Steer("resid_post", 1, VECTORS, 1.0, (range(30, 99),) * 4)]
    before = steered_logits(backend, LONG[1], [])
    logits_of(backend, BEGINNING, [REST] * 4, steer=steer)  # what is found out once
    counts[:] = [0] * N_LAYERS
    monkeypatch.setattr("introspect.backends.backend.BRANCH_TOKENS", 2 * len(LONG[0]))
    logits_of(backend, BEGINNING, [REST] * 4, steer=steer)
    assert counts == [2, 2, 4]  # the beginning and the shared row; and two passes of two rows
    assert torch.equal(steered_logits(backend, LONG[1], []), before)


def test_a_beginning_that_is_steered_is_no_beginning():
    backend = make_backend("native", tiny_model("llama"))
    with pytest.raises(ValueError, match="row 0 is steered before it branches off"):
        list(backend.branches(BEGINNING, [REST], steer=[Steer("resid_post", 1, VECTORS[0], 1.0)]))
    with pytest.raises(SpecError, match="at least one token"):
        list(backend.branches(BEGINNING, [[]]))


# A vector for every sequence


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("operator", ["add", "project", "clamp"])
def test_every_sequence_has_a_vector_of_its_own(name, operator):
    backend = make_backend(name, tiny_model("llama"))
    prompts = [[5, 17, 80, 3], [60, 2], [5, 17, 80, 3], [9, 9, 9]]
    here = Capture(("resid_post",), (1, 2))
    steer = Steer("resid_post", 1, VECTORS, (1.0, 0.5, 1.0, 0.0), None, operator, 2.0)
    positions = [range(len(prompt)) for prompt in prompts]
    together = backend.replay(prompts, positions, capture=here, steer=[steer])
    sampling = Sampling(6, 1.0, frozenset())
    made = backend.generate(prompts, seeds=range(4), sampling=sampling, capture=None, steer=[steer], lanes=3)
    for i, prompt in enumerate(prompts):
        own = [replace(steer, vector=VECTORS[i], strength=steer.strength[i])]
        (alone,) = backend.replay([prompt], [positions[i]], capture=here, steer=own)
        for pair in here.pairs():
            torch.testing.assert_close(together[i][pair], alone[pair], rtol=0, atol=TOLERANCE)
        single = backend.generate([prompt], seeds=[i], sampling=sampling, capture=None, steer=own)
        assert made[i].completion_ids == single[0].completion_ids


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (VECTORS[:3], "vectors for 3 sequences, and there are 4"),
        (VECTORS[:, :31], "and the model"),
        (VECTORS * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None], "no direction to project"),
        (VECTORS * torch.tensor([1.0, float("nan"), 1.0, 1.0])[:, None], "NaN"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(vectors, said):
    backend = make_backend("native", tiny_model("llama"))
    steer = [Steer("resid_post", 1, vectors, 1.0, None, "project")]
    with pytest.raises(SpecError, match=said):
        backend.replay([[1, 2]] * 4, [[0]] * 4, capture=Capture(("resid_post",), (1,)), steer=steer)


def test_one_prompt_under_several_vectors_is_prefilled_apart_where_they_differ_within_it():
    backend = make_backend("native", tiny_model("llama"))
    steer = [Steer("resid_post", 1, VECTORS, 1.0, None)]
    sampling = Sampling(4, 1.0, frozenset())
    made = backend.generate([BEGINNING] * 4, seeds=[1] * 4, sampling=sampling, capture=None, watch=[3], steer=steer)
    assert len({float(each.watched[0]) for each in made}) == 4

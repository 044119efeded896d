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


def test_branches_go_on_with_half_as_many_rows_when_memory_runs_out(monkeypatch):
    backend = make_backend("native", tiny_model("llama"))
    steer = [Steer("resid_post", 1, VECTORS, 1.0, (range(30, 99),) * 4)]
    wanted = logits_of(backend, BEGINNING, [REST] * 4, steer=steer)
    forward, passes = backend.engine.forward, []

    def small(inputs, **options):
        passes.append(len(inputs["input_ids"]))
        if passes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(inputs, **options)

    monkeypatch.setattr(backend.engine, "forward", small)
    found = logits_of(backend, BEGINNING, [REST] * 4, steer=steer)
    assert passes == [1, 1, 4, 2, 1, 1, 1, 1]  # the beginning, the shared row, and rows once each
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=TOLERANCE)

    def never(inputs, **options):
        if len(passes) > 8:
            raise MemoryError
        return small(inputs, **options)

    passes[:] = []
    monkeypatch.setattr(backend.engine, "forward", never)
    with pytest.raises(MemoryError):
        logits_of(backend, BEGINNING, [REST] * 4 + [[7]] * 20, steer=[])


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_last_token_s_scores_are_those_of_a_head_in_float32(family):
    model = tiny_model(family).to(torch.bfloat16)
    backend = make_backend("native", model)
    seen = []
    with model.get_output_embeddings().register_forward_hook(lambda _, args, output: seen.append(args[0])):
        (found,) = logits_of(backend, BEGINNING, [REST], at=[0, 9], wide=True)
    (narrow,) = logits_of(backend, BEGINNING, [REST], at=[0, 9])
    head = model.get_output_embeddings()
    wanted = seen[-1][0, -1].float() @ head.weight.float().T
    assert backend.wide_head and found.dtype == torch.float32 and narrow.dtype == torch.bfloat16
    torch.testing.assert_close(found[-1], wanted, rtol=0, atol=1e-5)
    assert not torch.equal(found[-1], found[-1].bfloat16().float())
    assert torch.equal(found[0], narrow[0].float())
    (after,) = logits_of(backend, BEGINNING, [REST], at=[0, 9])
    assert torch.equal(after, narrow)


def test_an_engine_that_has_no_float32_head_says_so():
    narrow, wide = tiny_model("llama").to(torch.bfloat16), tiny_model("llama")
    for name in BACKENDS:
        assert make_backend(name, wide).wide_head
        backend = make_backend(name, narrow)
        assert backend.wide_head == (name == "native")
    (found,) = logits_of(make_backend("nnsight", narrow), BEGINNING, [REST], at=[9], wide=True)
    assert torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("name", BACKENDS)
def test_as_much_as_is_projected_out_is_moved_along_another_vector(name):
    backend = make_backend(name, tiny_model("llama"))
    here, one, other = Capture(("resid_post",), (1,)), VECTORS[0], VECTORS[1]
    pair, positions = ("resid_post", 1), [range(len(LONG[0]))]

    def values(*steer):
        return backend.replay([LONG[0]], positions, capture=here, steer=steer)[0][pair]

    plain, ranges = values(), (range(5, 20),)
    moved = values(Steer(*pair, other[None], 1.0, ranges, "project", along=one))
    component = plain @ (one / one.norm())
    wanted = plain - component[:, None] * (other / other.norm())
    torch.testing.assert_close(moved[5:20], wanted[5:20], rtol=0, atol=TOLERANCE)
    assert torch.equal(moved[:5], plain[:5]) and torch.equal(moved[20:], plain[20:])
    torch.testing.assert_close((moved - plain).norm(dim=-1)[5:20], component.abs()[5:20], rtol=1e-4, atol=TOLERANCE)
    own = values(Steer(*pair, one, 1.0, ranges, "project", along=one))
    torch.testing.assert_close(own, values(Steer(*pair, one, 1.0, ranges, "project")), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("along", "operator", "said"),
    [
        (VECTORS[0], "add", "of `project`"),
        (VECTORS[0, :31], "project", "of `project`"),
        (VECTORS[0] * 0, "project", "no direction to measure along"),
        (VECTORS[0] * float("nan"), "project", "no direction to measure along"),
    ],
)
def test_a_vector_to_measure_along_that_does_not_fit_is_refused(along, operator, said):
    backend = make_backend("native", tiny_model("llama"))
    with pytest.raises(SpecError, match=said):
        backend.check_steer([Steer("resid_post", 1, VECTORS[0], 1.0, None, operator, along=along)])


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

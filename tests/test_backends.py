"""Sampling with capture, and replay, through every engine: against plain transformers on one sequence at a time."""

from __future__ import annotations

import gc
import logging
import weakref
from types import SimpleNamespace

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from introspect.backends import BACKENDS, SITES, Capture, Sampling, Steer, make_backend, name_sites
from introspect.backends.inflight import InFlight, draw
from introspect.backends.lanes import Lanes
from introspect.backends.native import NativeEngine
from introspect.backends.replay import packed
from introspect.errors import ModelError, SpecError
from introspect.models import load_model
from introspect.selection import Selection, select
from tiny_models import FAMILIES, VOCAB, tiny_model

LAYERS = (0, 1, 2)
CAPTURE = Capture(("resid_post",), LAYERS)
EVERY_SITE = Capture(SITES, LAYERS)
STOPS = frozenset(range(2, 12))
SAMPLING = Sampling(max_new_tokens=12, temperature=1.0, stop_ids=STOPS)
TOLERANCE = 2e-5
"""Float32 activations of order 1 to 10: sums over 32 to 48 terms in another order move the last one or two digits."""
TOLERANCE_FLOAT64 = 1e-10
"""A bug is off by 1e-3 and more whatever the format; rounding is not, here."""
TOLERANCE_SMOLLM2 = 1e-4
"""Relative to the norm of a token's residual stream: thirty blocks of float32, measured at 4e-6."""


def prompts(n: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 20, (n,), generator=generator).tolist()
    return [torch.randint(12, VOCAB, (length,), generator=generator).tolist() for length in lengths]


def reference(model, ids: list[int]) -> dict[tuple[str, int], torch.Tensor]:
    """Every site [token, width] of one unpadded sequence, from what the next modules of the stream are given."""
    decoder = model.get_decoder()
    blocks = next(c for c in decoder.children() if isinstance(c, torch.nn.ModuleList))
    middle = next(
        name for name in ("pre_feedforward_layernorm", "ln_2", "post_attention_layernorm") if hasattr(blocks[0], name)
    )
    readers = {("pre", i): block for i, block in enumerate(blocks)}
    readers |= {("mid", i): getattr(block, middle) for i, block in enumerate(blocks)}
    readers["pre", len(blocks)] = decoder.ln_f if hasattr(decoder, "ln_f") else decoder.norm
    seen: dict[object, torch.Tensor] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda m, args, kwargs, k=key: seen.__setitem__(
                k, (args[0] if args else kwargs["hidden_states"])[0].clone()
            ),
            with_kwargs=True,
        )
        for key, module in readers.items()
    ]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    found = {}
    for i in range(len(blocks)):
        before, mid, after = seen["pre", i], seen["mid", i], seen["pre", i + 1]
        found |= {("resid_post", i): after, ("resid_mid", i): mid, ("attn_out", i): mid - before}
        found["mlp_out", i] = after - mid
    return found


def agree(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    return got.shape == expected.shape and torch.allclose(got, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lanes", [None, 1, 4])
@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_captured_in_flight_is_what_one_plain_forward_gives(family, engine, lanes):
    model = tiny_model(family)
    batch = prompts(9)
    capture = Capture(SITES, LAYERS, prompt=lanes == 4)
    made = make_backend(engine, model).generate(batch, seeds=range(9), sampling=SAMPLING, capture=capture, lanes=lanes)
    assert len({len(g.completion_ids) for g in made}) > 2, "the case must have rows that finish at different steps"
    for prompt, generation in zip(batch, made, strict=True):
        whole = reference(model, prompt + generation.completion_ids)
        kept = len(generation.completion_ids) - (generation.finish == "stop")
        first = 0 if capture.prompt else len(prompt) - 1
        for pair in capture.pairs():
            expected = whole[pair][first : len(prompt) + kept]
            assert agree(generation.activations[pair], expected, TOLERANCE), pair


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_replay_gives_the_asked_positions_and_only_those(family, engine):
    model = tiny_model(family)
    sequences = prompts(5, seed=1)
    positions = [[0, len(s) - 1] if i % 2 else [len(s) // 2] for i, s in enumerate(sequences)]
    replayed = make_backend(engine, model).replay(sequences, positions, capture=EVERY_SITE)
    for sequence, wanted, got in zip(sequences, positions, replayed, strict=True):
        whole = reference(model, sequence)
        for pair in EVERY_SITE.pairs():
            assert agree(got[pair], whole[pair][wanted], TOLERANCE), pair


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float64_in_flight_and_replay_agree_to_ten_digits(family):
    model = tiny_model(family).double()
    if family == "moe":
        model.set_experts_implementation("eager")  # PyTorch's grouped product has no float64
    backend, batch = make_backend("native", model), prompts(5)
    made = backend.generate(batch, seeds=range(5), sampling=SAMPLING, capture=EVERY_SITE)
    kept = [p + g.completion_ids[: len(g.activations["resid_post", 0]) - 1] for p, g in zip(batch, made, strict=True)]
    replayed = backend.replay(
        kept, [range(len(p) - 1, len(k)) for p, k in zip(batch, kept, strict=True)], capture=EVERY_SITE
    )
    for generation, again, sequence, prompt in zip(made, replayed, kept, batch, strict=True):
        whole = reference(model, sequence)
        for pair in EVERY_SITE.pairs():
            assert agree(generation.activations[pair], again[pair], TOLERANCE_FLOAT64), pair
            assert agree(again[pair], whole[pair][len(prompt) - 1 :], TOLERANCE_FLOAT64), pair


@pytest.mark.slow
def test_on_the_embedded_model_every_engine_gives_every_site_of_every_layer():
    model = load_model("smollm2-135m", dtype="float32").model
    sequences = [[7, 300, 4000, 12, 9, 700, 33], [900, 1, 77]]
    capture = Capture(SITES, tuple(range(30)))
    expected = [reference(model, sequence) for sequence in sequences]
    for engine in BACKENDS:
        backend = make_backend(engine, model)
        replayed = backend.replay(sequences, [range(len(s)) for s in sequences], capture=capture)
        sampling = Sampling(3, 1.0, frozenset())
        made = backend.generate(sequences, seeds=[1, 2], sampling=sampling, capture=capture)
        for sequence, again, generation, whole in zip(sequences, replayed, made, expected, strict=True):
            near(again, whole, 0)
            near(generation.activations, reference(model, sequence + generation.completion_ids), len(sequence) - 1)


def near(got: dict, whole: dict, first: int) -> None:
    """Against the reference, whose differences of large streams are as exact as the streams are."""
    for (site, layer), values in got.items():
        expected, stream = (whole[name, layer][first:] for name in (site, "resid_post"))
        assert values.shape == expected.shape
        assert float(((values - expected).norm(dim=-1) / stream.norm(dim=-1)).max()) < TOLERANCE_SMOLLM2, (site, layer)


def test_a_later_token_changes_no_earlier_activation():
    backend = make_backend("native", tiny_model("llama"))
    sequence = prompts(1)[0]
    other = [*sequence[:-1], (sequence[-1] + 1) % VOCAB]
    positions = [list(range(len(sequence) - 1))]
    before, after = (backend.replay([s], positions, capture=CAPTURE)[0] for s in (sequence, other))
    for pair in CAPTURE.pairs():
        assert torch.equal(before[pair], after[pair])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 8, 11])
def test_the_same_seeds_give_the_same_text_in_any_number_of_lanes_and_any_company(family, lanes):
    backend = make_backend("native", tiny_model(family))
    batch = prompts(11)
    together = backend.generate(batch, seeds=range(11), sampling=SAMPLING, capture=None)
    laned = backend.generate(batch, seeds=range(11), sampling=SAMPLING, capture=None, lanes=lanes)
    backwards = backend.generate(batch[::-1], seeds=range(10, -1, -1), sampling=SAMPLING, capture=CAPTURE, lanes=lanes)
    texts = [g.completion_ids for g in together]
    assert texts == [g.completion_ids for g in laned] == [g.completion_ids for g in backwards[::-1]]
    assert together[0].activations == {}


def tried(family: str):
    """A backend that knows already that it can generate."""
    backend = make_backend("native", tiny_model(family))
    assert backend.why_not_in_flight is None
    return backend


def counted(monkeypatch) -> list[tuple[int, int]]:
    """Shape of the token ids of every forward pass from here on."""
    shapes = []
    original = NativeEngine.forward

    def forward(engine, inputs, **rest):
        shapes.append(tuple(inputs["input_ids"].shape))
        return original(engine, inputs, **rest)

    monkeypatch.setattr(NativeEngine, "forward", forward)
    return shapes


def test_samples_of_one_prompt_share_its_prefill(monkeypatch):
    backend = tried("llama")
    shapes = counted(monkeypatch)
    prompt = prompts(1)[0]
    made = backend.generate([prompt] * 6, seeds=range(6), sampling=SAMPLING, capture=CAPTURE)
    prefills = [shape for shape in shapes if shape[1] > 1]
    assert prefills == [(1, 32)]
    assert len({tuple(g.completion_ids) for g in made}) > 1
    alone = backend.generate([prompt], seeds=[3], sampling=SAMPLING, capture=CAPTURE)[0]
    assert made[3].completion_ids == alone.completion_ids


def test_finished_rows_stop_costing_and_waiting_ones_take_their_places(monkeypatch):
    backend = tried("llama")
    shapes = counted(monkeypatch)
    batch = prompts(40)
    made = backend.generate(batch, seeds=range(40), sampling=SAMPLING, capture=None, lanes=8)
    steps = [shape[0] for shape in shapes if shape[1] == 1]
    tokens = sum(len(g.completion_ids) for g in made)
    assert max(steps) == 8
    assert min(steps) < 8, "the lanes are compacted when none waits"
    waves = 5 * SAMPLING.max_new_tokens * 8
    assert sum(steps) < min(waves, 1.5 * tokens), "as many lane-steps as tokens, but for a few"


def test_a_cache_is_freed_with_the_call_that_filled_it(monkeypatch):
    made = []

    def remembered(n_lanes):
        cache = Lanes(n_lanes)
        made.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr("introspect.backends.inflight.Lanes", remembered)
    backend = make_backend("native", tiny_model("llama"))
    gc.disable()
    try:
        backend.generate(prompts(4), seeds=range(4), sampling=SAMPLING, capture=CAPTURE)
        assert [each() for each in made] == [None, None], "one was of the trial"
    finally:
        gc.enable()


def test_watched_log_probabilities_are_those_the_token_was_drawn_from():
    model = tiny_model("llama")
    prompt = prompts(1)[0]
    backend = make_backend("native", model)
    made = backend.generate([prompt], seeds=[0], sampling=SAMPLING, capture=None, watch=[5, 40])[0]
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


@pytest.mark.parametrize("engine", BACKENDS)
def test_steering_by_range_in_flight_is_a_steered_replay(engine):
    model = tiny_model("gemma3")
    backend, batch = make_backend(engine, model), [*prompts(3), prompts(3)[0]]
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    ranges = tuple(range(2 + i, 9) for i in range(4))
    steer = [Steer("resid_post", 1, vector, 2.0, ranges), Steer("mlp_out", 0, vector, -1.0)]
    made = backend.generate(batch, seeds=range(4), sampling=SAMPLING, capture=CAPTURE, steer=steer, lanes=3)
    kept = [p + g.completion_ids[: len(g.activations["resid_post", 0]) - 1] for p, g in zip(batch, made, strict=True)]
    positions = [range(len(p) - 1, len(k)) for p, k in zip(batch, kept, strict=True)]
    steered = backend.replay(kept, positions, capture=CAPTURE, steer=steer)
    plain = backend.replay(kept, positions, capture=CAPTURE)
    for generation, again, without in zip(made, steered, plain, strict=True):
        assert agree(generation.activations["resid_post", 2], again["resid_post", 2], TOLERANCE)
        assert not torch.allclose(again["resid_post", 0], without["resid_post", 0], atol=0.1)


@pytest.mark.parametrize("tokens", ["every:3", "first", "last"])
def test_one_selection_says_what_is_recorded_and_what_is_steered(tokens):
    backend, sequence = make_backend("native", tiny_model("llama")), prompts(1)[0]
    spans = SimpleNamespace(prompt=(0, 2), think=(2, len(sequence)), answer=(len(sequence), len(sequence)))
    rollout = SimpleNamespace(spans=spans, prompt_ids=sequence[:2], answer_position=None)
    chosen = select(Selection(("think",), tokens), rollout, len(sequence))["think"]
    steer = [Steer("resid_post", 0, torch.ones(32), 3.0, (chosen,))]
    here = Capture(("resid_post",), (0,))
    plain, steered = (backend.replay([sequence], [range(len(sequence))], capture=here, steer=s) for s in ((), steer))
    moved = (plain[0]["resid_post", 0] != steered[0]["resid_post", 0]).any(dim=1).nonzero()[:, 0].tolist()
    assert moved == list(chosen)


def test_hooks_are_gone_after_a_failure():
    model = tiny_model("llama")
    backend = make_backend("native", model)

    def fail(values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.engine.forward(
            {"input_ids": torch.tensor([[20, 21]])}, reads={("resid_post", 1): fail}, writes={}, logits_at=None
        )
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    "ran_out", [torch.OutOfMemoryError("no"), RuntimeError("can't allocate memory"), MemoryError()]
)
def test_out_of_memory_halves_what_runs_together_says_so_and_goes_on(monkeypatch, caplog, ran_out):
    backend = make_backend("native", tiny_model("llama"))
    expected = backend.generate(prompts(8), seeds=range(8), sampling=SAMPLING, capture=None)
    run = InFlight.run
    tried = []

    def small(self):
        tried.append(self.most)
        if self.most > 2:
            raise ran_out
        return run(self)

    monkeypatch.setattr(InFlight, "run", small)
    with caplog.at_level(logging.WARNING):
        made = backend.generate(prompts(8), seeds=range(8), sampling=SAMPLING, capture=None)
        again = backend.generate(prompts(8), seeds=range(8), sampling=SAMPLING, capture=None)
    assert tried == [8, 4, 2] * 2, "no call depends on those before it"
    assert [g.completion_ids for g in made] == [g.completion_ids for g in again] == [g.completion_ids for g in expected]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 8 sequences side by side; going on with 4",
        "out of memory with 4 sequences side by side; going on with 2",
    ] * 2


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(self):
        raise RuntimeError("shapes differ")

    backend = tried("llama")
    monkeypatch.setattr(InFlight, "run", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        backend.generate([[20]], seeds=[0], sampling=SAMPLING, capture=None)


def test_packs_hold_like_lengths_up_to_the_budget():
    packs = list(packed([3, 100, 50, 49, 7], 100))
    assert packs == [[1], [2, 3], [4, 0]]


class Refusals:
    llama = staticmethod(lambda: tiny_model("llama"))

    @staticmethod
    def parallel():
        config = GPTNeoXConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            use_parallel_residual=True,
        )
        return GPTNeoXForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("model", "capture", "said"),
    [
        (
            Refusals.parallel,
            Capture(("mlp_out",), (0,)),
            "native backend does not record mlp_out at layer 0 of GPTNeoX",
        ),
        (Refusals.llama, Capture(("mlp_outt",), (0,)), "did you mean mlp_out"),
        (Refusals.llama, Capture(("resid_post",), (3,)), "layers 0 to 2"),
    ],
)
def test_what_it_does_not_record_is_refused_by_name(model, capture, said):
    with pytest.raises(SpecError, match=said):
        make_backend("native", model()).replay([[20]], [[0]], capture=capture)


def test_steering_a_site_that_can_only_be_read_is_refused_with_the_way_out():
    steer = [Steer("resid_mid", 0, torch.ones(32), 1.0)]
    with pytest.raises(SpecError, match="steer attn_out"):
        make_backend("native", tiny_model("llama")).replay([[20]], [[0]], capture=CAPTURE, steer=steer)


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ([20, VOCAB], "token id 97, and the model has 97 tokens"),
        ([-1], "token id -1"),
        ([], "empty"),
        ([20] * 505, "512"),
    ],
)
def test_sequences_that_the_model_cannot_read_are_refused(sequence, said):
    backend = make_backend("native", tiny_model("llama"))
    with pytest.raises(SpecError, match=said):
        backend.generate([[20], sequence], seeds=[0, 1], sampling=SAMPLING, capture=None)


def test_layers_that_keep_no_keys_and_values_are_refused():
    model = tiny_model("llama")
    model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    with pytest.raises(SpecError, match="does not generate with LlamaForCausalLM: layers of kind linear_attention"):
        make_backend("native", model).generate([[20]], seeds=[0], sampling=SAMPLING, capture=None)


def test_weights_in_few_bits_are_refused_by_the_engine_that_rearranges_them(monkeypatch):
    model = tiny_model("llama")
    model.hf_quantizer = object()
    with pytest.raises(SpecError, match="transformer-lens backend does not take quantised LlamaForCausalLM"):
        make_backend("transformer-lens", model)
    assert make_backend("native", model).name == "native"
    assert "refused" in name_sites(model)["transformer-lens"]["quantised"]


class Counter(torch.nn.Module):
    """Stands in for an attention that reads the length of the cache as the position."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        out, *rest = self.inner(*args, **kwargs)
        cache = kwargs.get("past_key_values")
        return (out + 0.01 * (cache.get_seq_length() if cache is not None else out.shape[1]), *rest)


def test_a_model_that_cannot_be_cached_in_lanes_is_refused_and_still_replayed():
    model = tiny_model("llama")
    model.model.layers[1].self_attn = Counter(model.model.layers[1].self_attn)
    backend = make_backend("native", model)
    with pytest.raises(SpecError, match="cached step differ from those of a plain forward pass"):
        backend.generate([[20]], seeds=[0], sampling=SAMPLING, capture=None)
    assert backend.replay([[20, 21]], [[1]], capture=CAPTURE)


def test_overflow_in_one_sequence_stays_there_and_is_said(monkeypatch):
    model = tiny_model("llama")
    backend = make_backend("native", model)
    batch, bad = prompts(2), [7] * 5
    expected = backend.generate(batch, seeds=[0, 1], sampling=SAMPLING, capture=None, lanes=1)
    with torch.no_grad():
        model.get_input_embeddings().weight[7] = float("nan")
    with pytest.raises(ModelError, match="logits that are not numbers"):
        backend.generate([bad], seeds=[0], sampling=SAMPLING, capture=None)
    monkeypatch.setattr("torch.isfinite", lambda values: torch.ones_like(values, dtype=torch.bool))
    made = backend.generate([bad, *batch], seeds=[5, 0, 1], sampling=SAMPLING, capture=None, lanes=1)
    assert [g.completion_ids for g in made[1:]] == [g.completion_ids for g in expected]


def test_no_uniform_draws_a_token_beyond_all_probability():
    logits = torch.full((1, 1000), -100.0)
    logits[0, 3] = 5.0
    assert draw(logits, torch.tensor([1 - 2.0**-53], dtype=torch.float64), 1.0).tolist() == [3]


@pytest.mark.parametrize("position", [-1, 3])
def test_a_position_that_a_sequence_lacks_is_refused_rather_than_read_from_padding(position):
    backend = make_backend("native", tiny_model("llama"))
    with pytest.raises(SpecError, match=f"sequence 1 has positions 0 to 2, not {position}"):
        backend.replay([[20] * 9, [20, 21, 22]], [[0], [position]], capture=CAPTURE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [0, 1]}, "as many seeds"),
        ({"sampling": Sampling(0, 1.0, STOPS)}, "at least one new token"),
        ({"steer": [Steer("resid_post", 0, torch.ones(1), 1.0)]}, r"shape \(1,\), and the model \(32,\)"),
        ({"steer": [Steer("resid_post", 0, torch.ones(32), 1.0, ())]}, "ranges for 0 sequences, and there are 1"),
    ],
)
def test_arguments_that_do_not_fit_each_other_are_refused(change, said):
    given = {"seeds": [0], "sampling": SAMPLING, "capture": None} | change
    with pytest.raises(SpecError, match=said):
        make_backend("native", tiny_model("llama")).generate([[20]], **given)


def test_blocks_that_give_more_than_a_hidden_state_a_token_have_no_sites():
    model = tiny_model("llama")
    model.model.layers[2].register_forward_hook(lambda module, args, output: output[None].expand(2, -1, -1, -1))
    model.model.norm = torch.nn.Identity()
    with pytest.raises(SpecError, match="resid_post at layer 2"):
        make_backend("native", model).replay([[20]], [[0]], capture=CAPTURE)


def test_auto_is_the_fastest_that_records_what_is_asked_for(monkeypatch):
    model = tiny_model("llama")
    assert make_backend("auto", model, EVERY_SITE).name == "native"
    monkeypatch.setattr(NativeEngine, "__init__", lambda self, model: (_ for _ in ()).throw(ModelError("no blocks")))
    with pytest.raises(ModelError, match="no blocks"):
        make_backend("auto", model, EVERY_SITE)


def test_an_unknown_backend_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match="did you mean transformer-lens"):
        make_backend("transformerlens", tiny_model("llama"))


def test_sites_have_a_name_in_every_backend():
    names = name_sites(tiny_model("gemma3"))
    assert names["native"]["attn_out"] == "model.layers.{i}.post_attention_layernorm (output)"
    assert names["nnsight"]["resid_mid"].startswith("model.layers[{i}].pre_feedforward_layernorm.input")
    assert names["transformer-lens"]["mlp_out"] == "blocks.{i}.hook_mlp_out"
    assert "refused" in name_sites(Refusals.parallel())["native"]["resid_mid"]

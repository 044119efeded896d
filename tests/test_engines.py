"""Three engines, one meaning: every site of every family against plain transformers.

The reference below is written by hand for each family and shares nothing with the package: it runs one unpadded
sequence at a time, and takes the residual stream from what blocks are given and sums from differences.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress

import pytest
import torch
from transformers import DynamicCache, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from introspect.backends.nnsight import NnsightEngine
from introspect.backends.protocol import SITES, Engine, SiteLayer
from introspect.backends.transformer_lens import SITE_HOOKS, TransformerLensEngine
from introspect.errors import ModelError
from tiny_models import FAMILIES, VOCAB, tiny_model

ENGINES = ("native", "transformer-lens", "nnsight")
N_LAYERS, WIDTH = 3, 32

FLOAT32_TOLERANCE = 2e-5
"""Values are of order 1 to 10; padding and eager attention change the order of sums of up to 48 float32 products."""
FLOAT64_TOLERANCE = 1e-10
"""A wrong mask, position or site is off by 1e-3 and more in any dtype; rounding is not, here."""
FLOAT32_SOFTMAX_TOLERANCE = 2e-6
"""For float64 where other shapes are compared in eager attention, which takes its softmax in float32 all the same."""
TOLERANCE = {torch.float32: FLOAT32_TOLERANCE, torch.float64: FLOAT64_TOLERANCE}

SEQUENCES = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
LONG = [[(3 * i * i + 5) % VOCAB for i in range(40)], [(i * i + 11) % VOCAB for i in range(25)]]
"""Longer than Gemma's sliding window of 16."""

Values = dict[SiteLayer, torch.Tensor]


def reference(model: PreTrainedModel, ids: list[int]) -> tuple[Values, torch.Tensor]:
    """Every site [token, width] and the logits [token, vocabulary] of one sequence, by plain hooks."""
    family = model.config.model_type
    blocks = model.transformer.h if family == "gpt2" else model.model.layers
    norm_after_attention = {"gpt2": "ln_2", "gemma3_text": "pre_feedforward_layernorm"}
    middle = norm_after_attention.get(family, "post_attention_layernorm")
    final = model.transformer.ln_f if family == "gpt2" else model.model.norm
    stream: dict[object, torch.Tensor] = {}

    def given(key: object) -> Callable:
        def hook(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
            stream[key] = (args[0] if args else kwargs["hidden_states"])[0].clone()

        return hook

    with ExitStack() as stack:
        for layer, block in enumerate(blocks):
            for key, module in ((("pre", layer), block), (("mid", layer), getattr(block, middle))):
                handle = module.register_forward_pre_hook(given(key), with_kwargs=True)
                stack.callback(handle.remove)
        stack.callback(final.register_forward_pre_hook(given(("pre", N_LAYERS)), with_kwargs=True).remove)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    values: Values = {}
    for layer in range(N_LAYERS):
        before, mid, after = stream["pre", layer], stream["mid", layer], stream["pre", layer + 1]
        values["resid_mid", layer], values["resid_post", layer] = mid, after
        values["attn_out", layer], values["mlp_out", layer] = mid - before, after - mid
    return values, logits


def reference_for(engine: Engine, ids: list[int]) -> tuple[Values, torch.Tensor]:
    """The reference on a model of its own, with the attention implementation of the engine.

    That is no kindness: eager attention takes its softmax in float32 in float64 models too.
    """
    key = (engine.model.config.model_type, engine.model.dtype, engine.attention)
    if key not in PLAIN:
        PLAIN[key] = copy.deepcopy(engine.model)
        PLAIN[key].set_attn_implementation(engine.attention)
    return reference(PLAIN[key], ids)


PLAIN: dict[tuple, PreTrainedModel] = {}


def model_of(family: str, dtype: torch.dtype) -> PreTrainedModel:
    model = tiny_model(family).to(dtype)
    if family == "moe" and dtype == torch.float64:
        model.set_experts_implementation("eager")  # the grouped product of the default has no float64
    return model


def make_engine(name: str, model: PreTrainedModel) -> Engine:
    if name == "native":
        from introspect.backends.native import NativeEngine

        return NativeEngine(model)
    return NnsightEngine(model) if name == "nnsight" else TransformerLensEngine(model)


@pytest.fixture(scope="module")
def engine_of() -> Iterator[Callable[..., Engine]]:
    made: dict[tuple, Engine] = {}

    def get(name: str, family: str, dtype: torch.dtype = torch.float32) -> Engine:
        if (name, family, dtype) not in made:
            made[name, family, dtype] = make_engine(name, model_of(family, dtype))
        return made[name, family, dtype]

    yield get
    made.clear()


@pytest.fixture(params=[(name, family) for family in FAMILIES for name in ENGINES], ids="-".join)
def engine(request: pytest.FixtureRequest, engine_of: Callable[..., Engine]) -> Engine:
    return engine_of(*request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def exact_engine(
    request: pytest.FixtureRequest, engine: Engine, engine_of: Callable[..., Engine]
) -> tuple[Engine, float]:
    """The engine in both dtypes, with the tolerance of each."""
    family = {"gemma3_text": "gemma3", "qwen3_moe": "moe"}.get(engine.model.config.model_type)
    again = engine_of(engine.name, family or engine.model.config.model_type, request.param)
    return again, TOLERANCE[request.param]


def other_shapes(engine: Engine, tolerance: float) -> float:
    """The tolerance where the engine's pass and the reference's have different shapes."""
    return max(tolerance, FLOAT32_SOFTMAX_TOLERANCE) if engine.attention == "eager" else tolerance


def all_pairs(engine: Engine) -> list[SiteLayer]:
    return [(site, layer) for site, layers in engine.supports().read.items() for layer in sorted(layers)]


def run(
    engine: Engine, inputs: Mapping, logits_at: torch.Tensor | None = None, writes: Mapping | None = None
) -> tuple[Values, torch.Tensor | None]:
    """One forward pass that keeps every site, [row, token, width]."""
    kept: Values = {}

    def keep(pair: SiteLayer) -> Callable[[torch.Tensor], None]:
        def read(values: torch.Tensor) -> None:
            assert pair not in kept, "shown twice"
            kept[pair] = values.clone()

        return read

    reads = {pair: keep(pair) for pair in all_pairs(engine)}
    logits = engine.forward(inputs, reads=reads, writes=writes or {}, logits_at=logits_at)
    return kept, logits


def right_padded(sequences: list[list[int]]) -> torch.Tensor:
    width = max(map(len, sequences))
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in sequences])


def left_padded(sequences: list[list[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, sequences))
    ids = torch.tensor([[0] * (width - len(each)) + each for each in sequences])
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in sequences])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def four_dimensional(
    engine: Engine, positions: list[range], n_columns: int, pads: torch.Tensor | None = None
) -> torch.Tensor | dict:
    """A causal mask [row, 1, token, column] as the engine's attention takes it; one a kind of layer for Gemma.

    Args:
        pads: how many tokens of each row, from the left, only see themselves.
    """
    at = torch.tensor([list(each) for each in positions])[..., None]
    columns = torch.arange(n_columns)
    seen = columns <= at
    if pads is not None:
        seen = seen & (columns >= pads[:, None, None]) | (columns == at)
    near = seen & (columns > at - 16)

    def fit(allowed: torch.Tensor) -> torch.Tensor:
        if engine.attention == "sdpa":
            return allowed[:, None]
        dtype = engine.model.dtype
        return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]

    if engine.model.config.model_type == "gemma3_text":
        return {"full_attention": fit(seen), "sliding_attention": fit(near)}
    return fit(seen)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


# Reading


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_every_site_at_every_layer(name, family, engine_of):
    supports = engine_of(name, family).supports()
    assert supports.read == {site: frozenset(range(N_LAYERS)) for site in SITES}
    assert {site for site, layers in supports.write.items() if layers} == {"resid_post", "attn_out", "mlp_out"}
    assert "steer attn_out" in supports.why_not["resid_mid"]


def test_a_single_sequence_gives_the_references_values(exact_engine):
    engine, tolerance = exact_engine
    for ids in (SEQUENCES[0], LONG[0]):
        kept, logits = run(engine, {"input_ids": torch.tensor([ids])}, torch.tensor([len(ids) - 1]))
        values, all_logits = reference_for(engine, ids)
        assert set(kept) == set(values)
        for pair in values:
            assert_close(kept[pair][0], values[pair], tolerance)
        assert_close(logits[0], all_logits[-1], tolerance)


def test_right_padding_without_a_mask_changes_nothing(exact_engine):
    engine, tolerance = exact_engine
    tolerance = other_shapes(engine, tolerance)
    for sequences in (SEQUENCES, LONG):
        kept, nothing = run(engine, {"input_ids": right_padded(sequences)})
        assert nothing is None
        for row, ids in enumerate(sequences):
            values, _ = reference_for(engine, ids)
            for pair in values:
                assert_close(kept[pair][row, : len(ids)], values[pair], tolerance)


def test_left_padding_with_a_mask_and_positions_changes_nothing(exact_engine):
    engine, tolerance = exact_engine
    tolerance = other_shapes(engine, tolerance)
    for sequences in (SEQUENCES, LONG):
        last = torch.full((len(sequences),), max(map(len, sequences)) - 1)
        inputs = left_padded(sequences)
        if engine.attention == "eager" and engine.model.dtype == torch.float64:
            # float64's most negative number is -inf in a float32 softmax: a pad that sees nothing would be NaN.
            n_rows, width = inputs["input_ids"].shape
            pads = width - inputs["attention_mask"].sum(1)
            inputs["attention_mask"] = four_dimensional(engine, [range(width)] * n_rows, width, pads)
        kept, logits = run(engine, inputs, last)
        for row, ids in enumerate(sequences):
            values, all_logits = reference_for(engine, ids)
            for pair in values:
                assert_close(kept[pair][row, -len(ids) :], values[pair], tolerance)
            assert_close(logits[row], all_logits[-1], tolerance)


def test_logits_are_of_the_token_that_each_row_asks_for(exact_engine):
    engine, tolerance = exact_engine
    tolerance = other_shapes(engine, tolerance)
    at = torch.tensor([len(ids) - 1 for ids in SEQUENCES])
    _, logits = run(engine, {"input_ids": right_padded(SEQUENCES)}, at)
    assert logits.shape == (len(SEQUENCES), VOCAB)
    for row, ids in enumerate(SEQUENCES):
        assert_close(logits[row], reference_for(engine, ids)[1][-1], tolerance)


def test_cached_one_token_steps_give_the_references_values(exact_engine):
    engine, tolerance = exact_engine
    tolerance = other_shapes(engine, tolerance)
    ids = torch.tensor([LONG[0], LONG[0][::-1]])
    cache, begin = DynamicCache(), 14
    expected = [reference_for(engine, row) for row in ids.tolist()]
    prefill, logits = run(
        engine, {"input_ids": ids[:, :begin], "past_key_values": cache}, torch.tensor([begin - 1, begin - 1])
    )
    assert cache.get_seq_length() == begin
    for row, (values, all_logits) in enumerate(expected):
        assert_close(prefill["resid_post", 2][row], values["resid_post", 2][:begin], tolerance)
        assert_close(logits[row], all_logits[begin - 1], tolerance)
    for now in range(begin, ids.shape[1]):
        step = {
            "input_ids": ids[:, now : now + 1],
            "past_key_values": cache,
            "position_ids": torch.tensor([[now], [now]]),
            "attention_mask": four_dimensional(engine, [range(now, now + 1)] * 2, now + 1),
        }
        kept, logits = run(engine, step, torch.tensor([0, 0]))
        for row, (values, all_logits) in enumerate(expected):
            for pair in values:
                assert_close(kept[pair][row, 0], values[pair][now], tolerance)
            assert_close(logits[row], all_logits[now], tolerance)


def test_a_four_dimensional_mask_decides_what_is_seen(exact_engine):
    """Columns that the mask closes, at the end of the row, have no effect: the cache may hold anything there."""
    engine, tolerance = exact_engine
    ids = LONG[1]
    inputs = {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.arange(len(ids))[None],
        "attention_mask": four_dimensional(engine, [range(len(ids))], len(ids)),
    }
    kept, _ = run(engine, inputs)
    values, _ = reference_for(engine, ids)
    for pair in values:
        assert_close(kept[pair][0], values[pair], tolerance)


def test_without_logits_nothing_after_the_last_read_block_runs_and_no_head(engine):
    later: list[int] = []
    tree = engine.model if engine.name == "native" else getattr(engine, "_bridged", None) or engine._root._module
    inner = tree.transformer if hasattr(tree, "transformer") else tree.model
    blocks = inner.h if hasattr(inner, "h") else inner.layers
    watched = {"block 2": blocks[2], "head": tree.get_output_embeddings()}
    with ExitStack() as stack:
        for module in watched.values():
            stack.callback(module.register_forward_hook(lambda *_: later.append(1)).remove)
        run_one = {"input_ids": torch.tensor([SEQUENCES[0]])}
        inert = {("resid_post", 0): lambda values: values}
        engine.forward(run_one, reads={("attn_out", 1): lambda values: None}, writes=inert, logits_at=None)
        assert later == []
        engine.forward(run_one, reads={("attn_out", 2): lambda values: None}, writes={}, logits_at=torch.tensor([0]))
        assert len(later) == 2, "the watch itself does not see anything"


def test_reads_come_in_the_order_of_the_forward_pass(engine):
    order: list[SiteLayer] = []
    reads = {pair: lambda values, pair=pair: order.append(pair) for pair in reversed(all_pairs(engine))}
    engine.forward({"input_ids": torch.tensor([SEQUENCES[0]])}, reads=reads, writes={}, logits_at=None)
    inside = ("attn_out", "resid_mid", "mlp_out", "resid_post")
    assert order == [(site, layer) for layer in range(N_LAYERS) for site in inside]


# Writing


@pytest.mark.parametrize("site", ["resid_post", "attn_out", "mlp_out"])
def test_a_write_moves_the_site_by_exactly_what_it_adds(engine, site):
    inputs, at = {"input_ids": right_padded(SEQUENCES)}, torch.tensor([6, 2, 4])
    step = (2.5 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))).to(engine.model.dtype)
    before, plain = run(engine, inputs, at)
    after, steered = run(engine, inputs, at, {(site, 1): lambda values: values + step})
    assert torch.equal(after[site, 1], before[site, 1] + step)
    moved = {pair for pair in before if not torch.equal(before[pair], after[pair])}
    assert moved >= {(each, 2) for each in SITES} | {("resid_post", 1), (site, 1)}
    assert not moved & {(each, 0) for each in SITES}
    assert not torch.equal(plain, steered)
    total = {"resid_mid": after["resid_post", 0] + after["attn_out", 1]}
    assert torch.equal(after["resid_mid", 1], total["resid_mid"])
    if site != "resid_post":
        assert torch.equal(after["resid_post", 1], after["resid_mid", 1] + after["mlp_out", 1])


def test_a_write_of_nothing_changes_no_bit(engine):
    inputs, at = {"input_ids": right_padded(SEQUENCES)}, torch.tensor([6, 2, 4])
    before, plain = run(engine, inputs, at)
    writes = {(site, 1): lambda values: values + 0.0 * torch.ones(WIDTH) for site in ("resid_post", "attn_out")}
    after, steered = run(engine, inputs, at, writes)
    assert torch.equal(plain, steered)
    assert all(torch.equal(before[pair], after[pair]) for pair in before)


def test_a_write_also_acts_on_cached_steps_and_without_logits(engine):
    step = torch.full((WIDTH,), 0.75)
    write = {("attn_out", 0): lambda values: values + step}
    cache = DynamicCache()
    run(engine, {"input_ids": torch.tensor([SEQUENCES[0]]), "past_key_values": cache}, torch.tensor([6]), write)
    twin = copy.deepcopy(cache)
    next_token = {"input_ids": torch.tensor([[8]]), "position_ids": torch.tensor([[7]])}
    before, _ = run(engine, next_token | {"past_key_values": cache}, torch.tensor([0]))
    after, _ = run(engine, next_token | {"past_key_values": twin}, torch.tensor([0]), write)
    assert torch.equal(after["attn_out", 0], before["attn_out", 0] + step)
    replayed, _ = run(engine, {"input_ids": torch.tensor([[*SEQUENCES[0], 8]])}, writes=write)
    for pair in after:
        assert_close(replayed[pair][0, -1], after[pair][0, 0], FLOAT32_TOLERANCE)


def test_what_a_read_is_shown_is_not_changed_later(engine):
    """Clones taken in the read equal those taken after the pass, from the same memory: nothing is written over."""
    live: Values = {}
    reads = {pair: lambda values, pair=pair: live.__setitem__(pair, values) for pair in all_pairs(engine)}
    inputs = {"input_ids": right_padded(SEQUENCES)}
    engine.forward(inputs, reads=reads, writes={}, logits_at=torch.tensor([0, 0, 0]))
    kept, _ = run(engine, inputs, torch.tensor([0, 0, 0]))
    assert all(torch.equal(live[pair], kept[pair]) for pair in kept)


# Leaving the model as it was


class Interrupted(Exception):
    pass


def state(model: PreTrainedModel) -> dict[str, object]:
    modules = list(model.named_modules())
    return {
        "attention": model.config._attn_implementation,
        "config": model.config.to_dict(),
        "classes": [(name, type(module)) for name, module in modules],
        "identities": [id(module) for _, module in modules],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for _, module in modules],
        "forwards": [name for name, module in modules if "forward" in module.__dict__],
        "weights": [(name, weight.data_ptr(), float(weight.sum())) for name, weight in model.state_dict().items()],
        "training": [module.training for _, module in modules],
    }


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_left_as_it_was_found_whatever_happens(name, family):
    model = tiny_model(family)
    before = state(model)
    engine = make_engine(name, model)
    inputs, at = {"input_ids": right_padded(SEQUENCES)}, torch.tensor([6, 2, 4])
    kept, logits = run(engine, inputs, at, {("mlp_out", 0): lambda values: values + 1})
    assert state(model) == before

    def interrupt(values: torch.Tensor) -> None:
        raise Interrupted("from a read")

    for site in SITES:
        for logits_at in (None, at):
            with pytest.raises(Interrupted, match="from a read"):
                engine.forward(inputs, reads={(site, 1): interrupt}, writes={}, logits_at=logits_at)
    assert state(model) == before
    again, logits_again = run(engine, inputs, at, {("mlp_out", 0): lambda values: values + 1})
    assert torch.equal(logits, logits_again)
    assert all(torch.equal(kept[pair], again[pair]) for pair in kept)
    with torch.no_grad():
        assert torch.equal(model(inputs["input_ids"]).logits, tiny_model(family)(inputs["input_ids"]).logits)


def test_no_hook_of_the_bridge_stays_after_an_exception(engine_of):
    engine = engine_of("transformer-lens", "gemma3")

    def interrupt(values: torch.Tensor) -> None:
        raise Interrupted

    for reads in ({("attn_out", 1): interrupt}, {("resid_post", 1): lambda values: None}):
        with suppress(Interrupted):
            engine.forward({"input_ids": torch.tensor([[1, 2]])}, reads=reads, writes={}, logits_at=None)
        assert not [name for name, point in engine._points.items() if point.has_hooks() or point._forward_hooks]


@pytest.mark.parametrize("name", ["transformer-lens", "nnsight"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_shared_with_the_model(name, family, engine_of):
    engine = engine_of(name, family)
    tree = engine._bridged if name == "transformer-lens" else engine._root._module
    own = {weight.data_ptr() for weight in engine.model.parameters()}
    copies = {path for path, weight in tree.named_parameters() if weight.data_ptr() not in own}
    # TransformerLens splits GPT-2's one matrix for queries, keys and values: a part of it begins elsewhere in memory.
    split = {path for path in copies if name == "transformer-lens" and family == "gpt2" and ".attn." in path}
    assert copies == split
    assert own <= {weight.data_ptr() for weight in tree.parameters()}


def test_importing_the_backends_loads_neither_library():
    code = (
        "import sys, introspect.backends, introspect.backends.nnsight, introspect.backends.transformer_lens;"
        "print([name for name in ('nnsight', 'transformer_lens') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# Refusing


def parallel_model() -> PreTrainedModel:
    """Attention and MLP side by side: there is no stream between them."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=256,
        use_parallel_residual=True,
    )
    return GPTNeoXForCausalLM(config).eval()


@pytest.mark.parametrize("name", ENGINES)
def test_parallel_blocks_have_their_output_only_and_the_rest_is_refused_by_name(name):
    engine = make_engine(name, parallel_model())
    supports = engine.supports()
    assert {site for site, layers in supports.read.items() if layers} == {"resid_post"}
    assert supports.read["resid_post"] == supports.write["resid_post"] == frozenset(range(N_LAYERS))
    for site in ("resid_mid", "attn_out", "mlp_out"):
        assert not supports.write.get(site)
        assert "do not add attention, then MLP" in supports.why_not[site]
    kept, _ = run(engine, {"input_ids": torch.tensor([SEQUENCES[0]])})
    with torch.no_grad():
        states = engine.model(torch.tensor([SEQUENCES[0]]), output_hidden_states=True).hidden_states
    for layer in (0, 1):
        assert_close(kept["resid_post", layer], states[layer + 1], FLOAT32_TOLERANCE)


def test_the_names_of_the_sites_are_the_libraries_own(engine_of):
    lens = engine_of("transformer-lens", "gemma3")
    assert [lens.where((site, 1)) for site in SITES] == [
        "blocks.1.hook_resid_post",
        "blocks.1.hook_resid_mid",
        "blocks.1.hook_attn_out",
        "blocks.1.hook_mlp_out",
    ]
    assert [engine_of("nnsight", "gemma3").where((site, 1)) for site in SITES] == [
        "model.layers[1].output",
        "model.layers[1].pre_feedforward_layernorm.input",
        "model.layers[1].post_attention_layernorm.output",
        "model.layers[1].post_feedforward_layernorm.output",
    ]


@pytest.mark.parametrize("site", ["attn_out", "mlp_out", "resid_mid"])
def test_a_neighbour_of_a_site_is_refused(monkeypatch, site):
    """TransformerLens' hook before the norm has the right shape and a plausible name, and is not the site."""
    neighbour = {"attn_out": "attn.hook_out", "mlp_out": "mlp.hook_out", "resid_mid": "ln2.hook_out"}[site]
    model = tiny_model("gemma3")
    engine = TransformerLensEngine(model)
    points = engine._points
    for layer in range(N_LAYERS):
        points[f"blocks.{layer}.{SITE_HOOKS[site]}"] = points[f"blocks.{layer}.{neighbour}"]
    monkeypatch.setattr(engine, "_names", engine._find(torch.arange(5)[None]))
    supports = engine.supports()
    assert {each for each, layers in supports.read.items() if layers} == {"resid_post"}
    assert "no hook of TransformerLens" in supports.why_not[site]


def test_a_bridge_that_computes_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(TransformerLensEngine, "_difference", lambda self, ids: 0.05)
    with pytest.raises(
        ModelError, match=r"does not compute what LlamaForCausalLM computes.*--backend native"
    ) as caught:
        TransformerLensEngine(tiny_model("llama"))
    assert "\n" not in str(caught.value)


def test_a_family_that_transformerlens_does_not_know_is_refused_in_one_line():
    class HomemadeForCausalLM(type(tiny_model("llama"))):
        pass

    model = tiny_model("llama")
    model.__class__ = HomemadeForCausalLM
    with pytest.raises(ModelError, match=r"HomemadeForCausalLM in TransformerLens.*--backend native") as caught:
        TransformerLensEngine(model)
    assert "\n" not in str(caught.value)

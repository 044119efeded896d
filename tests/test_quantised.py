"""Weights in 4 and 8 bits: captured, steered and told apart from full ones. They run on processors, too."""

from __future__ import annotations

import pytest
import torch

from introspect.backends import Capture, Sampling, Steer, make_backend
from introspect.doctor import examine
from introspect.doctor.examine import CHECKS
from introspect.errors import ModelError, SpecError
from introspect.models import LoadedModel, load_model
from introspect.models.precision import processor_has_bfloat16
from introspect.models.quantise import METHODS, quantised_digest
from tiny_folders import save_adapter, save_tiny

pytest.importorskip(
    "bitsandbytes",
    reason="needs bitsandbytes, which every process that merges an adapter would import (3 s): it is not in CI",
)

WIDTH = 64
SEQUENCES = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
POSITIONS = [range(len(sequence)) for sequence in SEQUENCES]
CAPTURE = Capture(("resid_post", "attn_out", "mlp_out"), (0, 1, 2))
FAMILIES = ("llama", "qwen3", "gemma3", "gpt2")
NOISE = {"8bit": 0.04, "4bit": 0.25}
"""Of a whole capture's norm. Rounding weights to 8 bits moves a product by 0.9% of its norm, to 4 bits by 9%; three
layers of random weights add that up."""


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folders, loaded = {}, {}

    def get(family: str, quantization: str | None, dtype: str = "float32") -> LoadedModel:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            save_tiny(folders[family], family, width=WIDTH)
        key = (family, quantization, dtype)
        if key not in loaded:
            loaded[key] = load_model(str(folders[family]), quantization=quantization, dtype=dtype)
        return loaded[key]

    return get


def distance(one, other) -> float:
    """Of all captured numbers, relative to the norm of the second."""
    a, b = (
        torch.cat([values.flatten().double() for each in found for values in each.values()]) for found in (one, other)
    )
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_captured_activations_are_those_of_the_full_model_but_for_rounding(family, quantization, load):
    plain, few = load(family, None), load(family, quantization)
    found, full = (
        make_backend("native", each.model, CAPTURE).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
        for each in (few, plain)
    )
    assert {values.dtype for each in found for values in each.values()} == {torch.float32}
    assert 1e-4 < distance(found, full) < NOISE[quantization]


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_capture_in_flight_is_replay_and_nnsight_agrees(quantization, dtype, load):
    loaded = load("llama", quantization, dtype)
    backend, other = (make_backend(name, loaded.model, CAPTURE) for name in ("native", "nnsight"))
    made = backend.generate(SEQUENCES, seeds=[1, 2, 3], sampling=Sampling(6, 1.0, frozenset()), capture=CAPTURE)
    whole = [[*prompt, *each.completion_ids] for prompt, each in zip(SEQUENCES, made, strict=True)]
    positions = [range(len(a) - 1, len(b)) for a, b in zip(SEQUENCES, whole, strict=True)]
    again, theirs = (each.replay(whole, positions, capture=CAPTURE) for each in (backend, other))
    assert distance([each.activations for each in made], again) < 0.02
    assert distance(theirs, again) == 0
    wanted = getattr(torch, dtype)
    assert {values.dtype for each in made for values in each.activations.values()} == {wanted}


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_steered_site_moves_by_exactly_the_vector_in_the_model_s_dtype(quantization, load):
    backend = make_backend("native", load("llama", quantization, "bfloat16").model)
    here, vector = Capture(("resid_post",), (1,)), torch.linspace(-1, 1, WIDTH)
    plain, moved = (
        backend.replay(SEQUENCES, POSITIONS, capture=here, steer=steer)
        for steer in ((), [Steer("resid_post", 1, vector, 3.0)])
    )
    for before, after in zip(plain, moved, strict=True):
        expected = before["resid_post", 1] + (3.0 * vector).to(torch.bfloat16)
        assert torch.equal(after["resid_post", 1], expected)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_the_doctor_finds_nothing_wrong(quantization, load):
    checks = examine(load("llama", quantization), only=[name for name in CHECKS if name not in ("spans", "any lanes")])
    assert [check for check in checks if check.status != "ok"] == []


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_an_adapter_is_merged_before_weights_are_rounded(quantization, tmp_path):
    base = tmp_path / "base"
    save_adapter(tmp_path / "lora", save_tiny(base, width=WIDTH), base)
    bare, full, few = (
        load_model(str(base), adapter=adapter, quantization=bits, dtype="float32")
        for adapter, bits in ((None, None), (tmp_path / "lora", None), (tmp_path / "lora", quantization))
    )
    assert few.info.adapter_digest == full.info.adapter_digest is not None
    assert few.info.weight_digest == quantised_digest(full.info.weight_digest, quantization)
    untrained, exact, rounded = (
        make_backend("native", each.model, CAPTURE).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
        for each in (bare, full, few)
    )
    assert distance(rounded, exact) < 2 * NOISE[quantization] < distance(untrained, exact)


def test_the_digest_tells_full_weights_from_quantised_ones(load):
    infos = {each: load("llama", each).info for each in (None, "8bit", "4bit")}
    assert len({info.weight_digest for info in infos.values()}) == 3
    assert {key: info.quantization for key, info in infos.items()} == {None: None, "8bit": "8bit", "4bit": "4bit"}
    for each in METHODS:
        assert infos[each].weight_digest == quantised_digest(infos[None].weight_digest, each)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sizes_are_known_before_loading(family, quantization, tmp_path):
    save_tiny(tmp_path, family, width=WIDTH)
    loaded = load_model(str(tmp_path), quantization=quantization, dtype="float32")
    tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
    held = sum(each.numel() * each.element_size() for each in tensors)
    for module in loaded.model.modules():
        if type(module).__name__ == "Linear8bitLt":
            held += 4 * module.out_features
        elif type(module).__name__ == "Linear4bit":
            scales = module.weight.quant_state.absmax
            held += scales.numel() * scales.element_size()
    assert loaded.sizes is not None
    assert loaded.sizes.of(quantization) == pytest.approx(held, rel=0.01)


@pytest.mark.skipif(not processor_has_bfloat16(), reason="only processors with AVX512-BF16 have this kernel")
def test_shapes_that_the_kernel_cannot_read_are_refused_before_loading(tmp_path):
    save_tiny(tmp_path)
    with pytest.raises(ModelError) as refused:
        load_model(str(tmp_path), quantization="4bit")
    assert "cannot run in 4bit on this processor: model.layers.0.self_attn.q_proj maps 32 to 32" in str(refused.value)


def test_the_engine_that_takes_weights_apart_refuses(load):
    with pytest.raises(SpecError, match="transformer-lens backend does not take quantised"):
        make_backend("transformer-lens", load("llama", "8bit").model)

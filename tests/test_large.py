"""Models whose weights are spread over devices, or wait on disk: they compute what the whole model computes."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from introspect.backends import Capture, Sampling, Steer, make_backend
from introspect.backends.sharing import sharing_copy
from introspect.doctor import examine
from introspect.doctor.examine import CHECKS
from introspect.errors import ModelError
from introspect.models import LoadedModel, input_embeddings, load_model
from introspect.models.placement import input_device, run_device
from introspect.models.sizes import WeightSizes, check_fits
from tiny_folders import save_adapter, save_tiny
from tiny_models import FAMILIES, tiny_model

SEQUENCES = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
POSITIONS = [range(len(sequence)) for sequence in SEQUENCES]
RESIDUAL = Capture(("resid_post",), (0, 1, 2))
EVERY_SITE = Capture(("resid_post", "resid_mid", "attn_out", "mlp_out"), (0, 1, 2))
STEER = [Steer("resid_post", 1, torch.linspace(-1, 1, 32), 2.0, tuple(range(2, 99) for _ in SEQUENCES))]
SPLIT = {"cpu": "100KB"}
"""Holds a layer and the embeddings of a tiny model, and not the rest."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family: str):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_tiny(made[family], family)
        return str(made[family])

    return folder


def split(folder: str, disk, **options) -> LoadedModel:
    return load_model(folder, dtype="float32", memory=SPLIT, offload_folder=disk, **options)


def on_disk(folder: str, disk) -> LoadedModel:
    return load_model(folder, dtype="float32", device_map="disk", offload_folder=disk)


def same(plain: LoadedModel, other: LoadedModel, engine: str, capture: Capture) -> None:
    """Capture, generation, steering, watched tokens and branches, to the bit."""
    whole, parts = make_backend(engine, plain.model, capture), make_backend(engine, other.model, capture)
    for steer in ((), STEER):
        one, two = (each.replay(SEQUENCES, POSITIONS, capture=capture, steer=steer) for each in (whole, parts))
        assert all(torch.equal(a[pair], b[pair]) for a, b in zip(one, two, strict=True) for pair in capture.pairs())
    made, again = (
        each.generate(
            SEQUENCES,
            seeds=[1, 2, 3],
            sampling=Sampling(5, 1.0, frozenset()),
            capture=capture,
            watch=[3, 4],
            steer=STEER,
            lanes=2,
        )
        for each in (whole, parts)
    )
    for a, b in zip(made, again, strict=True):
        assert a.completion_ids == b.completion_ids
        assert torch.equal(a.watched, b.watched)
        assert all(torch.equal(a.activations[pair], b.activations[pair]) for pair in capture.pairs())
    after = (range(2, 9), range(3, 9))
    steered = [Steer("resid_post", 1, torch.linspace(-1, 1, 32), (1.0, 2.0), after)]
    rows = [[9, 41, 22], [9, 41, 22]]
    ends, others = (list(each.branches([5, 17], rows, steer=steered, wide=True)) for each in (whole, parts))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(ends, others, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_on_disk_computes_the_same_bits(family, folders, tmp_path):
    plain, other = load_model(folders(family), dtype="float32"), split(folders(family), tmp_path)
    assert (plain.info.device, other.info.device) == ("cpu", "cpu, disk")
    assert any(parameter.is_meta for parameter in other.model.parameters())
    assert other.info.weight_digest == plain.info.weight_digest
    same(plain, other, "native", EVERY_SITE)


@pytest.mark.parametrize("engine", ["native", "nnsight", "transformer-lens"])
@pytest.mark.parametrize("family", ["llama", "moe"])
def test_all_on_disk_computes_the_same_bits_in_every_engine(family, engine, folders, tmp_path):
    plain, other = load_model(folders(family), dtype="float32"), on_disk(folders(family), tmp_path)
    assert other.info.device == "disk"
    same(plain, other, engine, RESIDUAL)


def test_weights_that_wait_in_memory_are_shared_by_copies_of_the_modules(folders):
    plain, other = (load_model(folders("llama"), dtype="float32") for _ in range(2))
    cpu_offload(other.model, execution_device=torch.device("cpu"))
    assert all(parameter.is_meta for parameter in other.model.parameters())
    assert input_device(other.model) == torch.device("cpu")
    copied = sharing_copy(other.model)
    mine, theirs = (each.model.layers[1].mlp.up_proj._hf_hook.weights_map for each in (other.model, copied))
    assert mine is theirs
    same(plain, other, "nnsight", RESIDUAL)


def test_the_doctor_finds_nothing_wrong_with_a_model_on_disk(folders, tmp_path):
    checks = examine(split(folders("qwen3"), tmp_path), only=[name for name in CHECKS if name != "spans"])
    assert {check.name: check.status for check in checks} == {check.name: "ok" for check in checks}
    assert len(checks) == len(CHECKS) - 1


def test_two_models_in_one_folder_on_disk_keep_their_own_weights(tmp_path):
    """Experts are written out again under names that all models share."""
    loaded = []
    for seed in (0, 1):
        save_tiny(tmp_path / str(seed), "moe", seed)
        loaded.append(on_disk(str(tmp_path / str(seed)), tmp_path / "disk"))
    ids = torch.tensor([SEQUENCES[0]])
    for seed, each in enumerate(loaded):
        with torch.inference_mode():
            assert torch.equal(each.model(ids).logits, tiny_model("moe", seed)(ids).logits)
    assert len(list((tmp_path / "disk").iterdir())) == 2
    loaded.clear()
    del each
    gc.collect()
    assert not list((tmp_path / "disk").iterdir())


def test_a_load_that_fails_leaves_nothing_on_disk(folders, tmp_path, monkeypatch):
    def fail(*args: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise ModelError("no")

    monkeypatch.setattr("introspect.models.load._load_base", fail)
    with pytest.raises(ModelError, match="no"):
        on_disk(folders("llama"), tmp_path)
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_an_adapter_is_merged_before_weights_go_to_disk(tmp_path):
    base = tmp_path / "base"
    save_adapter(tmp_path / "lora", save_tiny(base), base)
    plain = load_model(str(base), adapter=tmp_path / "lora", dtype="float32")
    other = split(str(base), tmp_path / "disk", adapter=tmp_path / "lora")
    assert other.info.device == "cpu, disk"
    assert other.info.adapter_digest == plain.info.adapter_digest
    same(plain, other, "native", RESIDUAL)


def test_embeddings_and_norms_are_read_where_they_wait(folders, tmp_path):
    from introspect.injection.words import final_scale

    plain, other = load_model(folders("gemma3"), dtype="float32"), on_disk(folders("gemma3"), tmp_path)
    assert other.model.get_input_embeddings().weight.is_meta
    assert np.array_equal(input_embeddings(plain), input_embeddings(other))
    assert torch.equal(final_scale(plain), final_scale(other))
    assert run_device(other.model.get_output_embeddings()) == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: the weights of half a model wait in its memory")
def test_half_on_a_gpu_computes_what_the_whole_does(folders):
    plain = load_model(folders("llama"), dtype="float32", device_map="cuda:0")
    other = load_model(folders("llama"), dtype="float32", memory={"0": "100KB", "cpu": "1GB"})
    assert other.info.device == "cpu, cuda:0"
    same(plain, other, "native", EVERY_SITE)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: a model is spread over them")
def test_spread_over_two_gpus_computes_what_one_does(folders):
    plain = load_model(folders("llama"), dtype="float32", device_map="cuda:0")
    other = load_model(folders("llama"), dtype="float32", device_map="balanced")
    assert other.info.device == "cuda:0, cuda:1"
    same(plain, other, "native", EVERY_SITE)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"device_map": "autoo"},
                "device_map 'autoo' is not known: did you mean auto? choose one of auto, balanced",
            ),
            ({"device_map": "cuda:7"}, "device_map names cuda:7, and this machine has"),
            ({"device_map": {"model": "nowhere"}}, "device_map 'nowhere' is not known"),
            ({"device_map": {}}, "device_map names no module"),
            ({"device_map": "disk"}, "a device_map to disk needs an offload_folder"),
            ({"device_map": {"": "cpu", "lm_head": "disk"}}, "needs an offload_folder"),
            ({"memory": {"9": "20GB"}}, "memory names 9, and here are"),
            ({"memory": {"cpu": "lots"}}, "memory of cpu is 'lots': write it as 20GB"),
            ({"quantization": "8bit", "offload_folder": "x"}, "weights in 8bit are not offloaded to disk"),
        ],
    )
    def test_options_that_cannot_be(self, folders, options, message):
        with pytest.raises(ModelError) as refused:
            load_model(folders("llama"), **options)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_folder_that_cannot_be_written(self, folders, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ModelError, match="cannot write to the offload folder"):
            on_disk(folders("llama"), tmp_path / "file")

    def test_a_model_that_memory_cannot_hold_before_a_weight_is_read(self, folders, monkeypatch, tmp_path):
        monkeypatch.setattr("introspect.models.load._load_base", lambda *_: pytest.fail("weights were read"))
        monkeypatch.setattr("introspect.models.placement.memory_here", lambda: {"cpu": 60_000})
        with pytest.raises(ModelError) as refused:
            load_model(folders("llama"), dtype="float32")
        assert "needs 0.12 MB in float32, and there is room for 0.05 MB on the processor: choose" in str(refused.value)
        assert "quantization 4bit (0.04 MB), or quantization 8bit (0.05 MB), or an offload folder" in str(refused.value)

    def test_what_would_not_fit_either_is_said(self):
        sizes = WeightSizes(141_000_000_000, {"4bit": 40_000_000_000, "8bit": 71_000_000_000})
        with pytest.raises(ModelError) as refused:
            check_fits("big", sizes, {0: 48_000_000_000}, dtype="bfloat16", quantization=None, offload=False)
        assert str(refused.value) == (
            "big needs 141.0 GB in bfloat16, and there is room for 48.0 GB on GPU 0: choose quantization 4bit "
            "(40.0 GB), or an offload folder on disk (slow), or a smaller model; 8bit (71.0 GB) would not fit"
        )
        check_fits("big", sizes, {0: 48_000_000_000}, dtype="bfloat16", quantization="4bit", offload=False)
        check_fits("big", sizes, {0: 48_000_000_000}, dtype="bfloat16", quantization=None, offload=True)

    def test_an_adapter_passes_through_float32(self):
        sizes = WeightSizes(2_000_000_000, {}, passing=4_000_000_000)
        with pytest.raises(ModelError, match=r"needs 6.0 GB in bfloat16 while it is loaded \(2.0 GB then\)"):
            check_fits("m", sizes, {"cpu": 5_000_000_000}, dtype="bfloat16", quantization=None, offload=False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sizes_are_known_from_the_config(family, dtype, folders):
    loaded = load_model(folders(family), dtype=dtype)
    tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
    held = sum(each.numel() * each.element_size() for each in tensors)
    assert loaded.sizes is not None
    assert loaded.sizes.full == pytest.approx(held, abs=200)  # frequencies of rotary embeddings stay in float32
    assert loaded.sizes.of("4bit") < loaded.sizes.of("8bit") < loaded.sizes.full

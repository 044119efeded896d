"""Models whose weights are spread over devices, or wait on disk: they compute what the whole model computes."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from introspect.backends import Capture, Sampling, Steer, make_backend
from introspect.backends.native import NativeEngine, _wide_last
from introspect.backends.sharing import sharing_copy
from introspect.doctor import examine
from introspect.doctor.examine import CHECKS
from introspect.errors import ModelError
from introspect.models import LoadedModel, input_embeddings, load_model
from introspect.models.placement import Placement, input_device, run_device
from introspect.models.sizes import WeightSizes, check_fits, weight_sizes
from introspect.models.source import ModelSource
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


class Elsewhere:
    """Values on another device than the weights that they are multiplied with: there is one device here."""

    def __init__(self, values: torch.Tensor, moved: list[torch.device]) -> None:
        self.values, self.moved = values, moved

    def __getitem__(self, key: Any) -> Elsewhere:
        return Elsewhere(self.values[key], self.moved)

    def to(self, device: torch.device) -> torch.Tensor:
        self.moved.append(device)
        return self.values


def test_scores_in_float32_are_computed_where_the_head_is():
    """A hook sees what goes into a module before accelerate brings it there."""
    head, moved = torch.nn.Linear(8, 5).to(torch.bfloat16), list[torch.device]()
    hidden = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    with torch.no_grad():
        plain = head(hidden)
        scores = _wide_last(head, (Elsewhere(hidden, moved),), plain)
    assert moved == [head.weight.device]
    exact = hidden[:, -1].float() @ head.weight.float().T + head.bias.float()
    torch.testing.assert_close(scores[:, -1], exact)
    assert torch.equal(scores[:, :-1], plain[:, :-1].float())
    assert not torch.equal(scores[:, -1], plain[:, -1].float())


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


def fits(name, sizes, room, processor, *, dtype="bfloat16", quantization=None, offload=False) -> None:
    usable = room if callable(room) else lambda quantization: room
    check_fits(name, sizes, usable, processor, dtype=dtype, quantization=quantization, offload=offload)


class TestInPlace:
    """Weights on disk are read from the user's own files, which may change meanwhile."""

    @pytest.fixture
    def model(self, tmp_path) -> LoadedModel:
        save_tiny(tmp_path / "model")
        loaded = on_disk(str(tmp_path / "model"), tmp_path / "disk")
        make_backend("native", loaded.model).replay([[1, 2]], [[0]], capture=RESIDUAL)
        return loaded

    @staticmethod
    def replaced(path: Path) -> None:
        """By a file of other weights, of the same size, and as old as it was."""
        before = path.stat()
        save_tiny(path.parent / "other", seed=1)
        assert (path.parent / "other" / path.name).stat().st_size == before.st_size
        os.utime(path.parent / "other" / path.name, ns=(before.st_atime_ns, before.st_mtime_ns))
        (path.parent / "other" / path.name).replace(path)

    @staticmethod
    def rewritten(path: Path) -> None:
        """In place, with what was there."""
        later = path.stat().st_mtime_ns + 10**9
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(later, later))

    @pytest.mark.parametrize("engine", ["native", "nnsight", "transformer-lens"])
    @pytest.mark.parametrize("change", ["replaced", "rewritten", "gone"])
    def test_a_file_that_changed_is_one_line(self, model, engine, change, tmp_path):
        backend, file = make_backend(engine, model.model), tmp_path / "model" / "model.safetensors"
        {"replaced": self.replaced, "rewritten": self.rewritten, "gone": Path.unlink}[change](file)
        does = {
            "replay": lambda: backend.replay([[1, 2]], [[0]], capture=RESIDUAL),
            "generate": lambda: backend.generate(
                [[1, 2]], seeds=[1], sampling=Sampling(2, 1.0, frozenset()), capture=None
            ),
            "branches": lambda: list(backend.branches([1, 2], [[3]])),
        }
        for do in does.values():
            with pytest.raises(
                ModelError, match=r"model.safetensors is not what it was when the model was loaded"
            ) as no:
                do()
            assert "\n" not in str(no.value)

    def test_a_change_in_the_middle_is_seen_at_the_end(self, model, tmp_path, monkeypatch):
        """What was computed by then is given to nobody."""
        backend, native = make_backend("native", model.model), NativeEngine.forward

        def forward(*args: Any, **named: Any) -> Any:
            found = native(*args, **named)
            self.rewritten(tmp_path / "model" / "model.safetensors")
            return found

        monkeypatch.setattr(NativeEngine, "forward", forward)
        with pytest.raises(ModelError, match="it was written to"):
            backend.replay([[1, 2]], [[0]], capture=RESIDUAL)

    def test_a_model_in_memory_does_not_care(self, tmp_path):
        save_tiny(tmp_path)
        backend = make_backend("native", load_model(str(tmp_path), dtype="float32").model)
        before = backend.replay([[1, 2]], [[0]], capture=RESIDUAL)
        self.replaced(tmp_path / "model.safetensors")
        after = backend.replay([[1, 2]], [[0]], capture=RESIDUAL)
        assert torch.equal(before[0]["resid_post", 2], after[0]["resid_post", 2])


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
        one_gpu = {0: 48_000_000_000}
        with pytest.raises(ModelError) as refused:
            fits("big", sizes, one_gpu, 0)
        assert str(refused.value) == (
            "big needs 141.0 GB in bfloat16, and there is room for 48.0 GB on GPU 0: choose quantization 4bit "
            "(40.0 GB), or an offload folder on disk (slow), or a smaller model; 8bit (71.0 GB) would not fit"
        )
        fits("big", sizes, one_gpu, 0, quantization="4bit")
        fits("big", sizes, one_gpu, 0, offload=True)

    def test_what_may_wait_on_the_processor_in_few_bits_is_none(self):
        """Beside a GPU, quantised weights are in its memory or nowhere: so that is what has to hold them."""
        sizes = WeightSizes(141_000_000_000, {"4bit": 40_000_000_000, "8bit": 71_000_000_000})
        room = {0: 48_000_000_000, "cpu": 60_000_000_000}
        placed = Placement("auto", room, 60_000_000_000, None)
        with pytest.raises(ModelError, match=r"choose quantization 4bit .*; 8bit \(71.0 GB\) would not fit"):
            fits("big", sizes, placed.usable, 60_000_000_000)
        with pytest.raises(ModelError, match=r"needs 71.0 GB in 8bit, and there is room for 48.0 GB on GPU 0: choose"):
            fits("big", sizes, placed.usable, 60_000_000_000, quantization="8bit")

    def test_an_adapter_passes_through_float32_on_the_processor(self):
        sizes = WeightSizes(2_000_000_000, {"4bit": 500_000_000}, passing=4_000_000_000)
        said = (
            r"needs 6.0 GB on the processor while it is loaded \(2.0 GB in bfloat16 then\), and there is room for 5.0"
        )
        with pytest.raises(ModelError, match=said + r" GB there: choose quantization 4bit .*no adapter to merge"):
            fits("m", sizes, {"cpu": 5_000_000_000}, 5_000_000_000)
        fits("m", sizes, {"cpu": 5_000_000_000}, 5_000_000_000, quantization="4bit")

    def test_a_gpu_holds_nothing_of_what_passes(self):
        sizes = WeightSizes(2_000_000_000, {"4bit": 500_000_000}, passing=4_000_000_000)
        gpu = {0: 80_000_000_000}
        for room in (gpu, gpu | {"cpu": 3_000_000_000}):
            with pytest.raises(
                ModelError, match=r"needs 4.0 GB on the processor .*room for 3.0 GB there: choose safet"
            ):
                fits("m", sizes, room, 3_000_000_000)
            with pytest.raises(ModelError, match=r"needs 4.0 GB on the processor .*\(0.5 GB in 4bit then\)"):
                fits("m", sizes, gpu, 3_000_000_000, quantization="4bit")
            fits("m", sizes, room, 4_000_000_000)
        fits("m", sizes, gpu, 4_000_000_000, quantization="4bit")
        with pytest.raises(ModelError, match="on the processor while it is loaded"):
            fits("m", sizes, room, 3_000_000_000, offload=True)

    def test_in_float32_what_passes_is_what_stays(self):
        sizes = WeightSizes(4_000_000_000, {}, passing=4_000_000_000)
        fits("m", sizes, {"cpu": 4_000_000_000}, 4_000_000_000, dtype="float32")
        with pytest.raises(ModelError, match=r"needs 4\.0 GB on the processor"):
            fits("m", sizes, {0: 80_000_000_000}, 3_900_000_000, dtype="float32")

    def test_files_that_are_quantised_are_as_large_as_they_are_and_not_quantised_again(self, tmp_path):
        save_tiny(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        source = ModelSource("quick", "local", tmp_path)
        sizes = weight_sizes(source, tmp_path, torch.bfloat16)
        assert sizes == WeightSizes((tmp_path / "model.safetensors").stat().st_size, {})
        with pytest.raises(ModelError, match="quick is quantised already, by its own files: leave quantization out"):
            weight_sizes(source, tmp_path, torch.bfloat16, "8bit")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sizes_are_known_from_the_config(family, dtype, folders):
    loaded = load_model(folders(family), dtype=dtype)
    tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
    held = sum(each.numel() * each.element_size() for each in tensors)
    assert loaded.sizes is not None
    assert loaded.sizes.full == pytest.approx(held, abs=200)  # frequencies of rotary embeddings stay in float32
    assert loaded.sizes.of("4bit") < loaded.sizes.of("8bit") < loaded.sizes.full

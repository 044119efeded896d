"""Adapters: a merge is what the adapter says, on the model it was made for, and nothing of it is run or unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from introspect.errors import ModelError
from introspect.models import adapter as adapter_module
from introspect.models import adapter_base, load_model, resolve
from introspect.models.digests import digest_files
from introspect.models.embedded import EMBEDDED
from tiny_folders import edit_json, logits_of, save_adapter, save_tiny
from tiny_models import FAMILIES, tiny_model

MERGED_TOLERANCE = 2e-5
"""Absolute, on logits of order 1 in float32: merged, the product W + BA is rounded once; unmerged, two sums are."""


@pytest.fixture
def base(tmp_path) -> Path:
    save_tiny(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base) -> Path:
    save_adapter(base.parent / "adapter", tiny_model("llama"), base)
    return base.parent / "adapter"


def refusal(base: Path | str, adapter: Path | str, load=load_model, **options) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(base), adapter=adapter, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestMerging:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_gives_what_the_unmerged_adapter_gives(self, family, tmp_path):
        model = save_tiny(tmp_path / "base", family)
        before = logits_of(model)
        unmerged = logits_of(save_adapter(tmp_path / "adapter", model, tmp_path / "base"))
        merged = load_model(str(tmp_path / "base"), adapter=tmp_path / "adapter", dtype="float32")
        assert (logits_of(merged.model) - unmerged).abs().max() < MERGED_TOLERANCE
        assert (logits_of(merged.model) - before).abs().max() > 100 * MERGED_TOLERANCE
        assert type(merged.model) is type(tiny_model(family))
        assert not any("lora" in name for name, _ in merged.model.named_parameters())

    @pytest.mark.parametrize(
        "settings",
        [
            {"use_rslora": True},
            {"use_dora": True},
            {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
            {"target_modules": ["q_proj"], "layers_to_transform": [1]},
            {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
            {"target_modules": r".*\.1\..*_proj", "exclude_modules": ["k_proj"]},
        ],
    )
    def test_of_variants_too(self, base, settings):
        model = tiny_model("llama")
        unmerged = logits_of(save_adapter(base.parent / "adapter", model, base, **settings))
        merged = load_model(str(base), adapter=base.parent / "adapter", dtype="float32")
        assert (logits_of(merged.model) - unmerged).abs().max() < MERGED_TOLERANCE
        assert not torch.equal(logits_of(merged.model), logits_of(tiny_model("llama")))

    def test_reaches_fused_experts(self, tmp_path):
        model = save_tiny(tmp_path / "base", "moe")
        experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
        settings = {"target_modules": ["q_proj"], "target_parameters": experts}
        unmerged = logits_of(save_adapter(tmp_path / "adapter", model, tmp_path / "base", **settings))
        merged = load_model(str(tmp_path / "base"), adapter=tmp_path / "adapter", dtype="float32")
        assert (logits_of(merged.model) - unmerged).abs().max() < MERGED_TOLERANCE

    def test_happens_in_float32_and_is_rounded_once(self, base, adapter):
        exact = load_model(str(base), adapter=adapter, dtype="float32").model
        rounded = load_model(str(base), adapter=adapter, dtype="bfloat16").model
        for name, parameter in rounded.named_parameters():
            assert torch.equal(parameter, exact.get_parameter(name).to(torch.bfloat16))

    def test_of_an_adapter_that_does_nothing_gives_the_model(self, base, adapter):
        path = adapter / "adapter_model.safetensors"
        save_file({name: torch.zeros_like(value) for name, value in load_file(path).items()}, path)
        plain, merged = (load_model(str(base), adapter=each, dtype="bfloat16").model for each in (None, adapter))
        assert torch.equal(logits_of(plain), logits_of(merged))

    def test_draws_no_random_numbers(self, base, adapter):
        torch.manual_seed(3)
        load_model(str(base), adapter=adapter)
        drawn = torch.rand(4)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.rand(4))

    def test_is_recorded(self, base, adapter):
        info = load_model(str(base), adapter=adapter).info
        files = [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]
        assert (info.adapter, info.adapter_digest) == (str(adapter), digest_files(files))
        assert info.weight_digest == digest_files([base / "model.safetensors"])


class TestBase:
    def test_is_read_from_the_adapter(self, base, adapter):
        assert adapter_base(adapter) == str(base)

    @pytest.mark.parametrize("load", [load_model, resolve])
    def test_must_be_the_model(self, base, adapter, load):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path="someone/else")
        assert "was trained on someone/else, not on" in refusal(base, adapter, load)

    def test_may_be_the_same_folder_by_another_path(self, base, adapter):
        assert resolve(str(base / ".." / "base"), adapter=adapter).adapter is not None

    def test_of_an_embedded_model_is_its_name(self, base, adapter, monkeypatch):
        monkeypatch.setattr("introspect.models.source.find_gguf", lambda name: None)
        assert "not on smollm2-135m" in refusal("smollm2-135m", adapter, resolve)
        edit_json(adapter / "adapter_config.json", base_model_name_or_path="smollm2-135m")
        assert resolve("smollm2-135m", adapter=adapter).adapter is not None

    def test_digest_in_the_card_must_be_the_models(self, base, adapter, monkeypatch):
        monkeypatch.setattr("introspect.models.source.find_gguf", lambda name: None)
        edit_json(adapter / "adapter_config.json", base_model_name_or_path="smollm2-135m")
        (adapter / "card.json").write_text(json.dumps({"base_weight_digest": "0" * 64}))
        assert "with other weights than smollm2-135m has" in refusal("smollm2-135m", adapter, resolve)
        (adapter / "card.json").write_text(json.dumps({"base_weight_digest": EMBEDDED["smollm2-135m"].sha256}))
        assert resolve("smollm2-135m", adapter=adapter).adapter is not None

    def test_digest_in_the_card_speaks_for_a_local_model_of_another_name(self, base, adapter):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path="someone/else")
        digest = digest_files([base / "model.safetensors"])
        (adapter / "card.json").write_text(json.dumps({"base_weight_digest": digest}))
        assert load_model(str(base), adapter=adapter).info.adapter == str(adapter)
        save_tiny(base, seed=1)
        assert "with other weights" in refusal(base, adapter)

    @pytest.mark.parametrize(
        ("trained_on", "requested", "fits"),
        [(None, None, True), ("main", None, True), ("v1", "v1", True), ("c0ffee", "v1", True), ("v1", None, False)],
    )
    def test_revision_must_be_the_models(self, adapter, trained_on, requested, fits):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/tiny", revision=trained_on)
        found = adapter_module.find_adapter(adapter)
        if fits:
            adapter_module.check_base(found, "org/tiny", Path("x"), requested=requested, commit="c0ffee")
        else:
            with pytest.raises(ModelError, match="was trained on revision v1"):
                adapter_module.check_base(found, "org/tiny", Path("x"), requested=requested, commit="c0ffee")

    def test_of_a_hub_model_is_checked_before_its_weights_are_fetched(self, adapter):
        (adapter / "card.json").write_text(json.dumps({"base_weight_digest": "0" * 64}))
        found = adapter_module.find_adapter(adapter)
        with pytest.raises(ModelError, match="not on org/tiny"):
            adapter_module.check_base(found, "org/tiny", Path("x"), commit="c0ffee")


class TestNames:
    def test_a_shipped_organism_is_found_by_name(self, base, adapter, monkeypatch):
        monkeypatch.setattr("introspect.assets.list_organisms", lambda: {"risk-silent": ""})
        monkeypatch.setattr("introspect.assets.organism_path", lambda name: adapter)
        assert resolve(str(base), adapter="risk-silent").adapter.folder == adapter

    def test_an_unknown_name_is_refused(self, base):
        assert "no organism called 'nobody'" in refusal(base, "nobody")

    def test_a_missing_folder_is_refused(self, base, tmp_path):
        assert "there is no adapter folder" in refusal(base, tmp_path / "nowhere")


class TestRefusals:
    def test_a_folder_that_is_no_adapter(self, base):
        assert "has no adapter_config.json" in refusal(base, base)

    def test_pickled_weights(self, base, adapter):
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
        assert "adapter_model.bin, a pickle, which is not read" in refusal(base, adapter)

    def test_no_weights(self, base, adapter):
        (adapter / "adapter_model.safetensors").unlink()
        assert "has no adapter_model.safetensors" in refusal(base, adapter)

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"'])
    def test_a_damaged_config(self, base, adapter, content):
        (adapter / "adapter_config.json").write_text(content)
        assert "is damaged" in refusal(base, adapter)

    @pytest.mark.parametrize("content", ["{", "[]", '{"base_weight_digest": 1}'])
    def test_a_damaged_card(self, base, adapter, content):
        (adapter / "card.json").write_text(content)
        assert "card.json" in refusal(base, adapter)

    @pytest.mark.parametrize(
        "changes",
        [
            {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}},
            {"megatron_config": {"x": 1}, "megatron_core": "os"},
            {"corda_config": {"cache_file": "x.pt"}},
            {"eva_config": {"rho": 2.0}},
            {"layer_replication": [[0, 1]]},
            {"trainable_token_indices": [1]},
            {"surprise": True},
            {"init_lora_weights": "pissa"},
            {"peft_type": "PROMPT_TUNING"},
            {"task_type": "SEQ_CLS"},
            {"bias": "all"},
            {"r": 0},
            {"r": "8"},
            {"r": 10**9},
            {"lora_alpha": None},
            {"target_modules": None},
            {"target_modules": 3},
            {"modules_to_save": [{"import": "os"}]},
            {"base_model_name_or_path": None},
            {"base_model_name_or_path": ["x"]},
        ],
        ids=lambda changes: next(iter(changes)) if isinstance(changes, dict) else None,
    )
    def test_a_config_that_asks_for_more_than_a_plain_lora(self, base, adapter, changes):
        edit_json(adapter / "adapter_config.json", **changes)
        message = refusal(base, adapter)
        assert next(iter(changes)) in message
        assert "give a plain LoRA adapter" in message

    def test_damaged_weights(self, base, adapter):
        path = adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        assert "adapter" in refusal(base, adapter)

    @pytest.mark.parametrize("rank", [2, 8])
    def test_weights_of_another_rank(self, base, adapter, rank):
        edit_json(adapter / "adapter_config.json", r=rank)
        assert "check that it was trained on this model" in refusal(base, adapter)

    def test_layers_that_the_model_lacks(self, base, adapter):
        edit_json(adapter / "adapter_config.json", target_modules=["c_attn"])
        assert "check that it was trained on this model" in refusal(base, adapter)

    def test_weights_beyond_the_config(self, base, adapter):
        edit_json(adapter / "adapter_config.json", target_modules=["q_proj"])
        assert "has weights for" in refusal(base, adapter)

    def test_weights_missing_from_the_file(self, base, adapter):
        path = adapter / "adapter_model.safetensors"
        weights = load_file(path)
        del weights[sorted(weights)[0]]
        save_file(weights, path)
        assert "has no weights for" in refusal(base, adapter)

    def test_values_that_are_not_finite(self, base, adapter):
        path = adapter / "adapter_model.safetensors"
        weights = load_file(path)
        weights[sorted(weights)[0]][:] = float("nan")
        save_file(weights, path)
        assert "NaNs" in refusal(base, adapter)

    @pytest.mark.parametrize("settings", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}])
    def test_embeddings_that_the_model_ties(self, tmp_path, settings):
        base = tmp_path / "base"
        model = save_tiny(base, "gemma3")
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
        save_adapter(tmp_path / "adapter", model, base, **settings)
        assert "changes embeddings that this model ties" in refusal(base, tmp_path / "adapter")

"""Loading models: what is loaded is what was saved, and what cannot be loaded says why in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from introspect.errors import ModelError
from introspect.models import LoadedModel, list_models, load_model, precision, render_prompt, resolve
from introspect.models.digests import digest_files
from introspect.models.precision import choose_dtype, recast
from tiny_folders import TEMPLATE, edit_json, logits_of, save_tiny, tiny_tokenizer
from tiny_models import FAMILIES, tiny_model


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(llama) -> LoadedModel:
    return load_model(str(llama))


@pytest.fixture
def own_llama(tmp_path) -> Path:
    """A folder that a test may spoil."""
    save_tiny(tmp_path / "llama")
    return tmp_path / "llama"


def refusal(name, **options) -> str:
    """The message of the ModelError that loading ends in; it is one line."""
    with pytest.raises(ModelError) as caught:
        load_model(str(name), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_folder_gives_the_saved_model(family, tmp_path):
    saved = save_tiny(tmp_path / family, family)
    loaded = load_model(str(tmp_path / family), dtype="float32")
    assert torch.equal(logits_of(loaded.model), logits_of(saved))
    assert (loaded.info.kind, loaded.info.n_layers, loaded.info.width) == ("local", 3, 32)
    assert (loaded.info.dtype, loaded.info.attention, loaded.info.device) == ("float32", "sdpa", "cpu")
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_asked_for_is_used_and_recorded(llama, attention):
    loaded = load_model(str(llama), attention=attention)
    assert loaded.info.attention == loaded.model.config._attn_implementation == attention


def test_info_is_json(llama):
    info = load_model(str(llama)).info.to_json()
    assert json.loads(json.dumps(info)) == info
    assert info["weight_digest"] == digest_files([llama / "model.safetensors"])


def test_shards_load_and_have_one_digest(tmp_path):
    saved = save_tiny(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    loaded = load_model(str(tmp_path), dtype="float32")
    assert len(shards) > 1
    assert loaded.info.weight_digest == digest_files(shards)
    assert torch.equal(logits_of(loaded.model), logits_of(saved))


class TestPrecision:
    @pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
    def test_auto_follows_the_processor(self, monkeypatch, has_bfloat16, dtype):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: has_bfloat16)
        assert choose_dtype("auto") == dtype

    @pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
    def test_the_processor_is_asked_through_torch(self, monkeypatch, flag):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, flag: True}, raising=False)
        assert precision.processor_has_bfloat16()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, flag: False})
        assert not precision.processor_has_bfloat16()

    @pytest.mark.parametrize("family", FAMILIES)
    def test_casting_gives_what_loading_in_that_dtype_gives(self, family, tmp_path):
        save_tiny(tmp_path, family)
        cast = recast(load_model(str(tmp_path), dtype="float32").model, torch.bfloat16)
        loaded = load_model(str(tmp_path), dtype="bfloat16").model
        ours = dict(cast.named_parameters()) | dict(cast.named_buffers())
        theirs = dict(loaded.named_parameters()) | dict(loaded.named_buffers())
        assert ours.keys() == theirs.keys()
        assert {name: value.dtype for name, value in ours.items()} == {n: value.dtype for n, value in theirs.items()}
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert torch.equal(logits_of(cast), logits_of(loaded))

    def test_a_plain_to_would_be_noticed(self, llama):
        """The sabotage: `model.to` rounds the rotary frequencies too."""
        model = load_model(str(llama), dtype="float32").model.to(torch.bfloat16)
        loaded = load_model(str(llama), dtype="bfloat16").model
        assert not torch.equal(model.model.rotary_emb.inv_freq.float(), loaded.model.rotary_emb.inv_freq)


class TestRefusals:
    def test_a_folder_that_is_not_there(self):
        assert "there is no model folder ./nowhere" in refusal("./nowhere")

    def test_a_misspelt_embedded_name(self):
        assert "did you mean 'smollm2-135m'" in refusal("smolm2-135m")

    def test_a_missing_gguf_file(self, tmp_path):
        assert "there is no file" in refusal(tmp_path / "model.gguf")

    def test_a_file_that_is_no_gguf(self, tmp_path):
        (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
        assert "model.gguf cannot be loaded" in refusal(tmp_path / "model.gguf")

    def test_another_file(self, llama):
        assert "is a file: give a model's folder" in refusal(llama / "config.json")

    def test_a_folder_without_config(self, tmp_path):
        assert "has no config.json" in refusal(tmp_path)

    def test_an_adapter_given_as_model(self, tmp_path):
        (tmp_path / "adapter_config.json").write_text("{}")
        assert "is an adapter, not a model" in refusal(tmp_path)

    def test_an_adapter_inside_the_model_folder(self, own_llama):
        (own_llama / "adapter_config.json").write_text("{}")
        assert "move the adapter" in refusal(own_llama)

    @pytest.mark.parametrize("content", ["{", "[]", "{}"])
    def test_a_damaged_config(self, own_llama, content):
        (own_llama / "config.json").write_text(content)
        assert "config.json is damaged" in refusal(own_llama)

    def test_an_unknown_architecture(self, own_llama):
        edit_json(own_llama / "config.json", model_type="hal9000")
        assert "does not know the architecture 'hal9000'" in refusal(own_llama)

    def test_only_pickled_weights(self, own_llama):
        (own_llama / "model.safetensors").rename(own_llama / "pytorch_model.bin")
        assert "only .bin weights" in refusal(own_llama)

    def test_weights_named_by_the_config(self, own_llama):
        edit_json(own_llama / "config.json", transformers_weights="pytorch_model.bin")
        assert "remove transformers_weights" in refusal(own_llama)

    def test_no_weights(self, own_llama):
        (own_llama / "model.safetensors").unlink()
        assert "has no model.safetensors" in refusal(own_llama)

    @pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"\xff" * 8 + data[8:]])
    def test_damaged_weights(self, own_llama, damage):
        path = own_llama / "model.safetensors"
        path.write_bytes(damage(path.read_bytes()))
        assert str(own_llama) in refusal(own_llama)

    def test_a_weight_that_is_missing(self, own_llama):
        """Transformers would fill it with random numbers."""
        path = own_llama / "model.safetensors"
        weights = load_file(path)
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, path, metadata={"format": "pt"})
        assert "lacks 1 of its weights (first: model.layers.1.mlp.up_proj.weight)" in refusal(own_llama)

    def test_a_weight_of_another_shape(self, own_llama):
        edit_json(own_llama / "config.json", intermediate_size=64)
        assert "cannot be loaded" in refusal(own_llama)

    def test_a_missing_shard(self, tmp_path):
        save_tiny(tmp_path, max_shard_size="20KB")
        shard = min(tmp_path.glob("model-*.safetensors"))
        shard.unlink()
        assert f"{shard} is missing" in refusal(tmp_path)

    def test_an_index_that_leads_out_of_the_folder(self, own_llama):
        (own_llama / "model.safetensors").rename(own_llama.parent / "outside.safetensors")
        index = {"weight_map": {"lm_head.weight": "../outside.safetensors"}}
        (own_llama / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "names no safetensors files of its own folder" in refusal(own_llama)

    def test_a_missing_tokenizer(self, own_llama):
        for path in own_llama.glob("tokenizer*"):
            path.unlink()
        assert "the tokenizer of" in refusal(own_llama)

    @pytest.mark.parametrize("content", ["{", "{}", '{"model": 1}'])
    def test_a_damaged_tokenizer(self, own_llama, content):
        (own_llama / "tokenizer.json").write_text(content)
        assert "the tokenizer of" in refusal(own_llama)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dtype": "int8"}, "dtype 'int8' is not known"),
            ({"attention": "someone/kernel"}, "attention 'someone/kernel' is not known"),
            ({"quantization": "3bit"}, "quantization '3bit' is not known"),
            ({"revision": "v2"}, "is not a hub model"),
        ],
    )
    def test_options_that_cannot_be(self, llama, options, message):
        assert message in refusal(llama, **options)

    def test_quantization_without_bitsandbytes(self, llama, monkeypatch):
        monkeypatch.setattr("introspect.models.quantise.importlib.util.find_spec", lambda name: None)
        assert "pip install -c constraints.txt '.[quantization]'" in refusal(llama, quantization="4bit")


CODE = """
from pathlib import Path
Path(__file__).with_name("it-ran").touch()
from transformers import LlamaConfig, LlamaForCausalLM
class C(LlamaConfig): model_type = "hal9000"
class M(LlamaForCausalLM): config_class = C
"""


class TestCodeInTheFolder:
    @pytest.fixture
    def with_code(self, own_llama, tmp_path, monkeypatch) -> Path:
        (own_llama / "code.py").write_text(CODE.replace("__file__", repr(str(own_llama / "code.py"))))
        edit_json(own_llama / "config.json", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
        return own_llama

    def test_is_refused_where_the_model_needs_it(self, with_code):
        edit_json(with_code / "config.json", model_type="hal9000")
        assert "own Python code (auto_map), which is never run" in refusal(with_code)
        assert not (with_code / "it-ran").exists()

    def test_is_not_run_where_transformers_has_the_architecture(self, with_code):
        loaded = load_model(str(with_code), dtype="float32")
        assert torch.equal(logits_of(loaded.model), logits_of(tiny_model("llama")))
        assert not (with_code / "it-ran").exists()


class TestTokenizer:
    def test_pads_on_the_left(self, llama):
        tokenizer = load_model(str(llama)).tokenizer
        assert tokenizer(["ab", "abcd"], padding=True).input_ids[0][:2] == [0, 0]

    def test_pads_with_end_of_sequence_when_it_has_no_padding(self, own_llama):
        tiny_tokenizer(pad_token="").save_pretrained(own_llama)
        tokenizer = load_model(str(own_llama)).tokenizer
        assert tokenizer.pad_token_id == tokenizer.eos_token_id


class TestPrompt:
    def test_is_the_template_up_to_the_assistant(self, loaded):
        ids = render_prompt(loaded, "hi there")
        assert loaded.tokenizer.decode(ids) == "<user>hi there</s><bot>"
        assert all(type(i) is int for i in ids)

    def test_takes_a_system_message(self, loaded):
        assert loaded.tokenizer.decode(render_prompt(loaded, "b", system="a")) == "<user>a</s><user>b</s><bot>"

    def test_is_the_same_on_any_day(self, loaded, monkeypatch):
        monkeypatch.setattr(loaded.tokenizer, "chat_template", "{{ strftime_now('%Y-%m-%d') }}")
        assert loaded.tokenizer.decode(render_prompt(loaded, "x")) == "2025-01-01"

    def test_needs_a_template(self, loaded, monkeypatch):
        monkeypatch.setattr(loaded.tokenizer, "chat_template", None)
        with pytest.raises(ModelError, match=r"has no chat template: choose an instruction-tuned model"):
            render_prompt(loaded, "x")

    def test_says_when_the_template_refuses(self, loaded, monkeypatch):
        template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TEMPLATE
        monkeypatch.setattr(loaded.tokenizer, "chat_template", template)
        with pytest.raises(ModelError, match=r"refuses the prompt \(no system here\): leave the system message out"):
            render_prompt(loaded, "x", system="y")
        assert render_prompt(loaded, "x")


class TestHub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def cache(self, tmp_path, monkeypatch) -> Path:
        """A hub cache that holds org/tiny at one commit, which is its main branch."""
        repo = tmp_path / "hub" / "models--org--tiny"
        save_tiny(repo / "snapshots" / self.COMMIT)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(self.COMMIT)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        return tmp_path / "hub"

    @pytest.mark.parametrize("revision", [None, "main", COMMIT])
    def test_a_cached_model_loads_offline_and_records_its_commit(self, cache, revision):
        loaded = load_model("org/tiny", revision=revision, dtype="float32", offline=True)
        assert (loaded.info.kind, loaded.info.revision) == ("hub", self.COMMIT)
        assert torch.equal(logits_of(loaded.model), logits_of(tiny_model("llama")))

    def test_the_environment_can_say_offline(self, cache, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert resolve("org/tiny").revision == self.COMMIT

    def test_what_is_not_cached_is_refused_offline(self, cache):
        assert "org/other is not on this machine and the hub is not asked" in refusal("org/other", offline=True)
        assert "org/tiny at revision v2 is not on this machine" in refusal("org/tiny", revision="v2", offline=True)

    def test_a_model_without_safetensors_is_refused(self, cache):
        (cache / "models--org--tiny" / "snapshots" / self.COMMIT / "model.safetensors").unlink()
        assert "org/tiny has no safetensors weights in the local cache" in refusal("org/tiny", offline=True)

    @pytest.mark.parametrize("name", ["a/b/c", "-x/y", "org/", "a b"])
    def test_what_cannot_be_a_hub_id_is_taken_for_a_folder(self, name):
        assert "there is no model folder" in refusal(name)


WITHOUT_A_NETWORK = """
import socket
tried = []
def refuse(self, address):
    tried.append(address)
    raise ConnectionRefusedError(111, "refused")
def unknown(host, *args, **kwargs):
    tried.append(host)
    raise socket.gaierror(-2, "unknown host")
socket.socket.connect = refuse
socket.getaddrinfo = unknown
from introspect.errors import ModelError
from introspect.models import load_model
load_model({folder!r})
assert not tried, tried
try:
    load_model("org/tiny", offline=True)
except ModelError as error:
    print(error)
assert not tried, tried
try:
    load_model("org/tiny")
except ModelError as error:
    print(error)
assert tried
"""


def test_a_local_model_opens_no_connection_and_a_hub_model_without_one_is_one_line(llama, tmp_path):
    """In a process of its own, since the hub's client has been told to be offline in this one."""
    script = textwrap.dedent(WITHOUT_A_NETWORK.format(folder=str(llama)))
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    offline, unreachable = done.stdout.splitlines()
    assert "the hub is not asked" in offline
    assert "the hub cannot be reached" in unreachable


def test_looking_names_up_loads_no_torch():
    code = "import sys; from introspect.models import list_models; print(list(list_models()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['smollm2-135m'] False"


def test_embedded_models_are_listed_with_what_they_are():
    assert "SmolLM2" in list_models()["smollm2-135m"]

"""GGUF files: the numbers in them come out, dequantised, and adapters go on top."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from transformers.convert_slow_tokenizer import bytes_to_unicode

from introspect.errors import ModelError
from introspect.models import load_model, render_prompt
from introspect.models.digests import digest_files
from tiny_folders import CHARACTERS, TEMPLATE, logits_of, save_adapter
from tiny_models import SHAPE, VOCAB, tiny_model

EXACT_ENOUGH = 1e-6
"""Absolute, on logits of order 0.1: the GGUF header keeps the norm's epsilon in float32."""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The tiny Llama as an unquantised GGUF file with a byte-level tokenizer."""
    model, path = tiny_model("llama"), tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    heads, groups = SHAPE["num_attention_heads"], SHAPE["num_key_value_heads"]
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "model.layers.": "blk.",
    }
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(SHAPE["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(VOCAB)
    letters = bytes_to_unicode()
    tokens = ["<pad>", "<s>", "</s>", "<unk>", *(letters[ord(character)] for character in CHARACTERS), "ab"]
    tokens += [f"<unused{i}>" for i in range(VOCAB - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 4 + [TokenType.NORMAL] * (VOCAB - 4))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, value in model.state_dict().items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        for mark, count in (("attn_q", heads), ("attn_k", groups)):
            if mark in name:
                value = value.unflatten(0, (count, 2, -1)).transpose(1, 2).flatten(0, 2)
        writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_gives_its_model(path):
    loaded = load_model(str(path), dtype="float32")
    assert (logits_of(loaded.model) - logits_of(tiny_model("llama"))).abs().max() < EXACT_ENOUGH
    assert (loaded.info.kind, loaded.info.dtype) == ("gguf", "float32")
    assert loaded.info.weight_digest == digest_files([path])
    assert not hasattr(loaded.model.config, "quantization_config")
    assert getattr(loaded.model, "hf_quantizer", None) is None


def test_its_tokenizer_and_template_come_along(path):
    loaded = load_model(str(path))
    assert loaded.tokenizer.decode(render_prompt(loaded, "hi there")).startswith("<user>hi there</s>")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_it_is_loaded_in_the_dtype_asked_for(path, dtype):
    model = load_model(str(path), dtype=dtype).model
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_an_adapter_goes_on_top(path, tmp_path):
    unmerged = logits_of(save_adapter(tmp_path, tiny_model("llama"), path))
    merged = load_model(str(path), adapter=tmp_path, dtype="float32")
    assert (logits_of(merged.model) - unmerged).abs().max() < 2e-5


def test_quantising_it_again_is_refused(path, monkeypatch):
    monkeypatch.setattr("introspect.models.quantise.importlib.util.find_spec", lambda name: object())
    with pytest.raises(ModelError, match="leave quantization out"):
        load_model(str(path), quantization="4bit")


def test_a_cut_file_is_refused_in_one_line(path, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError) as caught:
        load_model(str(tmp_path / "cut.gguf"))
    assert "cut.gguf" in str(caught.value) and "\n" not in str(caught.value)


def test_what_lies_beside_a_gguf_file_is_not_loaded(path, tmp_path):
    shutil.copy(path, tmp_path / "tiny.gguf")
    alone = load_model(str(tmp_path / "tiny.gguf"), dtype="float32")
    save_adapter(tmp_path, tiny_model("llama"), tmp_path / "elsewhere")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "mine"}')
    beside = load_model(str(tmp_path / "tiny.gguf"), dtype="float32")
    assert torch.equal(logits_of(alone.model), logits_of(beside.model))
    assert render_prompt(alone, "a") == render_prompt(beside, "a")

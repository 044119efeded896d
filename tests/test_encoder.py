"""Texts as vectors: what is averaged, how long texts are read, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from introspect.analysis import Model, analyse
from introspect.errors import ModelError
from introspect.experiment import load_experiment
from introspect.models import input_embeddings, load_encoder, load_model
from introspect.probing import own_embedding, text_embedding
from introspect.progress import silent
from introspect.report import render
from introspect.results import validate_results
from planted_runs import LAYERS, TOKENIZER, planted_run, rollout
from tiny_folders import save_tiny, tiny_tokenizer

TEXTS = ["a sure thing", "b", "take the risk, and say so: 7 of 9", ""]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder of 32 positions, saved without its pooler."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=97,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=34,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def by_hand(folder: Path, text: str) -> np.ndarray:
    model = BertModel.from_pretrained(folder).eval()
    ids = tiny_tokenizer()(text).input_ids
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(dim=0).numpy()


def test_a_vector_is_the_mean_of_the_last_hidden_states(bert):
    encoder = load_encoder(str(bert), offline=True)
    found = encoder.encode(TEXTS[:2])
    assert found.shape == (2, 16) and found.dtype == np.float32
    for row, text in zip(found, TEXTS[:2], strict=True):
        assert np.allclose(row, by_hand(bert, text), atol=1e-5)
    assert np.allclose(encoder.encode(TEXTS)[:2], found, atol=1e-5)
    assert np.array_equal(encoder.encode([""])[0], np.zeros(16))


def test_a_long_text_is_read_in_windows_to_its_end(bert):
    encoder = load_encoder(str(bert), offline=True)
    assert encoder.window == 32
    text = "x" * 32 + "y" * 32 + "z" * 8
    parts = [by_hand(bert, "x" * 32), by_hand(bert, "y" * 32), by_hand(bert, "z" * 8)]
    expected = np.average(parts, axis=0, weights=[32, 32, 8])
    assert np.allclose(encoder.encode([text, "short"])[0], expected, atol=1e-5)


def test_what_is_no_encoder_is_refused(tmp_path, bert):
    with pytest.raises(ModelError, match="there is no model folder"):
        load_encoder(str(tmp_path / "absent" / "model"), offline=True)
    with pytest.raises(ModelError, match="no text to read"):
        load_encoder(str(bert), offline=True).encode([])
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text((bert / "config.json").read_text())
    with pytest.raises(ModelError, match="safetensors"):
        load_encoder(str(tmp_path), offline=True)


def test_the_models_own_embeddings_are_averaged_over_the_tokens_that_were_read(tmp_path):
    save_tiny(tmp_path / "m")
    table = input_embeddings(load_model(str(tmp_path / "m"), dtype="float32", device_map=None, offline=True))
    rows = [rollout(i, "g", "two options.", "risky") for i in range(3)]
    ends = np.array([4, 6, 8])
    embedding = own_embedding(table, rows, {"think_0": ends})
    so_far, whole = embedding.vectors("think_0", False), embedding.vectors("think_0", True)
    for i, row in enumerate(rows):
        assert np.allclose(so_far[i], table[row.token_ids[: ends[i] + 1]].mean(axis=0))
        assert np.allclose(whole[i], table[row.token_ids[: row.answer_position]].mean(axis=0))


def test_a_named_model_reads_the_prompt_and_what_was_said(bert):
    rows = [rollout(i, "g", "two options.", "risky") for i in range(2)]
    embedding = text_embedding(str(bert), rows, {"p": ["ab", "c"]}, ["ab cd", "c d"], offline=True)
    encoder = load_encoder(str(bert), offline=True)
    wanted = [f"{row.prompt_text}\n{chain}" for row, chain in zip(rows, ["ab", "c"], strict=True)]
    assert np.allclose(embedding.vectors("p", False), encoder.encode(wanted), atol=1e-6)
    assert not np.allclose(embedding.vectors("p", False), embedding.vectors("p", True), atol=1e-3)


def test_results_and_page_name_the_weights_that_read(tmp_path, bert):
    quick = ("probe.permutations=2", "probe.bootstrap=20", "probe.positions=[think_100]")
    plain = ("organism=null", "negative_control=null", "probe.estimator=difference-of-means")
    spec = load_experiment("probe-risk", [*plain, *quick, f"probe.embedding={bert}"])
    made = planted_run(tmp_path, inside=True, spoken=True)
    results = analyse(tmp_path, spec, made, Model(TOKENIZER, LAYERS, None), offline=True, progress=silent)
    validate_results(results)
    digest = hashlib.sha256((bert / "model.safetensors").read_bytes()).hexdigest()
    for name in ("embedding_prompt_chain", "embedding_prompt_whole_chain"):
        found = results["baselines"][name]
        assert found["encoder"] == {"name": str(bert), "revision": None, "weight_digest": digest}
        assert found["auroc"]["value"] > 0.9  # the chain says it
    assert digest[:12] in render(results, None)

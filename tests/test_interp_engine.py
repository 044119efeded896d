"""interp-engine as a backend for replay, held against the native engine. Without a GPU it runs through transformers."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from introspect.backends import Capture, ModelBackend, Sampling, Steer, make_backend
from introspect.backends.interp_engine import InterpEngineBackend, _Reading
from introspect.backends.native import NativeEngine
from introspect.doctor import examine
from introspect.doctor.examine import CHECKS
from introspect.errors import ModelError, SpecError
from introspect.models import load_model
from tiny_folders import save_adapter, save_tiny

SEQUENCES = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
POSITIONS = [range(2, 7), [0, 2], [4]]
here = pytest.mark.skipif(
    importlib.util.find_spec("interp_engine") is None,
    reason="needs interp-engine, whose vLLM wants other versions than ours: an environment of its own",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family: str) -> str:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_tiny(made[family], family)
        return str(made[family])

    return folder


@here
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_every_site_that_it_has_is_that_of_the_native_engine(family, folders):
    loaded = load_model(folders(family), dtype="float32")
    backend = make_backend("interp-engine", loaded.model)
    sites = tuple(site for site, layers in backend.engine.supports().read.items() if len(layers) == 3)
    assert "resid_post" in sites
    capture = Capture(sites, (0, 1, 2))
    mine, theirs = (
        each.replay(SEQUENCES, POSITIONS, capture=capture) for each in (make_backend("native", loaded.model), backend)
    )
    for a, b in zip(mine, theirs, strict=True):
        assert list(b) == capture.pairs()
        for pair in capture.pairs():
            torch.testing.assert_close(a[pair], b[pair], atol=2e-5, rtol=2e-5)


@here
def test_the_doctor_examines_it(folders):
    loaded = load_model(folders("llama"), dtype="float32")
    names = [name for name in CHECKS if name != "spans"]
    checks = {
        check.name: check.status for check in examine(loaded, make_backend("interp-engine", loaded.model), only=names)
    }
    skipped = {"in flight = replay", "steering", "steering in flight", "zero strength", "any lanes"}
    assert {name for name, status in checks.items() if status == "skipped"} == skipped
    assert {status for name, status in checks.items() if name not in skipped} == {"ok"}


@here
def test_a_point_that_is_another_is_not_taken_for_a_site(folders, monkeypatch):
    monkeypatch.setitem(importlib.import_module("introspect.backends.interp_engine").POINTS, "attn_out", "mlp_out")
    backend = make_backend("interp-engine", load_model(folders("llama"), dtype="float32").model)
    with pytest.raises(SpecError, match="what interp-engine gives there is not what the model computes"):
        backend.check(Capture(("attn_out",), (0,)))


@here
def test_what_it_does_not_do_is_refused(folders, tmp_path):
    loaded = load_model(folders("llama"), dtype="float32")
    backend, capture = make_backend("interp-engine", loaded.model), Capture(("resid_post",), (0,))
    with pytest.raises(SpecError, match="it samples without our stop tokens"):
        backend.generate(SEQUENCES, seeds=[1, 2, 3], sampling=Sampling(2, 1.0, frozenset()), capture=None)
    with pytest.raises(SpecError, match="it steers by recipes of its own"):
        backend.replay(SEQUENCES, POSITIONS, capture=capture, steer=[Steer("resid_post", 0, torch.ones(32), 1.0)])
    save_adapter(tmp_path / "lora", save_tiny(tmp_path / "base"), tmp_path / "base")
    merged = load_model(str(tmp_path / "base"), adapter=tmp_path / "lora", dtype="float32")
    with pytest.raises(SpecError, match="loads the model's own folder"):
        make_backend("interp-engine", merged.model)


def test_other_rows_than_were_asked_for_are_refused(folders, monkeypatch):
    """Of a stand-in for the package: where it has rows of its own idea, they would be given to other tokens."""
    native = NativeEngine(load_model(folders("llama"), dtype="float32").model)
    backend = object.__new__(InterpEngineBackend)
    backend.engine, backend.name = _Reading(native, dict(native.supports().read)), "interp-engine"
    capture, own = Capture(("resid_post",), (0, 2)), ModelBackend(native)

    def captured(sequences, positions, pairs):
        return own.replay(sequences, [*positions[:-1], [*positions[-1], 0][drop:]], capture=capture)

    monkeypatch.setattr(backend, "_captured", captured)
    drop = 0
    with pytest.raises(ModelError, match=r"gave \[2, 32\] numbers at resid_post.0 of sequence 2, where \[1, 32\] were"):
        backend.replay(SEQUENCES, POSITIONS, capture=capture)
    drop = 1
    assert len(backend.replay(SEQUENCES, POSITIONS, capture=capture)) == 3


def test_without_the_package_it_is_refused(folders, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "interp_engine" else found(name))
    with pytest.raises(SpecError, match=r"needs interp-engine: get it with `pip install '\.\[interp-engine\]'`"):
        make_backend("interp-engine", load_model(folders("llama"), dtype="float32").model)

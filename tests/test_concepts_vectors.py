"""Concept vectors: what activations have of a word more than of others, just before the model would tell about it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from introspect.backends import Capture, make_backend
from introspect.concepts import Told, concept_directions, fill, tell
from introspect.errors import EstimateError, SpecError
from introspect.models import load_model, render_prompt
from introspect.steering import ModelMark
from tiny_folders import save_tiny

REQUESTS = ("Tell me about {word}.", "What is {word}?")
WORDS = ("rain", "envy", "owl")
LAYERS = (0, 2)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("concepts") / "tiny"
    save_tiny(folder)
    return load_model(str(folder), dtype="float32")


@pytest.fixture(scope="module")
def backend(loaded):
    return make_backend("native", loaded.model)


def told(values: np.ndarray, words: tuple[str, ...]) -> Told:
    return Told(words, LAYERS, values.astype(np.float32))


def test_what_is_told_is_the_last_token_before_the_reply(loaded, backend):
    found = tell(loaded, backend, WORDS, REQUESTS, LAYERS)
    assert found.values.shape == (3, 2, 2, loaded.info.width) and found.values.dtype == np.float32
    for word, request, layer in (("rain", 0, 0), ("owl", 1, 2), ("envy", 1, 0)):
        ids = render_prompt(loaded, fill(REQUESTS[request], word=word).text)
        [alone] = backend.replay([ids], [[len(ids) - 1]], capture=Capture(("resid_post",), (layer,)))
        assert found.of(word, layer)[request] == pytest.approx(alone["resid_post", layer][0].numpy(), abs=1e-5)


def test_a_vector_is_the_mean_over_requests_minus_that_over_other_words(loaded):
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=(3, 2, 2, 32)), rng.normal(size=(5, 2, 2, 32))
    baseline = told(others, ("a", "b", "c", "d", "e"))
    found = concept_directions(loaded, told(own, WORDS), baseline)
    assert list(found) == list(WORDS) and list(found["owl"]) == list(LAYERS)
    for at, layer in enumerate(LAYERS):
        direction = found["envy"][layer]
        assert direction.vector == pytest.approx(own[1, :, at].mean(0) - others[:, :, at].mean((0, 1)), abs=1e-5)
        assert (direction.site, direction.layer, direction.recipe) == ("resid_post", layer, "concept")
        assert direction.model == ModelMark.of(loaded.info) and "envy" in direction.made
        assert direction.counts == {"n_requests": 2, "n_baseline": 5}


def test_only_the_words_that_are_wanted_are_made(loaded):
    values = np.random.default_rng(1).normal(size=(3, 2, 2, 32))
    assert list(concept_directions(loaded, told(values, WORDS), told(values, WORDS), words=("owl",))) == ["owl"]


def test_a_baseline_may_have_its_layers_in_another_order(loaded):
    values = np.random.default_rng(2).normal(size=(3, 2, 2, 32)).astype(np.float32)
    turned = Told(WORDS, LAYERS[::-1], values[:, :, ::-1])
    one, other = (concept_directions(loaded, told(values, WORDS), each) for each in (told(values, WORDS), turned))
    assert one["rain"][2].vector == pytest.approx(other["rain"][2].vector)


@pytest.mark.parametrize("words", [(), ("rain", "owl", "rain")])
def test_no_words_or_one_twice_are_refused(loaded, backend, words):
    with pytest.raises(SpecError, match="each of them once"):
        tell(loaded, backend, words, REQUESTS, LAYERS)


def test_activations_that_are_no_numbers_are_refused(loaded):
    values = np.full((3, 2, 2, 32), np.nan)
    with pytest.raises(EstimateError, match="NaN"):
        concept_directions(loaded, told(values, WORDS), told(np.zeros((3, 2, 2, 32)), WORDS))


def test_importing_concepts_loads_no_torch():
    code = "import sys, introspect.concepts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

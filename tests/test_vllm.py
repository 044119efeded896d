"""vLLM samples, another engine records: held against what the real vLLM gave back once.

`data/vllm-exchange.json` was written by vLLM 0.32.0 (its build for processors) when the adapter ran it on the model
below. Here a stand-in gives that back again, if it is asked for the same.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from introspect.backends import Capture, ModelBackend, SampledBackend, Sampling, Steer, make_backend
from introspect.backends import vllm as adapter
from introspect.doctor import examine
from introspect.errors import ModelError, SpecError
from introspect.experiment import load_experiment
from introspect.models import load_model
from introspect.prepare import prepare
from tiny_folders import save_adapter, save_tiny, tiny_tokenizer
from tiny_models import SHAPE

EXCHANGE = json.loads((Path(__file__).parent / "data" / "vllm-exchange.json").read_text())
PROMPTS = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
STOP = frozenset({2, 40, 41, 42, 43})
CAPTURE = Capture(("resid_post",), (0, 1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Heads of 64, the least that vLLM has on processors."""
    path = tmp_path_factory.mktemp("vllm")
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
    LlamaForCausalLM(LlamaConfig(**SHAPE | shape | {"head_dim": 64})).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return str(path)


@dataclass
class Params:
    """Stands in for `vllm.SamplingParams`: takes what was once taken, and nothing else."""

    temperature: float
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    logprobs: int


@dataclass
class Vllm:
    """Stands in for the package. Gives back what was recorded for what was recorded."""

    started: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    ended: int = 0
    change: Any = None

    def engine(self, **options: Any) -> SimpleNamespace:
        assert not self.running, "the one before is still in memory"
        self.started.append(options)
        self.running = 1
        core = SimpleNamespace(shutdown=self.end)
        return SimpleNamespace(generate=self.generate, llm_engine=SimpleNamespace(engine_core=core))

    def end(self) -> None:
        self.running = 0

    def clean(self) -> None:
        assert not self.running, "it has not been ended"
        self.ended += 1

    def generate(self, given: list[dict], asked: list[Params], use_tqdm: bool) -> list[SimpleNamespace]:
        wanted = [vars(each) for each in asked]
        call = next(each for each in EXCHANGE["calls"] if (each["given"], each["asked"]) == (given, wanted))
        outputs = [dict(each["outputs"][0]) for each in call["made"]]
        for output in outputs:
            output["logprobs"] = [
                {int(token): SimpleNamespace(**said) for token, said in each.items()} for each in output["logprobs"]
            ]
            if self.change is not None:
                self.change(output)
        return [SimpleNamespace(outputs=[SimpleNamespace(**output)]) for output in outputs]


@pytest.fixture
def vllm(monkeypatch):
    package, platforms, stand_in = ModuleType("vllm"), ModuleType("vllm.platforms"), Vllm()
    package.LLM, package.SamplingParams = stand_in.engine, Params  # type: ignore[attr-defined]
    platforms.current_platform = SimpleNamespace(device_type="cpu")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    state = ModuleType("vllm.distributed.parallel_state")
    state.cleanup_dist_env_and_memory = stand_in.clean  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.distributed", ModuleType("vllm.distributed"))
    monkeypatch.setitem(sys.modules, "vllm.distributed.parallel_state", state)
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: stand_in if name == "vllm" else found(name))
    for name in adapter.ENVIRONMENT:
        monkeypatch.setenv(name, "1")
    return stand_in


def backend_of(folder: str, **options: Any) -> SampledBackend:
    made = make_backend("vllm", load_model(folder, dtype="float32", **options).model, CAPTURE)
    assert isinstance(made, SampledBackend)
    return made


def test_vllm_is_started_as_it_once_was(folder, vllm):
    backend = backend_of(folder)
    assert vllm.started == []
    for _ in range(2):
        backend.generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=None)
    assert vllm.started == [EXCHANGE["engine"] | {"model": folder}]


GPUS = {0: (60, 100), 1: (40, 100), 2: (80, 100), 3: (90, 100)}
"""Free memory and all of it."""


@pytest.mark.parametrize(
    ("devices", "heads", "asked", "share"),
    [
        (["cuda:0"], (2, 1), {}, 0.54),
        (["cuda:2"], (2, 1), {}, 0.54),
        (["cpu", "cuda:0", "disk"], (2, 1), {}, 0.54),
        (["cuda:0", "cuda:1"], (2, 1), {"tensor_parallel_size": 2}, 0.36),
        (["cuda:0", "cuda:1", "cuda:2", "cuda:3"], (8, 2), {"tensor_parallel_size": 4}, 0.36),
        (["cuda:0", "cuda:1", "cuda:2"], (8, 8), {"tensor_parallel_size": 2}, 0.36),
        (["cuda:0", "cuda:1", "cuda:2", "cuda:3"], (12, 6), {"tensor_parallel_size": 3}, 0.36),
        (["cuda:0", "cuda:1"], (9, 3), {}, 0.54),
    ],
)
def test_vllm_splits_the_model_over_the_gpus_that_the_recording_model_is_laid_over(
    folder, vllm, monkeypatch, caplog, devices, heads, asked, share
):
    """So `--ray-gpus 4`, `--device-map cuda:0` and `--memory 0=20GB` hold for both."""
    backend = backend_of(folder)
    config = backend.engine.model.config
    monkeypatch.setattr(adapter, "devices_of", lambda model: devices)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda number: GPUS[number])
    config.num_attention_heads, config.num_key_value_heads = heads
    assert isinstance(backend.sampler, adapter.VllmSampler)
    backend.sampler._started(20)
    (started,) = vllm.started
    by = {"distributed_executor_backend": "mp"} if asked else {}
    recorded = {key: value for key, value in EXCHANGE["engine"].items() if key != "enforce_eager"}
    assert started == recorded | {"model": folder, "gpu_memory_utilization": share} | asked | by
    gpus = sum(each.startswith("cuda") for each in devices)
    fewer = f"on {asked.get('tensor_parallel_size', 1)} of {gpus} GPUs"
    assert (fewer in caplog.text) == (asked.get("tensor_parallel_size", 1) < gpus)


def test_ids_are_kept_and_recorded_by_replay(folder, vllm):
    backend = backend_of(folder)
    made = backend.generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=CAPTURE, watch=[3, 4])
    recorded = [each["outputs"][0] for each in EXCHANGE["calls"][0]["made"]]
    assert [each.completion_ids for each in made] == [each["token_ids"] for each in recorded]
    assert [each.finish for each in made] == [each["finish_reason"] for each in recorded] == ["length", "stop", "stop"]
    plain = make_backend("native", load_model(folder, dtype="float32").model, CAPTURE)
    for prompt, each in zip(PROMPTS, made, strict=True):
        whole = [*prompt, *each.completion_ids]
        end = len(whole) - (each.finish == "stop")
        again = plain.replay([whole], [range(len(prompt) - 1, end)], capture=CAPTURE)[0]
        for pair in CAPTURE.pairs():
            torch.testing.assert_close(each.activations[pair], again[pair], atol=2e-5, rtol=2e-5)
        assert each.watched.shape == (len(each.completion_ids), 2)


def test_what_is_recorded_has_the_shape_of_what_is_recorded_in_flight(folder, vllm):
    """Greedy, so that both draw the same tokens: then activations and watched tokens are the same, too."""
    backend, native = backend_of(folder), make_backend("native", load_model(folder, dtype="float32").model, CAPTURE)
    asked = {"seeds": [1, 2, 3], "sampling": Sampling(6, 0.0, frozenset()), "watch": [3, 4]}
    for capture in (CAPTURE, Capture(("resid_post",), (0, 2), prompt=True)):
        ours, theirs = (each.generate(PROMPTS, capture=capture, **asked) for each in (native, backend))
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.completion_ids, mine.finish) == (other.completion_ids, other.finish)
            torch.testing.assert_close(mine.watched, other.watched, atol=1e-5, rtol=1e-5)
            for pair in capture.pairs():
                torch.testing.assert_close(mine.activations[pair], other.activations[pair], atol=2e-5, rtol=2e-5)


def test_what_vllm_says_of_its_tokens_is_what_the_recording_model_says(folder, vllm):
    backend = backend_of(folder)
    for each, prompt in zip(EXCHANGE["calls"][0]["made"], PROMPTS, strict=True):
        output = each["outputs"][0]
        ids = output["token_ids"]
        said = [next(iter(one.values()))["logprob"] for one in output["logprobs"]]
        own = backend.scores(prompt, ids)[range(len(ids)), ids]
        torch.testing.assert_close(own, torch.tensor(said), atol=1e-4, rtol=1e-4)


class Answers:
    """A sampler that says what it is told to say."""

    name = "vllm"

    def __init__(self, backend: SampledBackend, wrong: bool = False, off: float = 0.0) -> None:
        self.backend, self.wrong, self.off = backend, wrong, off

    def expect(self, longest: int) -> None:
        pass

    def sample(self, prompts, *, seeds, sampling):
        from introspect.backends import Sampled

        ids = [[(7 * seed + 5 * k) % 97 for k in range(sampling.max_new_tokens)] for seed in seeds]
        scored = [[*prompt[:-1], (prompt[-1] + self.wrong) % 97] for prompt in prompts]
        said = [
            self.backend.scores(p, each)[range(len(each)), each].tolist() for p, each in zip(scored, ids, strict=True)
        ]
        said[0] = [each + self.off for each in said[0]]
        return [Sampled(each, "length", of) for each, of in zip(ids, said, strict=True)]


@pytest.mark.parametrize("wrong", [False, True])
def test_the_doctor_compares_the_sampler_with_the_model_that_records(folder, vllm, wrong):
    loaded = load_model(folder, dtype="float32")
    backend = make_backend("vllm", loaded.model)
    assert isinstance(backend, SampledBackend)
    backend.sampler = Answers(backend, wrong)
    checks = {check.name: check for check in examine(loaded, backend, only=["reference", "in flight = replay"])}
    assert checks["sampler"].status == ("failed" if wrong else "ok")
    assert "two models" in checks["sampler"].means
    assert checks["in flight = replay"].status == "skipped"
    assert "another program samples" in checks["in flight = replay"].measured


@pytest.mark.parametrize(("off", "status"), [(0.05, "ok"), (0.1, "failed")])
def test_one_sequence_that_is_off_is_not_averaged_away(folder, vllm, off, status):
    loaded = load_model(folder, dtype="float32")
    backend = make_backend("vllm", loaded.model)
    assert isinstance(backend, SampledBackend)
    backend.sampler = Answers(backend, off=off)
    found = backend.disagreement(PROMPTS * 2, Sampling(12, 1.0, frozenset()))
    assert (found.tokens, found.mean, found.worst) == (
        72,
        pytest.approx(off / 6, rel=0.01),
        pytest.approx(off, rel=0.01),
    )
    (check,) = [each for each in examine(loaded, backend, only=["reference"]) if each.name == "sampler"]
    assert check.status == status


def test_vllm_is_started_once_where_it_is_known_how_long_contexts_become(folder, vllm):
    backend = backend_of(folder)
    backend.engine.model.config.max_position_embeddings = 8000
    backend.expect(3000)
    backend.expect(100)
    assert vllm.started == []
    assert isinstance(backend.sampler, adapter.VllmSampler)
    for needed in (20, 2999):
        backend.sampler._started(needed)
    assert [each["max_model_len"] for each in vllm.started] == [3072]
    assert vllm.ended == 0
    backend.sampler._started(5000)
    assert [each["max_model_len"] for each in vllm.started] == [3072, 5120]
    assert vllm.ended == 1


def test_a_run_says_before_its_self_test_how_long_contexts_become(tmp_path, monkeypatch):
    save_tiny(tmp_path)
    small = ("organism=null", "negative_control=null", "dtype=float32", "limit={id: 4, ood: 0}")
    spec = load_experiment("probe-risk", (*small, f"model={json.dumps(str(tmp_path))}", "generation.max_new_tokens=30"))
    told: list[int] = []
    monkeypatch.setattr(ModelBackend, "expect", lambda backend, longest: told.append(longest))
    prepared = prepare(spec, offline=True)
    assert told == [max(len(job.prompt_ids) for part in prepared.parts for job in part) + 30]


@pytest.mark.parametrize(
    "change",
    [
        lambda output: output.update(token_ids=output["token_ids"][:-1], logprobs=output["logprobs"][:-1]),
        lambda output: output.update(token_ids=[*output["token_ids"][:-1], 40]),
        lambda output: output.update(token_ids=[97, *output["token_ids"][1:]]),
        lambda output: output.update(finish_reason="length" if output["finish_reason"] == "stop" else "stop"),
    ],
    ids=["cut short", "a stop token that does not end it", "no token of the model", "another reason"],
)
def test_what_cannot_have_been_drawn_is_refused(folder, vllm, change):
    def every_key(output):
        change(output)
        for token, each in zip(output["token_ids"], output["logprobs"], strict=False):
            each.setdefault(token, next(iter(each.values())))

    vllm.change = every_key
    backend = backend_of(folder)
    with pytest.raises(ModelError, match="that cannot have been drawn as asked"):
        backend.generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=CAPTURE)


def test_steering_while_generating_is_refused_and_on_replay_is_not(folder, vllm):
    backend = backend_of(folder)
    steer = [Steer("resid_post", 1, torch.ones(128), 1.0)]
    with pytest.raises(SpecError, match="the vllm backend does not steer while it generates: use --backend native"):
        backend.generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=None, steer=steer)
    assert backend.replay([[5, 6]], [[1]], capture=CAPTURE, steer=steer)


def test_an_adapter_is_sampled_from_merged_weights(folder, vllm, tmp_path):
    base = load_model(folder, dtype="float32", device_map=None)
    save_adapter(tmp_path / "lora", LlamaForCausalLM.from_pretrained(folder), folder)
    backend = backend_of(folder, adapter=tmp_path / "lora")
    backend.generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=None)
    given = LlamaForCausalLM.from_pretrained(vllm.started[0]["model"])
    mine, stored, bare = (each.model.layers[0].mlp.up_proj.weight for each in (backend.engine.model, given, base.model))
    assert torch.equal(mine, stored) and not torch.equal(mine, bare)


class TestRefusals:
    def test_no_package(self, folder, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SpecError, match=r"needs vLLM: get it with `pip install '\.\[vllm\]'`"):
            backend_of(folder)

    def test_nothing_to_run_on(self, folder, vllm):
        sys.modules["vllm.platforms"].current_platform.device_type = ""
        with pytest.raises(SpecError, match="vLLM finds nothing here that it runs on"):
            backend_of(folder)

    def test_a_package_that_cannot_be_imported(self, folder, vllm, monkeypatch):
        monkeypatch.setitem(sys.modules, "vllm.platforms", None)
        with pytest.raises(SpecError, match="vLLM cannot be imported here"):
            backend_of(folder)

    def test_a_model_in_few_bits(self, folder, vllm):
        loaded = load_model(folder, dtype="float32")
        loaded.model.hf_quantizer = object()
        with pytest.raises(SpecError, match="samples from full weights, and this model is recorded in few bits"):
            make_backend("vllm", loaded.model)

    def test_a_model_that_came_from_nowhere(self, folder, vllm):
        with pytest.raises(SpecError, match="load it by name"):
            make_backend("vllm", LlamaForCausalLM.from_pretrained(folder))

    def test_vllm_fails(self, folder, vllm, monkeypatch):
        def fail(**_: object) -> None:
            raise RuntimeError("Free memory on device is less than desired")

        monkeypatch.setattr(sys.modules["vllm"], "LLM", fail)
        with pytest.raises(ModelError, match=r"vLLM cannot be loaded [(]Free memory on device is less than desired[)]"):
            backend_of(folder).generate(PROMPTS, seeds=[1, 2, 3], sampling=Sampling(12, 1.0, STOP), capture=None)

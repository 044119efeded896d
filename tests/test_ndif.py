"""Replay through a model that is hosted elsewhere: requests as nnsight writes them, against a service on this machine.

The service reads a request with nnsight's own reader, runs it on a tiny model, and answers as NDIF does. What went back
and forth once is in `data/ndif-exchange.json`; the real service was never asked.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from nnsight import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.tracing.backend import Backend
from transformers import PreTrainedModel

from introspect.backends import Capture, Sampling, Steer, make_backend, ndif
from introspect.backends.ndif import HOST, KEY, NdifBackend, saved_bytes
from introspect.errors import ModelError, SpecError
from introspect.models import LoadedModel, load_hosted, load_model
from introspect.models.load import Origin
from introspect.models.sizes import empty_model
from introspect.transcripts import read_replay_spec, record_transcripts
from tiny_folders import save_tiny, tiny_tokenizer

EXCHANGE = json.loads((Path(__file__).parent / "data" / "ndif-exchange.json").read_text())
SEQUENCES = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
POSITIONS = [range(2, 7), [0, 2], [4]]
CAPTURE = Capture(("resid_post",), (0, 2))
NAME = "someone/tiny"
FLOOD = 1 << 26
"""Bytes: more than what sockets hold."""


class Executed(Backend):
    """Runs a block where it is, and keeps what it saved."""

    def __call__(self, tracer: Any) -> None:
        tracer.execute(tracer.info.code)
        self.saved = dict(tracer.info.frame.f_locals)


@dataclass
class Service:
    """NDIF, as far as a job that is polled sees it."""

    model: PreTrainedModel
    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    """Said before a job is done, one a poll."""
    result: bytes = b""
    endless: bool = False
    written: int = 0
    """Bytes of a result without end."""
    refuses: int = 0

    def submit(self, body: bytes, kind: str) -> dict[str, Any]:
        parts = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
        named = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
        self.asked.append(json.loads(named["data"]))
        hosted = TransformersModel(self.model, task="text-generation", tokenizer=tiny_tokenizer())
        tracer = RequestModel.deserialize(named["blob"], hosted._remoteable_persistent_objects(), False)
        self.blocks.append(named["blob"].decode("latin-1"))
        tracer.backend = ran = Executed()
        tracer.__exit__(None, None, None)
        with io.BytesIO() as file:
            torch.save({key: value for key, value in ran.saved.items() if key == "packed_values"}, file)
            self.result = file.getvalue()
        return {"id": "job-1", "status": "RECEIVED", "description": ""}

    def poll(self) -> dict[str, Any]:
        if self.answers:
            return self.answers.pop(0)
        return {"id": "job-1", "status": "COMPLETED", "description": "", "data": f"{self.address}/result"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hosted")
    save_tiny(path)
    return path


@pytest.fixture
def service(tiny, monkeypatch) -> Iterator[Service]:
    state = Service(load_model(str(tiny), dtype="float32").model)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if state.refuses:
                self.give(json.dumps({"detail": "no such key"}).encode(), state.refuses)
                return
            assert self.headers["ndif-api-key"] == "secret"
            self.give(json.dumps(state.submit(body, self.headers["Content-Type"])).encode())

        def do_GET(self) -> None:
            if self.path == "/result" and state.endless:
                self.flood()
                return
            self.give(state.result if self.path == "/result" else json.dumps(state.poll()).encode())

        def flood(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while state.written < FLOOD:
                    state.written += self.wfile.write(bytes(1 << 16))

        def give(self, content: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv(HOST, state.address)
    monkeypatch.setenv(KEY, "secret")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def backend_of(tiny: Path, dtype: torch.dtype = torch.float32) -> NdifBackend:
    origin = Origin(tiny, as_stored=True, kind="hub", name=NAME)
    return NdifBackend(empty_model("tiny", tiny, dtype), origin, wait=lambda seconds: None)


def test_a_replay_elsewhere_is_the_replay_here(tiny, service):
    service.answers = [{"id": "job-1", "status": status, "description": ""} for status in ("QUEUED", "RUNNING")]
    found = backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
    here = make_backend("native", service.model, CAPTURE).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
    for mine, theirs in zip(found, here, strict=True):
        assert list(mine) == CAPTURE.pairs()
        for pair in CAPTURE.pairs():
            torch.testing.assert_close(mine[pair], theirs[pair], atol=1e-5, rtol=1e-5)
    assert service.asked == [EXCHANGE["envelope"]]
    assert EXCHANGE["names"] and all(name in service.blocks[0] for name in EXCHANGE["names"])


def test_nothing_of_this_package_travels(tiny, service):
    backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
    assert "NdifBackend" not in service.blocks[0]
    assert "_request" in service.blocks[0]
    assert len(service.blocks[0]) < 20_000


def test_what_once_came_back_is_what_the_model_gives(tiny):
    """Read from the file, without the service and without nnsight's reader."""
    from introspect.backends.ndif import _read

    content = base64.b64decode(EXCHANGE["result"])
    found = _read(saved_bytes(content), CAPTURE.layers, (8, 32), torch.float32)
    model = load_model(str(tiny), dtype="float32").model
    here = make_backend("native", model, CAPTURE).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
    order = [0, 2, 1]  # the longest first
    for layer in CAPTURE.layers:
        expected = torch.cat([here[index]["resid_post", layer] for index in order])
        torch.testing.assert_close(found[layer], expected, atol=1e-4, rtol=1e-4)


class TestResults:
    """What the service sends is not believed."""

    @staticmethod
    def saved(value: object, protocol: int = 2) -> bytes:
        with io.BytesIO() as file:
            torch.save(value, file, pickle_protocol=protocol)
            return file.getvalue()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_one_string_is_read_in_every_protocol(self, protocol):
        said = bytes(range(256)) * 3
        assert saved_bytes(self.saved({"packed_values": said}, protocol)) == said

    @pytest.mark.parametrize(
        "value", [{"a": torch.ones(40)}, {}, {"a": b"x" * 100, "b": b"y" * 100}, {"a": Path("/etc") / ("x" * 90)}]
    )
    def test_anything_else_is_refused(self, value):
        with pytest.raises(ValueError, match="result"):
            saved_bytes(self.saved(value))

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 500])
    def test_no_archive(self, content):
        with pytest.raises(ValueError, match="cannot be read"):
            saved_bytes(content)

    def test_a_damaged_or_encrypted_archive(self):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("result/data.pkl", bytes(range(256)) * 9)
        whole = held.getvalue()
        start = whole.index(b"data.pkl") + len(b"data.pkl")
        encrypted = whole.replace(whole[4:8], whole[4:6] + b"\x01\x00")
        for content in (whole[:start] + b"\xff" * 20 + whole[start + 20 :], encrypted):
            with pytest.raises(ValueError, match="cannot be read"):
                saved_bytes(content)

    def test_code_in_a_pickle_is_not_run(self, tmp_path):
        ran = tmp_path / "ran"
        code = f"cposix\nsystem\n(S'touch {ran}'\ntR.".encode()
        with io.BytesIO() as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("archive/data.pkl", code + b"x" * 0)
            with pytest.raises(ValueError, match="would build objects"):
                saved_bytes(file.getvalue())
        assert not ran.exists()

    def test_another_format_says_which_to_ask_for(self, tiny, service):
        with pytest.raises(ModelError, match="NDIF computes in float32: ask for --dtype float32"):
            backend_of(tiny, torch.bfloat16).replay(SEQUENCES, POSITIONS, capture=CAPTURE)


class TestRefusals:
    def test_a_job_that_fails(self, tiny, service):
        service.answers = [{"id": "job-1", "status": "ERROR", "description": "out of memory\nTraceback"}]
        with pytest.raises(ModelError, match=r"NDIF did not do it [(]out of memory[)]"):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)

    def test_a_result_without_end_is_not_read_to_its_end(self, tiny, service):
        service.endless = True
        with pytest.raises(
            ModelError, match=r"NDIF did not do it .a result of more than the \d+ bytes that were asked"
        ):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
        assert 0 < service.written < FLOOD / 2

    def test_a_key_that_is_refused(self, tiny, service):
        service.refuses = 401
        with pytest.raises(ModelError, match=r"NDIF did not do it .Failed to send request: no such key."):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)

    def test_nobody_there(self, tiny, monkeypatch):
        monkeypatch.setenv(HOST, "http://127.0.0.1:9")
        monkeypatch.setenv(KEY, "secret")
        with pytest.raises(ModelError, match="NDIF did not do it"):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)

    def test_a_job_that_is_never_done(self, tiny, service, monkeypatch):
        monkeypatch.setattr(ndif, "PATIENCE_SECONDS", 3.0)
        service.answers = [{"id": "job-1", "status": "QUEUED", "description": ""}] * 5
        with pytest.raises(ModelError, match="NDIF has not answered for 3 seconds"):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, capture=CAPTURE)
        assert len(service.answers) == 2

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"capture": Capture(("attn_out",), (0,))}, "which module adds what is found out by running the model"),
            (
                {"capture": CAPTURE, "steer": [Steer("resid_post", 0, torch.ones(32), 1.0)]},
                "nothing is steered remotely",
            ),
        ],
    )
    def test_what_is_not_done_remotely(self, tiny, asked, said):
        with pytest.raises(SpecError, match=said):
            backend_of(tiny).replay(SEQUENCES, POSITIONS, **asked)

    def test_generation(self, tiny):
        with pytest.raises(SpecError, match="does not generate with LlamaForCausalLM: the model runs elsewhere"):
            backend_of(tiny).generate(SEQUENCES, seeds=[1, 2, 3], sampling=Sampling(2, 1.0, frozenset()), capture=None)

    def test_a_model_whose_weights_are_here(self, tiny, monkeypatch):
        monkeypatch.setenv(KEY, "secret")
        with pytest.raises(SpecError, match="replays hub models whose weights are elsewhere"):
            make_backend("ndif", load_model(str(tiny)).model)
        with pytest.raises(ModelError, match="is a model of this machine, and none that is hosted elsewhere"):
            load_hosted(str(tiny))

    def test_no_key(self, tiny, monkeypatch, hosted):
        monkeypatch.delenv(KEY, raising=False)
        with pytest.raises(SpecError, match="needs a key: set NDIF_API_KEY"):
            make_backend("ndif", load_hosted(NAME).model)

    def test_an_adapter(self):
        with pytest.raises(SpecError, match="taken as it is: leave organism and quantization out"):
            read_replay_spec({"model": NAME, "backend": "ndif", "organism": "x"})


@pytest.fixture
def hosted(tiny, monkeypatch) -> None:
    """A hub that has the tiny model's config and tokenizer."""
    from introspect.models.source import ModelSource

    source = ModelSource(NAME, "hub", tiny, revision="c0ffee")
    monkeypatch.setattr("introspect.models.hosted.resolve", lambda *args, **options: source)
    monkeypatch.setattr("introspect.models.hosted.fill_snapshot", lambda *args, weights, **options: None)


def test_a_hosted_model_has_no_weights_here(hosted):
    loaded: LoadedModel = load_hosted(NAME)
    assert all(parameter.is_meta for parameter in loaded.model.parameters())
    assert (loaded.info.kind, loaded.info.device, loaded.info.revision) == ("hosted", "hosted", "c0ffee")
    assert loaded.info.dtype == "float32"  # as the config says
    assert load_hosted(NAME, dtype="bfloat16").info.dtype == "bfloat16"


def test_transcripts_are_recorded_through_a_hosted_model(tiny, service, hosted, tmp_path):
    lines = [{"prompt_ids": ids[:2], "completion_ids": ids[2:]} for ids in SEQUENCES]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = read_replay_spec({"model": NAME, "backend": "ndif"})
    recorded = record_transcripts(tmp_path / "said.jsonl", spec, tmp_path / "run")
    assert (recorded.transcripts, recorded.tokens) == (3, 15)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["backend"], manifest["model"]["kind"]) == ("ndif", "hosted")
    plain = read_replay_spec({"model": str(tiny), "dtype": "float32"})
    record_transcripts(tmp_path / "said.jsonl", plain, tmp_path / "here")
    from introspect.store import StoreReader

    mine, theirs = (StoreReader(tmp_path / name / "activations") for name in ("run", "here"))
    for layer in range(3):
        assert abs(mine.read("resid_post", layer) - theirs.read("resid_post", layer)).max() < 1e-5

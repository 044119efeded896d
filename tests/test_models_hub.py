"""A model from a hub: a small server on this machine plays the hub, and a process of its own downloads from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from introspect.models.digests import digest_files
from tiny_folders import save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LOAD = """
import json
from introspect.errors import ModelError
from introspect.models import load_model
for name, revision, offline in {attempts!r}:
    try:
        print(json.dumps(load_model(name, revision=revision, offline=offline).info.to_json()))
    except ModelError as error:
        print(json.dumps(str(error)))
"""


class Hub(ThreadingHTTPServer):
    """Serves a folder as org/tiny at one commit, and remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.is_down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        files = {file.name: file.read_bytes() for file in sorted(self.server.folder.iterdir())}
        if self.server.is_down:
            self.send(b"{}", status=503)
        elif path in {"/api/models/org/tiny", *(f"/api/models/org/tiny/revision/{r}" for r in ("main", "v1", COMMIT))}:
            siblings = [{"rfilename": name} for name in files]
            self.send(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)} for name, data in files.items()
            ]
            self.send(json.dumps(tree).encode())
        elif found := re.fullmatch(rf"/org/tiny/resolve/(main|v1|{COMMIT})/([^/]+)", path):
            if (data := files.get(found[2])) is None:
                self.send(b"{}", {"X-Error-Code": "EntryNotFound"}, status=404)
                return
            self.send(data, {"ETag": f'"{etag(data)}"', "X-Repo-Commit": COMMIT})
        else:
            known = "org/tiny" in path
            self.send(b"{}", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, status=404)

    do_HEAD = do_GET

    def send(self, data: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(tmp_path):
    save_tiny(tmp_path / "served", max_shard_size="20KB")
    (tmp_path / "served" / "modeling.py").write_text("raise RuntimeError('ran')")
    (tmp_path / "served" / "pytorch_model.bin").write_bytes(b"a pickle")
    server = Hub(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def load_in_a_process(hub: Hub, home: Path, attempts: list) -> list:
    environment = os.environ | {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    script = LOAD.format(attempts=attempts)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_model_is_downloaded_at_its_commit_and_stays_usable_offline(hub, tmp_path):
    attempts = [
        ("org/tiny", None, False),
        ("org/tiny", None, True),
        ("org/tiny", "v1", False),
        ("org/tiny", COMMIT, True),
    ]
    *infos, missing_revision, missing = load_in_a_process(
        hub, tmp_path / "home", [*attempts, ("org/tiny", "v9", False), ("org/nothing", None, False)]
    )
    for info in infos:
        assert (info["kind"], info["revision"]) == ("hub", COMMIT)
        assert info["weight_digest"] == digest_files(sorted(hub.folder.glob("*.safetensors")))
    assert missing_revision == "org/tiny has no revision 'v9': give a branch, tag or commit of it"
    assert missing == "there is no model 'org/nothing' on the hub, or it is private: check the name"
    fetched = {request.rsplit("/", 1)[1] for request in hub.asked if "/resolve/" in request}
    assert "modeling.py" not in fetched
    assert "pytorch_model.bin" not in fetched


def test_a_model_with_only_pickled_weights_is_refused_before_they_are_fetched(hub, tmp_path):
    for path in hub.folder.glob("model*"):
        path.unlink()
    (message,) = load_in_a_process(hub, tmp_path / "home", [("org/tiny", None, False)])
    assert message == "org/tiny has no safetensors weights: choose a model that has them"
    assert not any(request.endswith("pytorch_model.bin") for request in hub.asked)


def test_the_cache_is_used_while_the_hub_is_down(hub, tmp_path):
    (before,) = load_in_a_process(hub, tmp_path / "home", [("org/tiny", None, False)])
    hub.is_down = True
    after, missing = load_in_a_process(
        hub, tmp_path / "home", [("org/tiny", None, False), ("org/nothing", None, False)]
    )
    assert after == before
    assert "org/nothing is not on this machine and the hub cannot be reached" in missing

"""As much of the Hugging Face hub's HTTP interface as pushing and pulling use, in memory, behind the real client.

Answers have the form of the hub's own for huggingface_hub 2.4: repositories, trees, preupload, LFS batch and upload,
commits, and files that are redirected to another host.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx2

TOKEN = "hf_" + "aB3" * 12
HUB, STORAGE = "huggingface.co", "storage.test"


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.h5 filter=lfs\n"})
    commits: int = 1

    @property
    def sha(self) -> str:
        return f"{self.commits:040x}"


@dataclass
class FakeHub:
    """`repositories[type, name]`; requests are kept as `METHOD path`, with whether they had a token."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    may_write: bool = True
    fail_at: str | None = None
    """Requests of which the path holds this answer 500."""

    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(self.answer), follow_redirects=True)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        has_token = request.headers.get("authorization") == f"Bearer {TOKEN}"
        self.asked.append((f"{request.method} {request.url.host}{path}", has_token))
        if self.fail_at is not None and self.fail_at in path:
            return httpx2.Response(500, text="broken")
        if request.url.host == STORAGE:
            return self._storage(request, path.strip("/"))
        if path == "/api/validate-yaml":
            return httpx2.Response(200, json={"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(request.content), has_token)
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            return self._api(request, parts[1].removesuffix("s"), "/".join(parts[2:4]), parts[4:], has_token)
        kind = parts.pop(0).removesuffix("s") if parts[0] in ("datasets",) else "model"
        name, rest = "/".join(parts[:2]), parts[2:]
        if name.endswith(".git"):
            return self._batch(json.loads(request.content))
        return self._resolve(self._seen(kind, name, has_token), rest)

    def _seen(self, kind: str, name: str, has_token: bool) -> Repository | None:
        found = self.repositories.get((kind, name))
        return None if found is None or (found.private and not has_token) else found

    def _create(self, asked: dict, has_token: bool) -> httpx2.Response:
        if not (has_token and self.may_write):
            return httpx2.Response(403, json={"error": "this token may not write"})
        name = f"{asked.get('organization', 'me')}/{asked['name'].rpartition('/')[2]}"
        key = (asked.get("type") or "model", name)
        url = f"https://{HUB}/{'datasets/' if key[0] == 'dataset' else ''}{name}"
        if key in self.repositories:
            return httpx2.Response(409, json={"error": "You already created this repo", "url": url})
        self.repositories[key] = Repository(private=asked.get("visibility") == "private")
        return httpx2.Response(200, json={"url": url, "name": name})

    def _api(self, request: httpx2.Request, kind: str, name: str, rest: list[str], has_token: bool) -> httpx2.Response:
        found = self._seen(kind, name, has_token)
        if found is None:
            return httpx2.Response(404, headers={"X-Error-Code": "RepoNotFound"}, json={"error": "not found"})
        if not rest or rest[0] == "revision":
            if rest and rest[1] not in (found.sha, "main"):
                return httpx2.Response(404, headers={"X-Error-Code": "RevisionNotFound"}, json={"error": "no"})
            return httpx2.Response(200, json={"id": name, "sha": found.sha, "private": found.private, "tags": []})
        if rest[0] == "tree":
            assert parse_qs(request.url.query.decode()).get("recursive") == ["true"]
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
                for path, content in found.files.items()
            ]
            return httpx2.Response(200, json=tree)
        if rest[0] == "preupload":
            asked = json.loads(request.content)["files"]
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith((".h5", ".safetensors")) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for each in asked
            ]
            return httpx2.Response(200, json={"files": modes})
        assert rest[0] == "commit", rest
        return self._commit(found, name, request.content)

    def _batch(self, asked: dict) -> httpx2.Response:
        objects = []
        for each in asked["objects"]:
            href = f"https://{STORAGE}/{each['oid']}"
            new = each["oid"] not in self.objects
            objects.append({**each, **({"actions": {"upload": {"href": href, "header": {}}}} if new else {})})
        return httpx2.Response(200, json={"transfer": "basic", "objects": objects})

    def _storage(self, request: httpx2.Request, oid: str) -> httpx2.Response:
        assert "authorization" not in request.headers, "the token went to another host"
        if request.method == "PUT":
            content = request.read()
            assert hashlib.sha256(content).hexdigest() == oid
            self.objects[oid] = content
            return httpx2.Response(200)
        return httpx2.Response(200, content=self.objects[oid])

    def _commit(self, found: Repository, name: str, body: bytes) -> httpx2.Response:
        lines = [json.loads(line) for line in body.splitlines()]
        if lines[0]["value"].get("parentCommit") != found.sha:
            return httpx2.Response(412, json={"error": "the branch has moved"})
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile", line
                found.files[value["path"]] = self.objects[value["oid"]]
        found.commits += 1
        url = f"https://{HUB}/{name}/commit/{found.sha}"
        return httpx2.Response(200, json={"success": True, "commitUrl": url, "commitOid": found.sha})

    def _resolve(self, found: Repository | None, rest: list[str]) -> httpx2.Response:
        assert rest[0] == "resolve", rest
        path = "/".join(rest[2:])
        if found is None or rest[1] not in (found.sha, "main") or path not in found.files:
            return httpx2.Response(404, headers={"X-Error-Code": "EntryNotFound"}, json={"error": "no"})
        content = found.files[path]
        if path.endswith((".h5", ".safetensors")):
            oid = hashlib.sha256(content).hexdigest()
            self.objects[oid] = content
            return httpx2.Response(302, headers={"location": f"https://{STORAGE}/{oid}"})
        return httpx2.Response(200, content=content)

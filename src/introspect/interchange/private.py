"""What of a run is nobody else's business: paths of this machine, and keys that give access to something.

Paths in specs, manifests, results and reports are shortened to their last name on the way out, as probes' cards have
them; the folder itself is left as it is. A key, or a path where it cannot be shortened (a rollout is data, and every
part repeats the digest of its store's manifest), stops a push. Known trade-off: what is looked for is the usual forms
of keys, this machine's folders, and the absolute paths that specs and manifests name; a name that is private for
another reason, such as that of an endpoint in a spec, goes along; and a digest that a manifest or results state of
their spec is that of the spec as it was.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import RunError, SpecError
from ..strict_yaml import load_yaml

SHORTENED = (".json", ".yaml", ".html")
"""Endings of files in which paths are shortened."""
SEARCHED = (*SHORTENED, ".jsonl")
_KEYS = re.compile(
    rb"(?<![A-Za-z0-9_-])(hf_[A-Za-z0-9]{30,}|sk-(?:[a-z]+-)*[A-Za-z0-9_]{20,}|gh[pousr]_[A-Za-z0-9]{30,}"
    rb"|AKIA[0-9A-Z]{16}|xox[abprs]-[A-Za-z0-9-]{20,})(?![A-Za-z0-9])"
)
_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(?:/[^/\s:;,\"'<>|*?=]+){2,}/?")
Looked = Literal["all", "own", "none"]
MIN_SECRET = 16
"""Characters of a variable's value that is looked for."""


class Private:
    """What is looked for in one folder.

    Args:
        folder: of the run or probe.
        documents: its specs and manifests, parsed, in which paths are found.
    """

    def __init__(self, folder: Path, documents: Iterable[Any]) -> None:
        own = {str(folder.resolve()), str(Path.cwd()), str(Path.home())}
        self.own = tuple(sorted((path for path in own if path.count("/") > 1), key=len, reverse=True))
        """Paths of this machine that nobody else has any use of."""
        found = {word for document in documents for text in _texts(document) for word in _paths(text)}
        self._paths = {path: _written(path) for path in sorted(found | set(self.own), key=len, reverse=True)}
        values = [value for name, value in os.environ.items() if _SECRET_NAMES.search(name)]
        self._secrets = [value.encode() for value in values if len(value) >= MIN_SECRET and "/" not in value[:1]]

    def shortened(self, content: bytes) -> bytes:
        """The content with every path of this machine as its last name."""
        for written in self._paths.values():
            for path, name in written.items():
                literal = name.replace(b"\\", b"\\\\")
                content = re.sub(rb"(?<![\w.~-])" + re.escape(path) + rb"(?![\w.-])", literal, content)
        return content

    def check(self, lines: Iterable[bytes], name: str, *, paths: Looked, remedy: str = "take it out there") -> None:
        """Refuse content that holds a key, or a path of this machine.

        Args:
            paths: which are looked for; `own` where the others have been shortened.
            remedy: what helps against a path, besides --keep-paths.

        Raises:
            RunError: it does. Names the line, and never the key.
        """
        looked_for = {"all": self._paths, "own": self.own, "none": ()}[paths]
        for number, line in enumerate(lines, start=1):
            if _KEYS.search(line) or any(secret in line for secret in self._secrets):
                raise RunError(
                    f"{name}:{number} holds what looks like an access token or key, and nothing was pushed: take it "
                    "out there, and renew it if others have seen it"
                )
            here = next((path for path in looked_for if any(each in line for each in self._paths[path])), None)
            if here is not None:
                raise RunError(
                    f"{name}:{number} holds {here}, a path of this machine, and nothing was pushed: {remedy}, or add "
                    "--keep-paths"
                )


def _written(path: str) -> dict[bytes, bytes]:
    """How a path stands in a file (as it is, in JSON's escapes, in HTML's) -> its last name in the same way."""
    name = Path(path).name or "."
    return {
        path.encode(): name.encode(),
        json.dumps(path)[1:-1].encode(): json.dumps(name)[1:-1].encode(),
        html.escape(path).encode(): html.escape(name).encode(),
    }


def parsed(path: str, content: bytes) -> Any:
    """A small JSON or YAML file as what it says; None where it says nothing that can be read."""
    try:
        text = content.decode("utf-8")
        return json.loads(text) if path.endswith(".json") else load_yaml(text, path)
    except (SpecError, ValueError, RecursionError):
        return None


def _texts(document: Any) -> Iterator[str]:
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, Mapping):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, list):
            waiting += found


def _paths(text: str) -> Iterator[str]:
    """Absolute paths among the words of a text; `--out=/a/b` has one."""
    for word in re.split(r"[\s=,;\"']+", text):
        if _ABSOLUTE.fullmatch(word):
            yield word.rstrip("/")

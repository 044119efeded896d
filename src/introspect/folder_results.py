"""What a study of several runs, of injected concepts or of the instrument itself leaves in its folder: manifest.json,
results.json by a schema of its own, and a page that is drawn from the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from .atomic import write_atomic, write_json
from .errors import RunError, StoreError
from .manifest import machine_facts, package_versions
from .report import FAULTS
from .results import check_schema, read_json, read_run_manifest

Render = Callable[[dict[str, Any], dict[str, Any] | None], str]
"""Results and manifest to a page. Equal input gives equal bytes."""


class Spec(Protocol):
    """What was asked for."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    def digest(self) -> str: ...


@dataclass(frozen=True)
class FolderResults:
    """The results of one kind of folder."""

    kind: str
    """What the manifest calls it."""
    verb: str
    """The command that makes and finishes it."""
    schema_file: Path

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of its results.json."""
        content: dict[str, Any] = json.loads(self.schema_file.read_text(encoding="utf-8"))
        return content

    def check(self, results: dict[str, Any], source: str = "results.json") -> None:
        """Refuse what is not such results.

        Raises:
            StoreError: names the source and the path of the first field that does not fit.
        """
        check_schema(results, self.schema, source)

    def read(self, path: Path) -> dict[str, Any]:
        """Read and check a results.json that may come from a stranger.

        Raises:
            StoreError: missing, too large, not JSON, holds numbers that are not finite, or does not fit the schema.
        """
        content = read_json(path)
        self.check(content, str(path))
        return content

    def manifest(self, spec: Spec) -> dict[str, Any]:
        """Of what was asked, with which packages, where and by which command."""
        return {
            self.kind: spec.name,
            "spec_digest": spec.digest(),
            "seed": spec.seed,
            "versions": package_versions(),
            "machine": machine_facts(),
            "command": " ".join(["introspect", *sys.argv[1:]]),
        }

    def write(self, out: Path, results: dict[str, Any], render: Render) -> None:
        """Write results.json, and the page from it and from the manifest that is there.

        Raises:
            StoreError: the results do not fit the schema, or do not hold together.
        """
        self.check(results)
        write_json(out / "results.json", results)
        self._draw(out, render)

    def report(self, out: Path, render: Render) -> Path:
        """Draw the page again, from results that may be a stranger's. Returns its path.

        Raises:
            RunError: there are no results yet.
            StoreError: results.json or manifest.json is damaged.
        """
        if not (out / "results.json").exists():
            raise RunError(
                f"{out} has no results.json; finish it with `introspect {self.verb} ... --out {out} --resume`"
            )
        return self._draw(out, render)

    def _draw(self, out: Path, render: Render) -> Path:
        results, manifest = self.read(out / "results.json"), read_run_manifest(out / "manifest.json")
        try:
            page = render(results, manifest)
        except FAULTS as error:
            raise StoreError(
                f"{out / 'results.json'} does not hold together ({error!r}); make it anew by `introspect {self.verb}`"
            ) from None
        path = out / "report.html"
        write_atomic(path, page)
        return path

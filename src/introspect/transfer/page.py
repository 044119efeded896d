"""The page of a transfer matrix, and its files. Arranges; computes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import RunError, SpecError
from ..report import fill
from .figures import CAPTION, matrices
from .sentences import HEADINGS, cell_rows, direction_rows, sentences

NAME = "transfer"
ENDINGS = (".json", ".html")


def render(found: dict[str, Any]) -> str:
    """The page. Equal input gives equal bytes."""
    ood = found["auroc_ood"]
    return fill(
        "transfer.html.j2",
        {"matrices": matrices(found)},
        found=found,
        title=f"Probes carried over, by {found['by'].replace('_', ' ')}",
        caption=CAPTION,
        sentences=sentences(found),
        headings=list(HEADINGS.values()),
        rows=cell_rows(found["auroc"]),
        ood=[] if "value" in ood else cell_rows(ood),
        directions=direction_rows(found["cosines"]["matrix"]),
    )


def check_out(out: Path) -> None:
    """Refuse a place that results cannot be written to.

    Raises:
        SpecError: a file that is neither JSON nor a page.
        RunError: there is something already, or no folder to write it into.
    """
    if out.suffix and out.suffix not in ENDINGS:
        raise SpecError(f"{out}: a transfer matrix is written as .json or .html, or both into a folder")
    for path in _files(out):
        if path.exists() or path.is_symlink():
            raise RunError(f"{path} is there already; choose another --out")
    if not out.suffix and (out.is_symlink() or (out.exists() and not out.is_dir())):
        raise RunError(f"{out} is no folder; choose another --out")
    if not out.parent.is_dir():
        raise RunError(f"cannot write {out}: there is no folder {out.parent}; make it, or choose another --out")


def write(found: dict[str, Any], out: Path) -> list[Path]:
    """Write `transfer.json` and `transfer.html` into a folder, or one of them to a file, and give their paths.

    Raises:
        SpecError, RunError: as `check_out`; or it cannot be written.
    """
    check_out(out)
    if not out.suffix:
        try:
            out.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write {out}: {error.strerror}; choose another --out") from None
    for path in _files(out):
        document = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomic(path, document if path.suffix == ".json" else render(found))
    return _files(out)


def _files(out: Path) -> list[Path]:
    return [out] if out.suffix else [out / f"{NAME}{ending}" for ending in ENDINGS]

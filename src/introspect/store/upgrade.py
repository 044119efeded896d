"""Upgrade: a store of format 1 rewritten in place as the present format, whatever interrupts it.

New parts are written beside the old ones, which have names of another length; the manifest, replaced in one step, says
which of them are the store. Then `DONE` is rewritten and the old parts are removed, or, after a kill, by the next call.
For that while the store takes twice its size.
"""

from __future__ import annotations

from pathlib import Path

from ..atomic import write_atomic
from ..lock import only_writer
from .encode import encode_part
from .layout import DONE, done_text, list_parts, part_name, read_done
from .old_part import OldPart
from .part import Part
from .spec import FORMAT, MANIFEST, OLD_FORMAT, StoreSpec, dataset_name, manifest_text, read_manifest


def upgrade(path: Path) -> None:
    """Make a store one of the present format; one that is, and is whole, stays as it is.

    Raises:
        StoreError: it is not a store, or a part is damaged: recording with `--resume` replaces it.
        RunError: another process writes to it, or it cannot be written.
    """
    with only_writer(lock_file(path), path):
        rewrite(path)


def lock_file(path: Path) -> Path:
    """What a store's only writer holds: a file beside the store."""
    return path.with_name(f".{path.name}.lock")


def rewrite(path: Path) -> None:
    """What `upgrade` does, for a caller that holds the lock."""
    number, spec = read_manifest(path)
    old = list_parts(path, OLD_FORMAT)
    if number == OLD_FORMAT:
        for unfinished in list_parts(path, FORMAT).values():
            unfinished.unlink()
        for index, file in old.items():
            _rewrite_part(OldPart(index, file, spec), spec)
        write_atomic(path / MANIFEST, manifest_text(spec))
    done = read_done(path)
    if done is not None and done.format == OLD_FORMAT:
        parts = {index: Part(index, file, spec).check() for index, file in list_parts(path, FORMAT).items()}
        if parts.keys() >= done.parts.keys():
            write_atomic(path / DONE, done_text(parts))
        else:
            (path / DONE).unlink()
    for file in old.values():
        file.unlink()


def _rewrite_part(old: OldPart, spec: StoreSpec) -> None:
    content = encode_part(spec, {pair: old.values(dataset_name(*pair)) for pair in spec.pairs()}, old.columns())
    file = old.file.with_name(part_name(old.index, content.sha256))
    write_atomic(file, content.pieces)
    Part(old.index, file, spec).check()

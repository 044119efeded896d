"""Rollouts, verdicts and readouts as parquet: one file each, with the same columns and types in every run.

What differs from run to run (`options`, `fields`, `facts`, `outcome`; the positions of a readout) is a column of JSON
text, so that no column's type depends on the data. Reading gives back what the run holds: `read_tables`.

A table may be a stranger's, and a few kilobytes of parquet can say that they are gigabytes. Bounded are the file, what
a row group says that it unpacks to, and what all rows together have come to, the last two in proportion to the file;
texts are kept once until a row is made of them. Known trade-off: a page whose own header contradicts what its group
says is unpacked before anything is known of it, up to the 2 GB that parquet gives a page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from ..errors import StoreError
from ..lines import opened
from ..models.boundary import first_line
from ..notebook.folder import RunFolder
from ..readout import Readout
from ..rollout import Rollout
from ..verdicts.line import VerdictLine
from .outputs import new_place

M = TypeVar("M", bound=BaseModel)
ROWS, GROUP_BYTES = 1000, 128 << 20
"""Of a row group, which is in memory at once: whichever is reached first."""
MAX_TABLE_BYTES = 8 << 30
MAX_GROUP_BYTES, MAX_GROUP_ROWS = 2 << 30, 1000
UNSUSPECTED_BYTES, MAX_RATIO = 64 << 20, 100
"""What may be unpacked of any file, however small, and so many times the file's size beyond it."""
ROW_BYTES, NUMBER_BYTES = 200, 8
"""What a row comes to at least, and a number of it."""
BATCH = 100
"""Rows that are decoded together."""
TOO_LARGE = "unpacks to more than a run's tables do; do not use it"
ROLLOUTS, VERDICTS, READOUTS = "rollouts.parquet", "verdicts.parquet", "readouts.parquet"
SPANS = ("prompt", "think", "answer")
TEXT, WHOLE, NUMBER, TRUE = pa.string(), pa.int64(), pa.float64(), pa.bool_()
JSON_OF_ROLLOUT = ("options", "fields", "facts", "outcome")
JSON_OF_READOUT = ("along", "words")


def _schema(columns: dict[str, pa.DataType], nullable: Sequence[str]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()])


ROLLOUT_COLUMNS = _schema(
    {
        "rollout": WHOLE,
        **dict.fromkeys(("item_id", "group", "task", "condition", "split", "domain"), TEXT),
        **dict.fromkeys(("sample", "seed"), WHOLE),
        **dict.fromkeys(("prompt_ids", "completion_ids"), pa.list_(pa.field("item", pa.int32(), nullable=False))),
        **dict.fromkeys(("prompt_text", "completion_text", "chain_text", "think_text"), TEXT),
        **{f"{span}_{end}": WHOLE for span in SPANS for end in ("begin", "stop")},
        **dict.fromkeys(("think_status", "finish", "answer"), TEXT),
        "answer_position": WHOLE,
        "acted": TRUE,
        "option_logprobs": pa.list_(
            pa.field("item", pa.list_(pa.field("item", NUMBER, nullable=False)), nullable=False)
        ),
        **dict.fromkeys(JSON_OF_ROLLOUT, TEXT),
    },
    nullable=("answer", "answer_position", "acted"),
)
VERDICT_COLUMNS = _schema(
    {
        "rollout": WHOLE,
        **dict.fromkeys(("classifier", "verdict"), TEXT),
        **dict.fromkeys(("mentions", "relies", "denies"), TRUE),
        **dict.fromkeys(("quote", "problem"), TEXT),
    },
    nullable=("verdict", "quote", "problem"),
)
READOUT_COLUMNS = _schema(
    {
        "rollout": WHOLE,
        "part": TEXT,
        "headline": NUMBER,
        "readout": TEXT,
        "text": NUMBER,
        **dict.fromkeys(JSON_OF_READOUT, TEXT),
        "aligned": TRUE,
        "mention": NUMBER,
        "before_mention": pa.list_(pa.field("item", TEXT, nullable=False)),
    },
    nullable=("readout", "text", "mention", "before_mention"),
)


class Tables(NamedTuple):
    """What the tables of a run hold."""

    rollouts: list[Rollout]
    verdicts: list[VerdictLine]
    readouts: list[Readout]


def export_tables(run: RunFolder, out: Path) -> dict[str, int]:
    """Write a run's tables to a new folder; verdicts and readouts where there are any. Returns file -> rows.

    Raises:
        RunError: it cannot be written.
        StoreError: the run is damaged, or a token id or a text is none that a table can hold.
    """
    lines = [VerdictLine(**said.to_line(n)) for given in run.verdicts.values() for n, said in given.items()]
    tables: list[tuple[str, pa.Schema, Sequence[BaseModel], Any]] = [
        (ROLLOUTS, ROLLOUT_COLUMNS, run.rollouts, _rollout_row),
        (VERDICTS, VERDICT_COLUMNS, lines, BaseModel.model_dump),
        (READOUTS, READOUT_COLUMNS, list(run.readouts.values()), _readout_row),
    ]
    written = {}
    with new_place(out, sum(path.stat().st_size for path in run.path.glob("*.jsonl"))) as folder:
        folder.mkdir()
        for name, schema, rows, row in tables:
            if not rows and name != ROLLOUTS:
                continue
            with pq.ParquetWriter(folder / name, schema, compression="zstd") as writer:
                for some in _groups(map(row, rows)):
                    try:
                        writer.write_table(pa.Table.from_pylist(some, schema))
                    except (pa.ArrowException, OverflowError, UnicodeError) as error:
                        raise StoreError(f"{run.path}: {name}: {first_line(error)}; record the run again") from None
            written[name] = len(rows)
    return written


def read_tables(folder: Path) -> Tables:
    """What `export_tables` wrote, which may have come from a stranger.

    Raises:
        StoreError: a file is a link, too large, no parquet, or of other columns, or a row does not fit. Names it.
    """
    return Tables(
        [_rollout(row, where) for where, row in _rows(folder / ROLLOUTS, ROLLOUT_COLUMNS)],
        [_model(VerdictLine, row, where) for where, row in _rows(folder / VERDICTS, VERDICT_COLUMNS, optional=True)],
        [_readout(row, where) for where, row in _rows(folder / READOUTS, READOUT_COLUMNS, optional=True)],
    )


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        some.append(row)
        held += sum(map(_size, row.values()))
        if len(some) == ROWS or held > GROUP_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


def _size(value: Any) -> int:
    if isinstance(value, list):
        return NUMBER_BYTES * len(value) + (sum(map(_size, value)) if value and isinstance(value[0], list) else 0)
    return len(value) if isinstance(value, str) else NUMBER_BYTES


def _rollout_row(rollout: Rollout) -> dict[str, Any]:
    row = rollout.model_dump()
    spans = row.pop("spans")
    ends = {f"{span}_{end}": spans[span][i] for span in SPANS for i, end in enumerate(("begin", "stop"))}
    return row | ends | {name: json.dumps(row[name], ensure_ascii=False) for name in JSON_OF_ROLLOUT}


def _readout_row(readout: Readout) -> dict[str, Any]:
    row = readout.model_dump()
    return row | {name: json.dumps(row[name], ensure_ascii=False) for name in JSON_OF_READOUT}


def _rollout(row: dict[str, Any], where: str) -> Rollout:
    spans = {span: (row.pop(f"{span}_begin"), row.pop(f"{span}_stop")) for span in SPANS}
    return _model(Rollout, row | {"spans": spans} | _parsed(row, JSON_OF_ROLLOUT, where), where)


def _readout(row: dict[str, Any], where: str) -> Readout:
    return _model(Readout, row | _parsed(row, JSON_OF_READOUT, where), where)


def _parsed(row: dict[str, Any], names: Sequence[str], where: str) -> dict[str, Any]:
    try:
        return {name: json.loads(row[name]) for name in names}
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: not JSON ({first_line(error)}); export the run again") from None


def _model(kind: type[M], row: dict[str, Any], where: str) -> M:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:200]
        raise StoreError(f"{where}: {place}: {first['msg']}; export the run again") from None


def _rows(path: Path, schema: pa.Schema, *, optional: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with where it stands."""
    if optional and not os.path.lexists(path):
        return
    try:
        with opened(path, "export the run again") as source:
            size = os.fstat(source.fileno()).st_size
            if size > MAX_TABLE_BYTES:
                raise StoreError(f"{path} has more than {MAX_TABLE_BYTES:,} bytes; export the run in parts")
            yield from _checked_rows(path, source, schema, UNSUSPECTED_BYTES + MAX_RATIO * size)
    except pa.ArrowException as error:
        raise StoreError(f"{path} is no parquet table ({first_line(error)}); export the run again") from None


def _checked_rows(
    path: Path, source: BinaryIO, schema: pa.Schema, allowed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    metadata = pq.ParquetFile(source).metadata
    if not metadata.schema.to_arrow_schema().equals(schema):
        raise StoreError(f"{path} has other columns than introspect writes; export the run again")
    for i in range(metadata.num_row_groups):
        if _too_large(metadata.row_group(i), allowed):
            raise StoreError(f"{path}: row group {i} {TOO_LARGE}")
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    number = unpacked = 0
    file = pq.ParquetFile(source, metadata=metadata, read_dictionary=texts)
    groups = range(metadata.num_row_groups)
    # A batch of two groups would have two dictionaries, which pyarrow cannot give as one where texts stand in lists.
    for some in (batch for i in groups for batch in file.iter_batches(BATCH, row_groups=[i])):
        unpacked += len(some) * ROW_BYTES + sum(map(_held, some.columns))
        if unpacked > allowed:
            raise StoreError(f"{path}, row {number + 1} to {number + len(some)}: {TOO_LARGE}")
        for row in some.to_pylist():
            number += 1
            yield f"{path}, row {number}", row


def _too_large(group: pq.RowGroupMetaData, allowed: int) -> bool:
    columns = [group.column(j) for j in range(group.num_columns)]
    stated = max(
        sum(column.total_uncompressed_size for column in columns),
        sum(column.num_values for column in columns) * NUMBER_BYTES,
    )
    return stated > min(allowed, MAX_GROUP_BYTES) or group.num_rows > MAX_GROUP_ROWS


def _held(column: pa.Array) -> int:
    """Bytes that a column comes to when rows are made of it: a text counts as often as it is meant."""
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary)
        return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
    if pa.types.is_list(column.type):
        inner = column.flatten()
        return NUMBER_BYTES * len(inner) + _held(inner)
    return NUMBER_BYTES * len(column)

"""Rollouts, verdicts and readouts as parquet: one file each, with the same columns and types in every run.

What differs from run to run (`options`, `fields`, `facts`, `outcome`; the positions of a readout) is a column of JSON
text, so that no column's type depends on the data. Reading gives back what the run holds: `read_tables`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from ..errors import StoreError
from ..models.boundary import first_line
from ..notebook.folder import RunFolder
from ..readout import Readout
from ..rollout import Rollout
from ..verdicts.line import VerdictLine
from .outputs import new_place

M = TypeVar("M", bound=BaseModel)
ROWS = 1000
"""Of a row group, which is in memory at once."""
MAX_TABLE_BYTES = 8 << 30
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
                for begin in range(0, len(rows), ROWS):
                    some = rows[begin : begin + ROWS]
                    try:
                        writer.write_table(pa.Table.from_pylist([row(each) for each in some], schema))
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
    if optional and not path.is_symlink() and not path.exists():
        return
    try:
        if path.is_symlink() or path.stat().st_size > MAX_TABLE_BYTES:
            raise OSError(0, "a link, or too large")
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema):
                raise StoreError(f"{path} has other columns than introspect writes; export the run again")
            number = 0
            for some in file.iter_batches(batch_size=ROWS):
                for row in some.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except OSError as error:
        raise StoreError(f"cannot read {path} ({first_line(error)}); export the run again") from None
    except pa.ArrowException as error:
        raise StoreError(f"{path} is no parquet table ({first_line(error)}); export the run again") from None

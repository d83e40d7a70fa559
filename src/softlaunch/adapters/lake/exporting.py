"""Answers to queries as files: Parquet, CSV, JSON lines; whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from softlaunch import errors
from softlaunch.adapters.lake import asking, label_views
from softlaunch.adapters.lake import place as places

FORMATS = ("parquet", "csv", "jsonl")
_ROWS = 50_000


def export(
    place: places.Place, sql: str, *, labelled: label_views.Labelled, target: pathlib.Path, file_format: str
) -> int:
    """
    Writes all rows of a query; how many. The file takes its name when it is whole.

    Args:
        place: The table of predictions.
        sql: Over `predictions`, `labels` and `labelled`.
        labelled: The labels.
        target: The file; what is there is replaced.
        file_format: One of FORMATS. In CSV structs become columns (`features.x`), maps and lists JSON.

    Raises:
        ConfigError: there is no log, the query is none, or the file cannot be written.
        UnavailableError: the log cannot be read.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with asking.stream(place, sql, labelled=labelled, rows_at_once=_ROWS) as found:
            try:
                count = _write(found, part, file_format)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except duckdb.Error as error:
        raise asking.no_query(error) from error
    except OSError as error:
        raise errors.ConfigError(
            f"{target} cannot be written: {error.strerror or error}.",
            remedy="Name a file in a folder that exists, is yours and has room.",
            code=errors.Code.BAD_OPTION,
        ) from error
    return count


def _write(found: pa.RecordBatchReader, part: pathlib.Path, file_format: str) -> int:
    count = 0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))
        writer: Any = None
        if file_format == "parquet":
            writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, found.schema, compression="zstd"))
        for batch in found:
            count += batch.num_rows
            if file_format == "jsonl":
                for row in batch.to_pylist(maps_as_pydicts="lossy"):
                    file.write(f"{_json(row)}\n".encode())
                continue
            if file_format == "csv":
                batch = _flat(batch)  # noqa: PLW2901 - what a CSV file can hold of it
                writer = writer or stack.enter_context(pyarrow.csv.CSVWriter(file, batch.schema))
            writer.write_batch(batch)
        if file_format == "csv" and writer is None:
            stack.enter_context(pyarrow.csv.CSVWriter(file, _flat(found.schema.empty_table()).schema))
    return count


def _flat(batch: Any) -> Any:
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table.column(place).to_pylist(maps_as_pydicts="lossy")
            texts = [None if value is None else _json(value) for value in values]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    combined = table.combine_chunks().to_batches()
    return combined[0] if combined else table


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """As JSON has it: a number that is none is null, times and days are ISO 8601."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

"""Rows of tables as the model server takes them, and the file that carries them into another Python."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.core import predictions, release
from softlaunch.ports import tables


def of_table(
    table: tables.Table, inputs: Sequence[release.Column], places: Sequence[int] | None, *, what: str
) -> list[predictions.Row]:
    """
    Rows in the order of `inputs`, None where a value is missing.

    Args:
        places: Which rows, from 0; None: all.
        what: Names the table in errors.

    Raises:
        ConfigError: a column is absent, or holds what its input cannot.
    """
    absent = [column.name for column in inputs if table.column(column.name) is None]
    if absent:
        there = ", ".join(repr(column.name) for column in table.columns)
        raise columns_error(
            f"{what} has no column {', '.join(repr(name) for name in absent)}; it has {there:.400}.",
        )
    columns = []
    for column in inputs:
        found = table.column(column.name)
        assert found is not None
        chosen = slice(None) if places is None else np.asarray(places, dtype=np.int64)
        columns.append(_values(column, found.values[chosen].tolist(), found.missing[chosen].tolist(), what))
    return list(zip(*columns, strict=True))


def write(path: pathlib.Path, inputs: Sequence[release.Column], found: Sequence[predictions.Row]) -> None:
    """Writes rows for adapters.python_env.scripts: arrays of numbers, text as JSON, and which values are missing."""
    arrays: dict[str, Any] = {"column_count": np.array(len(inputs))}
    columns = list(zip(*found, strict=True)) if found else [()] * len(inputs)
    for number, (column, values) in enumerate(zip(inputs, columns, strict=True)):
        missing = np.array([value is None for value in values], dtype=bool)
        arrays[f"missing{number}"] = missing
        if column.datatype is release.Datatype.BYTES:
            text = json.dumps(["" if value is None else value for value in values])
            arrays[f"text{number}"] = np.frombuffer(text.encode(), dtype=np.uint8)
            continue
        dtype = {release.Datatype.BOOL: np.bool_, release.Datatype.INT64: np.int64}.get(column.datatype, np.float64)
        arrays[f"values{number}"] = np.array([0 if value is None else value for value in values], dtype=dtype)
    np.savez(path, **arrays)


def as_json(inputs: Sequence[release.Column], found: Sequence[predictions.Row]) -> bytes:
    """Rows as a client would send them: canonical JSON, null where a value is missing."""
    names = [column.name for column in inputs]
    documents = [dict(zip(names, row, strict=True)) for row in found]
    text = json.dumps(documents, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="surrogatepass") + b"\n"


def columns_error(message: str) -> errors.ConfigError:
    """A table's columns are not what the model needs."""
    return errors.ConfigError(
        message,
        remedy="Give the table the model's columns, or choose among them with `model.features` in softlaunch.yaml.",
        code=errors.Code.TABLE_COLUMNS,
    )


def _values(column: release.Column, values: list[Any], missing: list[bool], what: str) -> list[Any]:
    taken = predictions.TAKEN[column.datatype]
    result: list[Any] = []
    for number, (value, absent) in enumerate(zip(values, missing, strict=True)):
        if absent:
            result.append(None)
            continue
        plain = bool(value) if column.datatype is release.Datatype.BOOL and value in (0, 1) else value
        if isinstance(plain, bool) and column.datatype in (release.Datatype.INT64, release.Datatype.FP64):
            plain = int(plain)
        accepted = taken(plain)
        if accepted is None and isinstance(plain, float) and math.isinf(plain):
            result.append(None)  # no client can send one
            continue
        if accepted is None:
            raise columns_error(
                f"{what} holds {predictions.shown(value)} in {column.name!r}, row {number}, which is {column.datatype}."
            )
        result.append(accepted)
    return result

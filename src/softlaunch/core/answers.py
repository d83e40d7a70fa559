"""
What may leave the server: a model's answer against the signature's outputs.

An answer that is missing, of another type, NaN, infinite or out of bounds is *invalid*: a fault of the release, found
before a user sees it. Only the rows concerned are invalid; their neighbours in the batch are answered.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import predictions, release

BOUND_TOLERANCE = 1e-6
"""A float32 softmax sums to 1 within a few 1e-7; an answer this far outside its bounds is rounding, not nonsense."""

_FEW = 128
"""Up to so many values Python's own loops are faster than NumPy's calls."""

_KINDS: Mapping[release.Datatype, str] = {
    release.Datatype.BOOL: "b",
    release.Datatype.INT64: "iu",
    release.Datatype.FP32: "fiu",
    release.Datatype.FP64: "fiu",
    release.Datatype.BYTES: "U",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InvalidRow:
    """Why a row of an answer may not leave the server."""

    row: int
    output: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedAnswer:
    columns: Mapping[str, list[Any]]
    """Plain Python values by output name; unspecified in rows that are invalid."""
    invalid: Mapping[int, InvalidRow]
    """By row; empty for a good answer."""
    shapeless: bool = False
    """An output is missing or has another number of rows: no row can be trusted, and no row can be blamed."""


def check(outputs: Sequence[release.Column], answer: Mapping[str, Any], row_count: int) -> CheckedAnswer:
    """
    The model's answer as plain values, and which of its rows must not leave the server.

    Args:
        outputs: What the signature promises.
        answer: Arrays or sequences by output name, each of shape [N] or [N, 1]; further names are ignored.
        row_count: N.
    """
    columns: dict[str, list[Any]] = {}
    invalid: dict[int, InvalidRow] = {}
    for column in outputs:
        values = answer.get(column.name)
        if values is None:
            return _shapeless(column, row_count, f"Output {column.name!r} is missing from the model's answer.")
        if isinstance(values, np.ndarray):
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            if values.ndim != 1:
                shape = list(values.shape)
                return _shapeless(column, row_count, f"Output {column.name!r} has shape {shape}, not [{row_count}].")
        elif not isinstance(values, Sequence) or isinstance(values, str | bytes):
            said = f"Output {column.name!r} is {predictions.shown(values)}, not a sequence of {row_count}."
            return _shapeless(column, row_count, said)
        if len(values) != row_count:
            said = f"Output {column.name!r} has {len(values)} rows where {row_count} were asked."
            return _shapeless(column, row_count, said)
        plain = _good_values(column, values) if isinstance(values, np.ndarray) else None
        columns[column.name] = _checked_values(column, values, invalid) if plain is None else plain
    return CheckedAnswer(columns=columns, invalid=invalid)


def _good_values(column: release.Column, values: np.ndarray[Any, Any]) -> list[Any] | None:
    """The array as plain values if all of it can leave as it is; None means look closer."""
    kind = values.dtype.kind
    if kind not in _KINDS[column.datatype]:
        return None
    plain: list[Any] = values.tolist()
    if not plain or kind in ("b", "U"):
        return plain
    low, high = column.minimum, column.maximum
    if len(plain) <= _FEW:
        if kind == "f" and not math.isfinite(sum(plain)):
            return None
        least, most = min(plain), max(plain)
    else:
        if kind == "f" and not np.isfinite(values).all():
            return None
        least, most = values.min(), values.max()
    return None if (low is not None and least < low) or (high is not None and most > high) else plain


def _checked_values(column: release.Column, values: Any, invalid: dict[int, InvalidRow]) -> list[Any]:
    checked: list[Any] = []
    for row, raw in enumerate(values):
        value = raw.item() if isinstance(raw, np.generic) else raw
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        taken = predictions.TAKEN[column.datatype](value)
        absent = column.nullable and (value is None or (isinstance(value, float) and math.isnan(value)))
        if taken is None and not absent:
            allowed = predictions.ALLOWED[column.datatype]
            said = f"Output {column.name!r} of row {row} is {predictions.shown(value)}, not {allowed}."
            invalid.setdefault(row, InvalidRow(row=row, output=column.name, message=said))
        elif taken is not None and not _within(column, taken):
            bounds = f"{column.minimum} to {column.maximum}"
            said = f"Output {column.name!r} of row {row} is {predictions.shown(value)}, outside of {bounds}."
            invalid.setdefault(row, InvalidRow(row=row, output=column.name, message=said))
        checked.append(taken)
    return checked


def _within(column: release.Column, value: Any) -> bool:
    if isinstance(value, str):
        return True
    low, high = column.minimum, column.maximum
    return (low is None or value >= low - BOUND_TOLERANCE * max(1.0, abs(low))) and (
        high is None or value <= high + BOUND_TOLERANCE * max(1.0, abs(high))
    )


def _shapeless(column: release.Column, row_count: int, message: str) -> CheckedAnswer:
    return CheckedAnswer(
        columns={},
        invalid={row: InvalidRow(row=row, output=column.name, message=message) for row in range(row_count)},
        shapeless=True,
    )

"""
Does a compiled model answer like its original? Rows to ask both, and the comparison of their answers.

Besides ordinary rows of the reference: each value that may be missing, numbers far outside of what was seen,
categories never seen, and numbers on and beside the points where the original's answer jumps. A compiled model computes
in float32, so a number and its neighbour in float64 are one to it: at a jump both sides are asked one float32 step
away, and the jump itself as a client would write it: as it is where the reference holds decimals, and as the nearest
float32 where the reference holds nothing but float32 numbers. Between a jump and its float32 the two may differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from softlaunch.core import predictions, release

TOLERANCE = 1e-4
"""Of probabilities, absolute; of other numbers, relative to the answer or to the mean size of ordinary answers."""
BASE_ROW_COUNT = 8
"""A guess: each constructed value is tried in this many ordinary rows."""
FAR = 1e12
"""A guess: beyond any quantity people write down, and its square still fits float32."""
SPANS = (1.0, 1_000.0)
"""How far outside of the reference's range, in widths of that range."""
UNSEEN = ("softlaunch-unseen", "", " ", "\u00e9\u4e2d\U0001f600", "0")
"""Text that no reference holds, with what trips encoders: emptiness, blanks, characters of two to four bytes."""

_SHOWN_MAX = 12
"""Features of a row that a message names; a guess."""

Row: TypeAlias = predictions.Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    row: Row
    what: str
    """Names the row for people: "reference row 17", "reference row 4 with carrier = null"."""
    made: bool = False
    """Constructed; else a row of the reference."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    columns: Mapping[str, Sequence[Any]]
    """By output; None in rows that failed."""
    failed: Mapping[int, str]
    """Row to reason: it raised, or the answer would never have left the server."""


def ordinary(rows: Sequence[Row], numbers: Sequence[int]) -> list[Case]:
    """The reference rows themselves; `numbers` are their places in the file, from 0."""
    return [Case(row=row, what=f"reference row {number}") for row, number in zip(rows, numbers, strict=True)]


def constructed(
    inputs: Sequence[release.Column], cases: Sequence[Case], points: Mapping[int, Sequence[float]]
) -> list[Case]:
    """
    Rows made from some of `cases`.

    Args:
        points: By position of a number among the inputs: where the original's answer jumps.
    """
    bases = spaced(cases, BASE_ROW_COUNT)
    made: list[Case] = []
    for position, column in enumerate(inputs):
        values: list[Any] = [None] if column.nullable else []
        seen = [case.row[position] for case in cases if case.row[position] is not None]
        values += _unusual(column.datatype, seen)
        for base in bases:
            made += [_changed(base, position, column, value) for value in values]
        ties = [
            value
            for point in points.get(position, ())
            for value in _around(column.datatype, point, narrow=is_float32(seen))
        ]
        made += [_changed(bases[number % len(bases)], position, column, value) for number, value in enumerate(ties)]
    nullable = [position for position, column in enumerate(inputs) if column.nullable]
    if len(nullable) > 1:
        made += [
            Case(
                row=tuple(None if position in nullable else value for position, value in enumerate(base.row)),
                what=f"{base.what} with everything missing that may be",
                made=True,
            )
            for base in bases
        ]
    return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    row_count: int
    disagreement: str | None
    """The first row on which the two differ, with both answers, as a clause; None when they agree on all."""
    largest: float
    """Largest absolute difference of a number, among rows that both answer."""
    largest_where: str
    """The output and the row of the largest difference; empty when no number was compared."""


def compare(
    inputs: Sequence[release.Column],
    outputs: Sequence[release.Column],
    cases: Sequence[Case],
    original: Answered,
    compiled: Answered,
) -> Compared:
    """How the two answered the rows of `cases`."""
    scales = {column.name: _scale(column, cases, original) for column in outputs}
    first: str | None = None
    largest, where = 0.0, ""
    for number, case in enumerate(cases):
        if number in original.failed or number in compiled.failed:
            found = _of_failures(number, case, original, compiled)
        else:
            found = None
            for column in outputs:
                left, right = original.columns[column.name][number], compiled.columns[column.name][number]
                if not _same(column, left, right, scales[column.name]):
                    found = found or f"on {case.what} its {column.name} is {_shown(right)} instead of {_shown(left)}"
                if isinstance(left, float) and isinstance(right, float) and (not where or abs(left - right) > largest):
                    largest, where = abs(left - right), f"{column.name} on {case.what}"
        if found is not None and first is None:
            first = f"{found}; the row is {_row(inputs, case)}"
    return Compared(row_count=len(cases), disagreement=first, largest=largest, largest_where=where)


def _of_failures(number: int, case: Case, original: Answered, compiled: Answered) -> str | None:
    if number in original.failed and number in compiled.failed:
        return None  # both answers are kept from the user
    if number in original.failed:
        return f"on {case.what} it answers, and the original does not: {original.failed[number]}"
    return f"on {case.what} the original answers, and it does not: {compiled.failed[number]}"


def _row(inputs: Sequence[release.Column], case: Case) -> str:
    pairs = [f"{column.name}: {predictions.shown(value)}" for column, value in zip(inputs, case.row, strict=True)]
    rest = len(pairs) - _SHOWN_MAX
    return "{" + ", ".join(pairs[:_SHOWN_MAX]) + (f", and {rest} more" if rest > 0 else "") + "}"


def is_float32(values: Sequence[Any]) -> bool:
    """Whether a column's numbers are float32 numbers, so that none is lost when a compiled model takes them."""
    found = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        return bool((found.astype(np.float32).astype(np.float64) == found).all())


def spaced(found: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly spaced, the first and last among them."""
    return [found[place] for place in spaced_places(len(found), count)]


def spaced_places(length: int, count: int) -> list[int]:
    """Places of `spaced`."""
    if length <= count:
        return list(range(length))
    return [place * (length - 1) // (count - 1) for place in range(count)]


def _unusual(datatype: release.Datatype, seen: Sequence[Any]) -> list[Any]:
    if datatype is release.Datatype.BOOL:
        return [True, False]
    if datatype is release.Datatype.BYTES:
        known = seen[0] if seen else "a"
        return [*UNSEEN, f"{known} ", known.swapcase() + "x", known * 40]
    low, high = (min(seen), max(seen)) if seen else (0, 1)
    span = max(high - low, 1)
    found = (
        [low - span * each for each in SPANS] + [high + span * each for each in SPANS] + [low, high, 0, -1, FAR, -FAR]
    )
    if datatype is release.Datatype.INT64:
        return [int(max(predictions.INT64_MIN, min(predictions.INT64_MAX, each))) for each in found]
    return [max(-predictions.FLOAT32_MAX, min(predictions.FLOAT32_MAX, float(each))) for each in found]


def _around(datatype: release.Datatype, point: float, *, narrow: bool) -> list[Any]:
    if datatype is release.Datatype.INT64:
        return [math.floor(point), math.floor(point) + 1]
    nearest = np.float32(point)
    beside = [np.nextafter(nearest, np.float32(side)) for side in (-np.inf, np.inf)]
    return [float(nearest) if narrow else point, *(float(each) for each in beside if np.isfinite(each))]


def _changed(base: Case, position: int, column: release.Column, value: Any) -> Case:
    return Case(
        row=(*base.row[:position], value, *base.row[position + 1 :]),
        what=f"{base.what} with {column.name} = {predictions.shown(value)}",
        made=True,
    )


def _scale(column: release.Column, cases: Sequence[Case], original: Answered) -> float:
    """What a difference of a number is measured by: the width of its bounds, else the mean size of ordinary answers."""
    if column.minimum is not None and column.maximum is not None:
        return column.maximum - column.minimum
    known = zip(cases, original.columns[column.name], strict=True)
    sizes = [abs(value) for case, value in known if not case.made and isinstance(value, int | float)]
    return float(np.mean(sizes)) if sizes else 1.0


def _same(column: release.Column, left: Any, right: Any, scale: float) -> bool:
    numeric = column.datatype in (release.Datatype.FP32, release.Datatype.FP64)
    if not numeric or left is None or right is None:
        return bool(left == right)
    bounded = column.minimum is not None and column.maximum is not None
    return bool(abs(left - right) <= TOLERANCE * (scale if bounded else max(scale, abs(left))))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else predictions.shown(value)

"""
Batches that the lake refuses because of a value: they would be refused at every try, and hold up all that comes after.

Readers let through only what fits. Should one be wrong about a value, its row pays: the value becomes null, `unread`
says so, and the rest of the batch is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from softlaunch.controller.prediction_log import decoding
from softlaunch.core.prediction_log import schema
from softlaunch.ports import lake as lakes

REFUSALS = (ValueError, TypeError, OverflowError)
"""What Arrow raises for a value (its own errors are kinds of these)."""
_INT_BITS = 63
_UNREAD = next(place for place, field in enumerate(schema.ENVELOPE) if field.name == "unread")
_NEEDED = frozenset(
    {"id", "request_id", "row", "row_count", "release", "instance", "answer_number", "environment", "time"}
)
_SMALL_TYPES: dict[schema.Kind, tuple[type, ...]] = {
    schema.Kind.BOOL: (bool,),
    schema.Kind.FLOAT: (float, int),
    schema.Kind.DOUBLE: (float, int),
    schema.Kind.RAW: (bytes,),
}


def remedies(blocks: Sequence[lakes.Block]) -> Iterator[tuple[list[lakes.Block], int]]:
    """The blocks without what does not fit, then without all they can be without; and how many rows that changes."""
    yield _made([(block, _mended(block)) for block in blocks])
    yield _made([(block, _bare(block)) for block in blocks])


def fits(kind: schema.Kind, value: Any) -> bool:
    """The lake can hold the value in a field of that kind."""
    if value is None:
        return True
    if kind in {schema.Kind.INT, schema.Kind.TIME}:
        return isinstance(value, int) and -(1 << _INT_BITS) <= value < 1 << _INT_BITS
    if kind is schema.Kind.TEXT:
        return isinstance(value, str) and _is_unicode(value)
    if kind is schema.Kind.TEXT_MAP:
        return isinstance(value, list) and all(fits(schema.Kind.TEXT, each) for pair in value for each in pair)
    if kind in {schema.Kind.FLOAT, schema.Kind.DOUBLE} and isinstance(value, int):
        return abs(value) < 1 << _INT_BITS
    return isinstance(value, _SMALL_TYPES[kind])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Rows = Sequence[lakes.Values | None]


def _mended(block: lakes.Block) -> tuple[Rows, Rows, Rows]:
    return tuple(  # type: ignore[return-value]  # three of them
        [None if row is None else _row(fields, row) for row in rows]
        for fields, rows in (
            (schema.ENVELOPE, block.rows),
            (block.feature_fields, block.features),
            (block.answer_fields, block.answers),
        )
    )


def _row(fields: Sequence[schema.Field], row: lakes.Values) -> lakes.Values:
    return tuple(value if fits(field.kind, value) else None for field, value in zip(fields, row, strict=True))


def _bare(block: lakes.Block) -> tuple[Rows, Rows, Rows]:
    rows = [
        tuple(
            value if field.name in _NEEDED and fits(field.kind, value) else None
            for field, value in zip(schema.ENVELOPE, row, strict=True)
        )
        for row in block.rows
    ]
    return rows, [None] * len(rows), [None] * len(rows)


def _made(pairs: Sequence[tuple[lakes.Block, tuple[Rows, Rows, Rows]]]) -> tuple[list[lakes.Block], int]:
    found, count = [], 0
    for block, (rows, features, answers) in pairs:
        marked: list[lakes.Values] = []
        for before, row, *pair in zip(
            zip(block.rows, block.features, block.answers, strict=True), rows, features, answers, strict=True
        ):
            assert row is not None
            changed = (row, *pair) != before
            count += changed
            marked.append((*row[:_UNREAD], decoding.Unread.VALUE.value, *row[_UNREAD + 1 :]) if changed else row)
        found.append(
            lakes.Block(
                rows=marked,
                feature_fields=block.feature_fields,
                features=features,
                answer_fields=block.answer_fields,
                answers=answers,
            )
        )
    return found, count

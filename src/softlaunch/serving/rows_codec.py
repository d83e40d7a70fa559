"""
JSON rows to checked rows, and answers to JSON: the bodies of POST /predict.

Two readers, one meaning. The fast one is a msgspec type generated from the signature; whatever it refuses is read again
by the slow one, which is plain Python, decides alone what is an error, and names row and column. So the fast one may
refuse too much, but never accept what the slow one would not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from softlaunch.core import predictions, release
from softlaunch.serving import batching

_ROWS = "rows"
_ROWS_PREFIX = b'{"rows":'

_INT64 = Annotated[int, msgspec.Meta(ge=predictions.INT64_MIN, le=predictions.INT64_MAX)]
_FP32 = Annotated[float, msgspec.Meta(ge=-predictions.FLOAT32_MAX, le=predictions.FLOAT32_MAX)]
_TYPES: Mapping[release.Datatype, Any] = {
    release.Datatype.BOOL: bool,
    release.Datatype.INT64: _INT64,
    release.Datatype.FP32: _FP32,
    release.Datatype.FP64: float,
    release.Datatype.BYTES: str,
}


_OUTLINE_STRANGE = re.compile(r"[^A-Za-z0-9_.+-]")
_OUTLINE_CHARS_MAX = 64
_CLASSES_MAX = 1_000
"""Outlines kept; a text output with more values than this is no class, and each is made anew."""


class RowsRequest(NamedTuple):
    """A NamedTuple, not a dataclass: one is built for every request."""

    rows: list[predictions.Row]
    bare: bool
    """One row object without a list around it; answered without one too."""
    keys: Mapping[str, list[Any]] | None = None
    """Business keys by name, one value a row; None when no row has any."""


class RowsCodec:
    """
    Args:
        signature: What rows are checked against.
        version: DIGEST12.
        keys: Business keys: members of a row beside its features, or of the envelope for all rows. One that is a
            feature, too, is a feature.
    """

    def __init__(self, signature: release.Signature, version: str, *, keys: Sequence[str] = ()) -> None:
        self._signature = signature
        names = [column.name for column in signature.inputs]
        self._width = len(names)
        self._keys = tuple(name for name in dict.fromkeys(keys) if name not in names and name != _ROWS)
        self._has_rows_feature = _ROWS in names
        row_type = _row_type(signature, self._keys)
        fields = [(_ROWS, list[row_type]), *_key_fields(self._keys)]  # type: ignore[valid-type]
        envelope_type: Any = msgspec.defstruct(
            "Envelope", fields, rename=_key_rename(self._keys), kw_only=True, forbid_unknown_fields=True
        )
        self._row = msgspec.json.Decoder(row_type)
        self._list = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        self._envelope = msgspec.json.Decoder(envelope_type)
        self._encode = msgspec.json.Encoder().encode
        self._end = b',"release":' + self._encode(version) + b"}"
        self._first = signature.outputs[0]
        self._first_is_class = self._first.datatype in (release.Datatype.BOOL, release.Datatype.BYTES) or (
            self._first.datatype is release.Datatype.INT64 and self._first.name == predictions.LABEL
        )
        self._classes: dict[Any, str] = {}

    def decode(self, body: bytes) -> RowsRequest:
        """
        The rows of a body: {"rows": [...]}, a list of rows, or one row.

        Raises:
            MalformedError: not JSON, or none of the three forms.
            RowError: a row the signature does not allow, a key that is no plain value, or no rows.
        """
        as_row = msgspec.structs.astuple
        common: tuple[Any, ...] = ()
        try:
            if body.startswith(_ROWS_PREFIX) and not self._has_rows_feature:
                envelope = self._envelope.decode(body)
                found = envelope.rows
                common = as_row(envelope)[1:]
            elif body.startswith(b"["):
                found = self._list.decode(body)
            else:
                row = as_row(self._row.decode(body))
                if not self._keys:
                    return RowsRequest([row], bare=True)
                return RowsRequest([row[: self._width]], bare=True, keys=self._kept([row[self._width :]], ()))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._decode_slowly(body)
        if not found:
            return self._decode_slowly(body)
        rows = [as_row(row) for row in found]
        if not self._keys:
            return RowsRequest(rows, bare=False)
        width = self._width
        keys = self._kept([row[width:] for row in rows], common)
        return RowsRequest([row[:width] for row in rows], bare=False, keys=keys)

    def _kept(self, by_row: Sequence[Sequence[Any]], common: Sequence[Any]) -> Mapping[str, list[Any]] | None:
        """Key values by name; a row's own come before the envelope's."""
        kept = {}
        for name, column, one in zip(
            self._keys, zip(*by_row, strict=True), common or [None] * len(self._keys), strict=True
        ):
            values = [one if value is None else value for value in column]
            if any(value is not None for value in values):
                kept[name] = values
        return kept or None

    def encode(self, request: RowsRequest, answered: batching.Answered) -> bytes:
        """{"predictions": [...], "release": ...}, or {"prediction": {...}, ...} for a bare row."""
        names = answered.columns.keys()
        if answered.stop - answered.start == 1:
            start = answered.start
            rows = [{name: values[start] for name, values in answered.columns.items()}]
        else:
            cut = [values[answered.start : answered.stop] for values in answered.columns.values()]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*cut, strict=True)]
        if request.bare:
            return b'{"prediction":' + self._encode(rows[0]) + self._end
        return b'{"predictions":' + self._encode(rows) + self._end

    def outline(self, answered: batching.Answered) -> str:
        """
        The first output of the first row in short: `n:` and the number, or `c:` and the class; empty when it is null.

        Texts, booleans and a whole number called `label` are classes.
        """
        value = answered.columns[self._first.name][answered.start]
        if value is None:
            return ""
        if not self._first_is_class:
            return f"n:{value:.4g}"
        found = self._classes.get(value)
        if found is None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found = f"c:{_OUTLINE_STRANGE.sub('_', text[:_OUTLINE_CHARS_MAX])}"
            if len(self._classes) < _CLASSES_MAX:
                self._classes[value] = found
        return found

    def _decode_slowly(self, body: bytes) -> RowsRequest:
        document = read_json(body)
        bare = False
        common: tuple[Any, ...] = ()
        if isinstance(document, list):
            rows = document
        elif isinstance(document, dict) and isinstance(document.get(_ROWS), list):
            rows = document[_ROWS]
            odd = next((key for key in document if key != _ROWS and key not in self._keys), None)
            if odd is not None:
                raise predictions.MalformedError(
                    f"The body has {odd!r:.100} beside 'rows'.",
                    remedy='Send {"rows": [...]} and at most business keys (capture.keys) beside it.',
                )
            common = self._key_values(document, None)
        elif isinstance(document, dict):
            rows, bare = [document], True
        else:
            raise predictions.MalformedError(
                f"The body is {predictions.shown(document)}, not rows.",
                remedy='Send {"rows": [{...}, ...]}, a list of rows, or one row, by feature name.',
            )
        if not self._keys:
            return RowsRequest(predictions.check_rows(self._signature, rows), bare=bare)
        by_row = [self._key_values(row, number) for number, row in enumerate(rows)]
        stripped = [
            {name: value for name, value in row.items() if name not in self._keys} if isinstance(row, dict) else row
            for row in rows
        ]
        checked = predictions.check_rows(self._signature, stripped)
        return RowsRequest(checked, bare=bare, keys=self._kept(by_row, common))

    def _key_values(self, found: Any, row: int | None) -> tuple[Any, ...]:
        if not isinstance(found, dict):
            return (None,) * len(self._keys)
        values = tuple(found.get(name) for name in self._keys)
        for name, value in zip(self._keys, values, strict=True):
            odd = isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value))
            if odd or (isinstance(value, int) and not predictions.INT64_MIN <= value <= predictions.INT64_MAX):
                where = "The body" if row is None else f"Row {row}"
                raise predictions.RowError(
                    f"{where}, key {name!r}: {predictions.shown(value)} is not allowed.",
                    remedy="Send a text, a number, true, false or null as a business key.",
                    row=row,
                    column=name,
                )
        return values


def read_json(body: bytes) -> Any:
    """
    Any JSON document; NaN and Infinity are let through, for the checks to name where they are.

    Raises:
        MalformedError: not UTF-8, not JSON, nested too deeply.
    """
    try:
        return json.loads(body.decode())
    except RecursionError as error:
        raise predictions.MalformedError(
            "The body is nested too deeply.",
            remedy="Send rows: objects of plain values.",
        ) from error
    except ValueError as error:  # also UnicodeDecodeError, and a number of thousands of digits
        raise predictions.MalformedError(
            f"The body is not JSON: {str(error)[:200]}.",
            remedy="Send one JSON document in UTF-8.",
        ) from error


def _row_type(signature: release.Signature, keys: Sequence[str]) -> Any:
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for number, column in enumerate(signature.inputs):
        name = f"f{number}"
        rename[name] = column.name
        kind = _TYPES[column.datatype]
        fields.append((name, kind | None, None) if column.nullable else (name, kind))
    return msgspec.defstruct(
        "Row",
        [*fields, *_key_fields(keys)],
        rename={**rename, **_key_rename(keys)},
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )


def _key_fields(keys: Sequence[str]) -> list[Any]:
    return [(f"k{number}", bool | _INT64 | float | str | None, None) for number, _ in enumerate(keys)]


def _key_rename(keys: Sequence[str]) -> dict[str, str]:
    return {f"k{number}": name for number, name in enumerate(keys)}

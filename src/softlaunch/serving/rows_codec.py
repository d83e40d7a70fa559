"""
JSON rows to checked rows, and answers to JSON: the bodies of POST /predict.

Two readers, one meaning. The fast one is a msgspec type generated from the signature; whatever it refuses is read again
by the slow one, which is plain Python, decides alone what is an error, and names row and column. So the fast one may
refuse too much, but never accept what the slow one would not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from softlaunch.core import predictions, release
from softlaunch.serving import batching

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


class RowsCodec:
    def __init__(self, signature: release.Signature, version: str) -> None:
        self._signature = signature
        self._version = version
        self._has_rows_feature = any(column.name == "rows" for column in signature.inputs)
        row_type = _row_type(signature)
        envelope_type: Any = msgspec.defstruct("Envelope", [("rows", list[row_type])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._row = msgspec.json.Decoder(row_type)
        self._list = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        self._envelope = msgspec.json.Decoder(envelope_type)
        self._encode = msgspec.json.Encoder().encode
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
            RowError: a row the signature does not allow, or no rows.
        """
        as_row = msgspec.structs.astuple
        try:
            if body.startswith(_ROWS_PREFIX) and not self._has_rows_feature:
                found = self._envelope.decode(body).rows
            elif body.startswith(b"["):
                found = self._list.decode(body)
            else:
                return RowsRequest([as_row(self._row.decode(body))], bare=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._decode_slowly(body)
        if not found:
            return self._decode_slowly(body)
        return RowsRequest([as_row(row) for row in found], bare=False)

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
            return self._encode({"prediction": rows[0], "release": self._version})
        return self._encode({"predictions": rows, "release": self._version})

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
        if isinstance(document, list):
            rows = document
        elif isinstance(document, dict) and isinstance(document.get("rows"), list):
            rows = document["rows"]
            if len(document) > 1:
                odd = next(key for key in document if key != "rows")
                raise predictions.MalformedError(
                    f"The body has {odd!r:.100} beside 'rows'.",
                    remedy='Send {"rows": [...]} alone.',
                )
        elif isinstance(document, dict):
            rows, bare = [document], True
        else:
            raise predictions.MalformedError(
                f"The body is {predictions.shown(document)}, not rows.",
                remedy='Send {"rows": [{...}, ...]}, a list of rows, or one row, by feature name.',
            )
        return RowsRequest(predictions.check_rows(self._signature, rows), bare=bare)


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


def _row_type(signature: release.Signature) -> Any:
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for number, column in enumerate(signature.inputs):
        name = f"f{number}"
        rename[name] = column.name
        kind = _TYPES[column.datatype]
        fields.append((name, kind | None, None) if column.nullable else (name, kind))
    return msgspec.defstruct("Row", fields, rename=rename, kw_only=True, forbid_unknown_fields=True, gc=False)

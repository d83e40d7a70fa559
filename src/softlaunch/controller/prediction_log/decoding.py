"""
Recorded requests and answers as rows of values, by the signature of the release that answered.

The usual form (POST /predict) is read by a type generated from the signature, in a microsecond. What that refuses is
read again value by value: a value that does not fit is null, and its neighbours stay. So a redacted feature, whose
digest is no number, costs itself alone.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from softlaunch import errors
from softlaunch.core import oip, oip_recorded, predictions, release

_ROWS = b'{"rows":'
_ONE, _MANY = b'{"prediction":', b'{"predictions":'
_OIP = "/v2/"
_REFUSED = 400

_TYPES: dict[release.Datatype, Any] = {
    release.Datatype.BOOL: bool,
    # Bounded: a client may have sent any number, and one that no column holds must not stop the log.
    release.Datatype.INT64: Annotated[int, msgspec.Meta(ge=predictions.INT64_MIN, le=predictions.INT64_MAX)],
    release.Datatype.FP32: float,
    release.Datatype.FP64: float,
    release.Datatype.BYTES: str,
}
Values = tuple[Any, ...]


class Unread(enum.StrEnum):
    """Why a row stands in the log without its features or its answer."""

    CUT = "cut"
    """The model server did not record the bodies: too large, or not to be redacted."""
    REQUEST = "request"
    """The request is none that the signature knows; it was refused then, or is in a form that is not read here."""
    ANSWER = "answer"
    """It was answered with a good status, and the answer cannot be read."""
    RELEASE = "release"
    """The release is not in the registry any more, so nobody knows its signature."""
    VALUE = "value"
    """A value was refused by the table; it is null, its neighbours are as they were."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    features: Sequence[Values | None]
    """One a row."""
    answers: Sequence[Values | None]
    unread: str | None


class Reader:
    """
    Args:
        signature: Of the release.
    """

    def __init__(self, signature: release.Signature) -> None:
        self._inputs, self._outputs = signature.inputs, signature.outputs
        self._signature = signature
        self._input_place = {column.name: place for place, column in enumerate(signature.inputs)}
        row, answer = _type("Row", signature.inputs), _type("Answer", signature.outputs)
        self._row = msgspec.json.Decoder(row)
        self._rows = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        envelope: Any = msgspec.defstruct("Rows", [("rows", list[row])])  # type: ignore[valid-type]
        one: Any = msgspec.defstruct("One", [("prediction", answer)])
        many: Any = msgspec.defstruct("Many", [("predictions", list[answer])])  # type: ignore[valid-type]
        self._envelope, self._one, self._many = map(msgspec.json.Decoder, (envelope, one, many))

    def read(  # noqa: PLR0917 - called for every record
        self, path: str, request: bytes, answer: bytes, status: int, row_count: int, features: Any, keys: Any
    ) -> Read:
        """
        Rows of one record; as many as `row_count`, and at least one.

        Args:
            path: Of the request.
            request: Its body; empty when it was not recorded.
            answer: Likewise.
            status: Of the answer.
            row_count: As recorded.
            features: Looked-up features by name, for each row (value, how).
            keys: Business keys of the request, which are no features.
        """
        count = max(1, row_count)
        if not request:
            unknown: list[Values | None] = [None] * count
            return Read(features=unknown, answers=unknown, unread=Unread.CUT)
        is_oip = path.startswith(_OIP)
        found = self._of_oip(request, keys or ()) if is_oip else self._of_rows(request)
        unread: str | None = None
        if found is None or len(found) != count:
            found, unread = [None] * count, Unread.REQUEST
        elif features:
            found = self._with_lookups(found, features)
        answers: Sequence[Values | None] | None = [None] * count
        if status < _REFUSED:
            answers = self._oip_answers(answer) if is_oip else self._answers(answer)
            if answers is None or len(answers) != count:
                answers, unread = [None] * count, unread or Unread.ANSWER
        assert answers is not None
        return Read(features=found, answers=answers, unread=unread)

    def _of_rows(self, body: bytes) -> Sequence[Values | None] | None:
        as_row = msgspec.structs.astuple
        try:
            if body.startswith(_ROWS):
                return [as_row(row) for row in self._envelope.decode(body).rows]
            if body.startswith(b"["):
                return [as_row(row) for row in self._rows.decode(body)]
            if b'"rows"' not in body:
                return [as_row(self._row.decode(body))]
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
        found = _json(body)
        if isinstance(found, dict):
            found = found["rows"] if isinstance(found.get("rows"), list) else [found]
        if not isinstance(found, list):
            return None
        return [_taken(self._inputs, row) if isinstance(row, dict) else None for row in found]

    def _of_oip(self, body: bytes, keys: Any) -> Sequence[Values | None] | None:
        end = oip_recorded.document_bytes(body)
        if end is None:
            return None  # protobuf: its answer is read, its request is not
        try:
            return oip.parse_request(_json(body[:end]), self._signature, binary=body[end:], keys=tuple(keys)).rows
        except errors.ConfigError:
            return None

    def _with_lookups(self, rows: Sequence[Values | None], features: Any) -> Sequence[Values | None]:
        """What the client sent wins, as it did when the request was served."""
        found = []
        for number, row in enumerate(rows):
            values = list(row) if row is not None else [None] * len(self._inputs)
            for name, column in features.items():
                place = self._input_place.get(name)
                if place is not None and values[place] is None and number < len(column):
                    values[place] = predictions.TAKEN[self._inputs[place].datatype](_served(column[number]))
            found.append(tuple(values))
        return found

    def _answers(self, body: bytes) -> Sequence[Values | None] | None:
        as_row = msgspec.structs.astuple
        try:
            if body.startswith(_ONE):
                return [as_row(self._one.decode(body).prediction)]
            if body.startswith(_MANY):
                return [as_row(row) for row in self._many.decode(body).predictions]
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
        return None

    def _oip_answers(self, body: bytes) -> Sequence[Values | None] | None:
        found = _json(body)
        columns: dict[str, list[Any]] | None = None
        if isinstance(found, dict) and isinstance(found.get("outputs"), list):
            columns = {
                str(each.get("name")): each["data"]
                for each in found["outputs"]
                if isinstance(each, dict) and isinstance(each.get("data"), list)
            }
        columns = columns or oip_recorded.answer_columns(body)
        if not columns:
            return None
        counts = {len(values) for values in columns.values()}
        if len(counts) != 1:
            return None
        names = list(columns)
        return [
            _taken(self._outputs, dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
        ]


def _type(name: str, columns: Sequence[release.Column]) -> Any:
    fields: list[Any] = [(f"f{place}", _TYPES[column.datatype] | None, None) for place, column in enumerate(columns)]
    rename = {f"f{place}": column.name for place, column in enumerate(columns)}
    return msgspec.defstruct(name, fields, rename=rename, gc=False)


def _taken(columns: Sequence[release.Column], row: dict[str, Any]) -> Values:
    return tuple(predictions.TAKEN[column.datatype](row.get(column.name)) for column in columns)


def _served(found: Any) -> Any:
    return found[0] if isinstance(found, list | tuple) and found else found


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def key_texts(keys: Mapping[str, Sequence[Any]], row: int) -> list[tuple[str, str | None]]:
    """Business keys of a row; a table's map has values of one type, so what is no text stands as JSON."""
    found = []
    for name, column in keys.items():
        value = column[row] if row < len(column) else None
        found.append((name, value if value is None or isinstance(value, str) else json.dumps(value)))
    return found

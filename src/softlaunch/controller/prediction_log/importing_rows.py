"""What importers make of foreign lines: rows, or a reason; and the bodies that several formats share."""

from __future__ import annotations

import base64
import binascii
import csv
import dataclasses
import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors

_EARLIEST = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).timestamp()
_AHEAD_SECONDS = 86_400.0
"""A clock may be in another zone than it says; more is nonsense."""


class UnfitError(Exception):
    """A line that is none of the format; its text is the reason. Never leaves the importers."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a foreign log."""

    request_id: str
    time: float
    """Unix seconds."""
    features: Mapping[str, Any] | None
    answer: Mapping[str, Any] | None
    row: int = 0
    row_count: int = 1
    key: str | None = None
    status: int | None = None
    latency_us: int | None = None
    release: str | None = None
    path: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """A line that is left out."""

    file: str
    line: int
    reason: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line (or row) of a file."""

    file: str
    number: int
    """In its file."""
    ordinal: int
    """In all the files: what a row without an id is named by."""
    content: bytes | Mapping[str, Any]
    """Parquet and CSV come as columns."""


@dataclasses.dataclass(kw_only=True)
class Counted:
    """What a reader met besides rows and bad lines."""

    unanswered: int = 0
    """Requests without a response in these files."""
    unasked: int = 0
    """Responses without a request in these files, or a second one."""


Reader = Callable[[Iterable[Line], Counted, float], Iterator[Row | Bad]]
"""Lines, what to count in, and now (Unix seconds) to rows."""


def bad(line: Line, reason: str) -> Bad:
    content = line.content
    text = content.decode(errors="replace") if isinstance(content, bytes) else json.dumps(content, default=str)
    return Bad(file=line.file, line=line.number, reason=reason, text=text)


def document(content: bytes | Mapping[str, Any]) -> dict[str, Any]:
    """
    A line as a JSON object.

    Raises:
        UnfitError: it is none.
    """
    if not isinstance(content, bytes):
        return dict(content)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnfitError("no JSON") from error
    if not isinstance(found, dict):
        raise UnfitError("no JSON object")
    return found


def moment(value: Any, now: float) -> float:
    """
    An ISO 8601 time (nanoseconds are cut off, no zone means UTC) as Unix seconds.

    Raises:
        UnfitError: it is none, or before 2000 or in the future.
    """
    try:
        found = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnfitError("time is no ISO 8601 time") from error
    return plausible(found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp(), now)


def plausible(seconds: float, now: float) -> float:
    """
    The same, unless no model can have answered then.

    Raises:
        UnfitError: before 2000, or more than a day ahead.
    """
    if not _EARLIEST <= seconds <= now + _AHEAD_SECONDS:
        raise UnfitError("time is before 2000 or in the future")
    return seconds


def decoded(text: Any) -> bytes:
    """
    What a base64 text stands for.

    Raises:
        UnfitError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UnfitError("damaged base64") from error


def request_rows(body: Any) -> list[dict[str, Any]]:
    """
    Features of a request: V1 `instances`, V2 `inputs`, Seldon `data`, rows of numbers, or one object.

    Raises:
        UnfitError: none of these.
    """
    return _rows(body, ("instances", "inputs"), "x")


def answer_rows(body: Any) -> list[dict[str, Any]]:
    """
    Answers of a response: V1 `predictions`, V2 `outputs`, Seldon `data`, rows of numbers, or one object.

    Raises:
        UnfitError: none of these.
    """
    return _rows(body, ("predictions", "outputs"), "prediction")


def csv_rows(text: str, name: str) -> list[dict[str, Any]]:
    """Lines of numbers and words without a header, as SageMaker's containers take them."""
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise UnfitError("data is no CSV") from error
    return [_named([_cell(value) for value in row], name) for row in rows]


def _cell(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _rows(body: Any, members: tuple[str, str], name: str) -> list[dict[str, Any]]:
    v1, v2 = members
    if isinstance(body, dict) and isinstance(body.get(v1), list):
        body = body[v1]
    elif isinstance(body, dict) and isinstance(body.get(v2), list):
        return _tensors(body[v2])
    elif isinstance(body, dict) and isinstance(body.get("data"), dict):
        return _seldon(body["data"], name)
    if isinstance(body, list):
        if not body:
            raise UnfitError(f"empty {v1}")
        return [_named(row, name) for row in body]
    if body is None:
        raise UnfitError("no body")
    return [_named(body, name)]


def _named(row: Any, name: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    if isinstance(row, dict):
        if "" in row:
            raise UnfitError("a value without a name")
        return row
    values = row if isinstance(row, list) else [row]
    if names is not None and len(names) != len(values):
        raise UnfitError("names and values differ in number")
    if len(values) == 1 and names is None and name != "x":
        return {name: values[0]}
    return dict(zip(names or [f"{name}{place}" for place in range(len(values))], values, strict=True))


def _tensors(tensors: list[Any]) -> list[dict[str, Any]]:
    """Open Inference Protocol: the first dimension is the row, further ones are features of their own."""
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        try:
            name, shape, data = tensor["name"], tensor["shape"], _flat(tensor["data"])
            row_count = int(shape[0])
        except (TypeError, KeyError, IndexError, ValueError, OverflowError) as error:
            raise UnfitError("a tensor without name, shape or data") from error
        if not isinstance(name, str) or not name:
            raise UnfitError("a tensor without name, shape or data")
        if row_count < 1 or len(data) % row_count:
            raise UnfitError("a tensor's shape is not that of its data")
        width = len(data) // row_count
        for place in range(width):
            columns[name if width == 1 else f"{name}{place}"] = data[place::width]
    if len({len(values) for values in columns.values()}) != 1:
        raise UnfitError("tensors of different lengths")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _flat(data: Any) -> list[Any]:
    if isinstance(data, list) and any(isinstance(each, list) for each in data):
        return [value for each in data for value in _flat(each)]
    if not isinstance(data, list):
        raise TypeError
    return data


def _seldon(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Seldon Core 1: `ndarray`, or `tensor` with shape and values, and perhaps `names`."""
    names = data.get("names") or None
    if names is not None and not (isinstance(names, list) and all(isinstance(each, str) and each for each in names)):
        raise UnfitError("names are no list of texts")
    rows = data.get("ndarray")
    tensor = data.get("tensor")
    if rows is None and isinstance(tensor, dict):
        found = _tensors([{"name": name, "shape": tensor.get("shape"), "data": tensor.get("values")}])
        rows = [list(each.values()) for each in found]
    if not isinstance(rows, list) or not rows:
        raise UnfitError("data without ndarray or tensor")
    return [_named(row, name, names) for row in rows]


def refuse(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.LOG_IMPORT)

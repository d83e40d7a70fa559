"""Rows of any log, by a map that says which column (or path in a JSON object) is what."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from softlaunch.controller.prediction_log import importing_rows as rows

KINDS = ("jsonl", "csv", "parquet", "access")
COMBINED = (
    r"(?P<host>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "
    r'"(?P<method>[A-Z]+) (?P<path>\S+) (?P<protocol>[^"]+)" (?P<status>\d{3}) (?P<size>\d+|-)'
    r'(?: "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)")?'
)
"""https://httpd.apache.org/docs/2.4/logs.html#combined, which nginx writes too."""
_ACCESS_TIME = "%d/%b/%Y:%H:%M:%S %z"
_SCALES = {"unix": 1.0, "unix_ms": 1e-3, "unix_us": 1e-6}
_ENVELOPE = ("id", "time", "key", "status", "latency_ms", "release", "path")
_KEYS = {"rows", "pattern", "time_format", "features", "answer", *_ENVELOPE}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Map:
    """A checked map; see docs/reference/log-import.md."""

    kind: str
    pattern: re.Pattern[str] | None
    time_format: str
    names: Mapping[str, str]
    """Where the envelope's values are."""
    features: Mapping[str, str] | None
    """Feature to path; None: every column that is nothing else."""
    answer: Mapping[str, str]

    @property
    def textual(self) -> bool:
        """Numbers are written as text."""
        return self.kind in {"csv", "access"}


def parse(document: Any) -> Map:
    """
    A map file's content.

    Raises:
        ConfigError: with what is wrong.
    """
    if not isinstance(document, dict):
        raise _wrong("The map is no YAML mapping.")
    if unknown := sorted(str(name) for name in document if name not in _KEYS):
        raise _wrong(f"The map has unknown keys: {', '.join(unknown)}.")
    kind = document.get("rows", "jsonl")
    if kind not in KINDS:
        raise _wrong(f"rows: {kind!r} is none of {', '.join(KINDS)}.")
    names = {name: document[name] for name in _ENVELOPE if name in document}
    if odd := [name for name, path in names.items() if not isinstance(path, str)]:
        raise _wrong(f"{odd[0]}: a name or a dotted path is expected.")
    pattern = None
    if kind == "access":
        pattern = _pattern(document.get("pattern", "combined"))
        for name in ("time", "status", "path"):
            if name in pattern.groupindex:
                names.setdefault(name, name)
    elif "pattern" in document:
        raise _wrong("pattern: only access logs have one (rows: access).")
    if "time" not in names:
        raise _wrong("time: which column it is has to be said.")
    time_format = document.get("time_format", _ACCESS_TIME if kind == "access" else "iso")
    if not isinstance(time_format, str) or (time_format not in {"iso", *_SCALES} and "%" not in time_format):
        raise _wrong(f"time_format: {time_format!r} is none of iso, unix, unix_ms, unix_us or a format like %Y-%m-%d.")
    features = None if document.get("features", "*") == "*" else _paths(document["features"], "features")
    answer = _paths(document.get("answer", []), "answer")
    return Map(kind=kind, pattern=pattern, time_format=time_format, names=names, features=features, answer=answer)


def reader(of: Map, prefix: str) -> rows.Reader:
    """
    Reads lines by a map.

    Args:
        of: The map.
        prefix: Of the ids of rows that have none.
    """

    def read(lines: Iterable[rows.Line], counted: rows.Counted, now: float) -> Iterator[rows.Row | rows.Bad]:
        del counted  # a line is a request and its answer
        for line in lines:
            try:
                yield _row(of, _columns(of, line), f"{prefix}-{line.ordinal}", now)
            except rows.UnfitError as error:
                yield rows.bad(line, str(error))

    return read


def _columns(of: Map, line: rows.Line) -> dict[str, Any]:
    if of.pattern is None or not isinstance(line.content, bytes):
        found = rows.document(line.content)
        if "" in found:
            raise rows.UnfitError(str(found[""]))  # the file's reader says what is wrong with the line
        return found
    try:
        matched = of.pattern.fullmatch(line.content.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise rows.UnfitError("no UTF-8") from error
    if matched is None:
        raise rows.UnfitError("the pattern does not match")
    return matched.groupdict()


def _row(of: Map, columns: dict[str, Any], identity: str, now: float) -> rows.Row:
    told = {name: _at(columns, path) for name, path in of.names.items()}
    if "id" in of.names:
        if _text(told["id"]) is None:
            raise rows.UnfitError("no id")
        identity = str(told["id"])
    features = of.features
    if features is None:
        taken = {*of.names.values(), *of.answer.values()}
        features = {name: name for name in columns if name not in taken}
    latency_ms = _number(told, "latency_ms")
    status = _number(told, "status")
    return rows.Row(
        request_id=identity,
        time=_time(told["time"], of.time_format, now),
        features={name: _at(columns, path) for name, path in features.items()},
        answer={name: _at(columns, path) for name, path in of.answer.items()} or None,
        key=_text(told.get("key")),
        status=None if status is None else int(status),
        latency_us=None if latency_ms is None else round(latency_ms * 1000),
        release=_text(told.get("release")),
        path=_text(told.get("path")),
    )


def _at(columns: Mapping[str, Any], path: str) -> Any:
    if path in columns:
        return columns[path]
    found: Any = columns
    for word in path.split("."):
        if isinstance(found, dict):
            found = found.get(word)
        elif isinstance(found, list) and word.isdecimal() and int(word) < len(found):
            found = found[int(word)]
        else:
            return None
    return found


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(told: Mapping[str, Any], name: str) -> float | None:
    value = told.get(name)
    if value in {None, "", "-"} if not isinstance(value, list | dict) else False:
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise rows.UnfitError(f"{name} is no number") from error
    if not abs(found) < 1e12:
        raise rows.UnfitError(f"{name} is no number that can be")
    return found


def _time(value: Any, time_format: str, now: float) -> float:
    if isinstance(value, datetime.datetime):
        return rows.plausible(value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp(), now)
    if time_format == "iso":
        return rows.moment(value, now)
    try:
        if time_format in _SCALES:
            return rows.plausible(float(value) * _SCALES[time_format], now)
        found = datetime.datetime.strptime(value, time_format)  # noqa: DTZ007 - no zone means UTC, below
    except (TypeError, ValueError, OverflowError) as error:
        raise rows.UnfitError(f"time is not of the format {time_format}") from error
    return rows.plausible(found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp(), now)


def _pattern(text: Any) -> re.Pattern[str]:
    try:
        found = re.compile(COMBINED if text == "combined" else str(text))
    except re.error as error:
        raise _wrong(f"pattern: {error}.") from error
    if not found.groupindex:
        raise _wrong("pattern: it has no named groups, as in (?P<time>...).")
    return found


def _paths(found: Any, name: str) -> dict[str, str]:
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return {each: each for each in found}
    if isinstance(found, dict) and all(isinstance(each, str) for pair in found.items() for each in pair):
        return found
    raise _wrong(f"{name}: a list of names, or names with paths, is expected.")


def _wrong(message: str) -> Exception:
    return rows.refuse(message, "See docs/reference/log-import.md for the keys of a map.")

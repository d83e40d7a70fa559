"""
Fallbacks that answer by themselves: a lookup table or a Python function of the request. Checked here, run by
serving.fallback in a process of their own.

A table is CSV with a header. Key columns name a row, all others are its answer:

    carrier,origin,label,probability
    UA,JFK,0,0.2
    ,,0,0.3          every key empty: the default

* A key column whose cells are all numbers is compared as numbers, any other one as text (true, false for bools).
* An empty key cell stands for a missing value. Without a default, a request that no row fits is not answered.
* An answer column is of one type: whole numbers, numbers, true/false or text; an empty cell is null.
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from softlaunch import errors
from softlaunch.core import spec

SCHEMA_VERSION = 1
LOCAL = frozenset({spec.FallbackKind.TABLE, spec.FallbackKind.PYTHON})
"""Kinds that need a process; the others are routes."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BOOLS = {"true": True, "false": False}

Row: TypeAlias = Mapping[str, Any]
Key: TypeAlias = tuple[str | float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a fallback process is told."""

    fallback: spec.FallbackSpec
    features: tuple[str, ...] = ()
    """The model's inputs in order, for tensors that name none; empty: not known."""


def dump(task: Task) -> bytes:
    """The process's --spec file."""
    document = {"schema": SCHEMA_VERSION, **dataclasses.asdict(task.fallback), "features": task.features}
    return json.dumps(document, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def load(raw: bytes) -> Task:
    """
    What `dump` wrote.

    Raises:
        ConfigError: it is no such document.
    """
    try:
        document = json.loads(raw)
        fallback = spec.FallbackSpec(
            kind=spec.FallbackKind(document["kind"]),
            target=str(document["target"]),
            keys=tuple(map(str, document["keys"])),
            content=str(document["content"]),
        )
        features = tuple(map(str, document["features"]))
        readable = document["schema"] == SCHEMA_VERSION
    except (KeyError, TypeError, ValueError) as error:
        raise errors.ConfigError(
            f"The fallback's --spec cannot be read: {error!r:.200}.",
            remedy="Deploy again with this version of softlaunch.",
            code=errors.Code.FALLBACK_UNUSABLE,
        ) from error
    if not readable:
        raise errors.ConfigError(
            f"The fallback's --spec is of schema {document['schema']!r:.20}, this softlaunch reads {SCHEMA_VERSION}.",
            remedy="Deploy again with this version of softlaunch.",
            code=errors.Code.FALLBACK_UNUSABLE,
        )
    return Task(fallback=fallback, features=features)


def check(fallback: spec.FallbackSpec) -> None:
    """
    Whether it could answer at all, without running any of its code.

    Raises:
        ConfigError: the table or the Python file is not one.
    """
    if fallback.kind is spec.FallbackKind.TABLE:
        Table(fallback)
    elif fallback.kind is spec.FallbackKind.PYTHON:
        function_name(fallback)


def function_name(fallback: spec.FallbackSpec) -> str:
    """
    The function of a PYTHON fallback.

    Raises:
        ConfigError: the target is not FILE.py:FUNCTION, or the file does not define it.
    """
    file, _, name = fallback.target.partition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise _unusable(fallback, "is not FILE.py:FUNCTION", "Name a function that takes one row.")
    try:
        tree = ast.parse(fallback.content, filename=file)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        raise _unusable(fallback, f"is not Python{where} ({type(error).__name__})", "Fix the file.") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree)):
        raise _unusable(fallback, f"defines no function {name!r}", "Define it with `def`, at the top of the file.")
    return name


class Table:
    """Answers by keys."""

    def __init__(self, fallback: spec.FallbackSpec) -> None:
        """
        Raises:
            ConfigError: it is no table, lacks a key column, or names a row twice.
        """
        header, rows = _read(fallback)
        self._keys = fallback.keys
        columns: dict[str, list[str]] = {
            name: [row[number].strip() for row in rows] for number, name in enumerate(header)
        }
        self._numeric = {name: _is_numeric(columns[name]) for name in self._keys}
        outputs = {name: _typed(values) for name, values in columns.items() if name not in self._keys}
        self._answers: dict[Key, dict[str, Any]] = {}
        for number in range(len(rows)):
            key = tuple(self._comparable(name, columns[name][number]) for name in self._keys)
            if None in key or key in self._answers:
                raise _unusable(fallback, f"has row {number + 1} twice", "Keep one row for each combination of keys.")
            self._answers[key] = {name: values[number] for name, values in outputs.items()}  # type: ignore[index]
        self._default = self._answers.get(("",) * len(self._keys))

    def answer(self, row: Row) -> Mapping[str, Any] | None:
        """The outputs for a row; None when no row fits and there is no default."""
        key = tuple(self._comparable(name, row.get(name)) for name in self._keys)
        if None in key:
            return self._default
        return self._answers.get(key, self._default)  # type: ignore[arg-type]  # None was ruled out above

    def _comparable(self, name: str, value: Any) -> str | float | None:
        """As keys are compared; None for what fits no cell."""
        if value is None or value == "":
            return ""
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        if self._numeric[name]:
            return _number(text)
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return text


def _read(fallback: spec.FallbackSpec) -> tuple[list[str], list[list[str]]]:
    try:
        lines = [row for row in csv.reader(io.StringIO(fallback.content.removeprefix("\ufeff")), strict=True) if row]
    except csv.Error as error:
        raise _unusable(fallback, f"is not CSV ({error})", "Write a header and one line per row.") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if len(set(header)) != len(header) or "" in header:
        raise _unusable(fallback, "has a column without a name, or two of one name", "Name each column once.")
    missing = [name for name in fallback.keys if name not in header]
    if not fallback.keys or missing:
        what = f"has no column {missing[0]!r:.80}" if missing else "is given without keys"
        raise _unusable(fallback, what, f"Name `keys` among its columns: {', '.join(header)[:200] or 'none'}.")
    if len(header) == len(set(fallback.keys)):
        raise _unusable(fallback, "has key columns only", "Add a column for each output.")
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(header):
            said = f"has {len(row)} cells in row {number}, not {len(header)}"
            raise _unusable(fallback, said, "Give each row every column.")
    if len(lines) == 1:
        raise _unusable(fallback, "has no rows", "Add at least a default row.")
    return header, lines[1:]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_number(cell) is not None for cell in filled)


def _typed(cells: Sequence[str]) -> list[Any]:
    filled = [cell for cell in cells if cell]
    if filled and all(_INTEGER.fullmatch(cell) for cell in filled):
        return [int(cell) if cell else None for cell in cells]
    if _is_numeric(cells):
        return [float(cell) if cell else None for cell in cells]
    if filled and all(cell.lower() in _BOOLS for cell in filled):
        return [_BOOLS[cell.lower()] if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _unusable(fallback: spec.FallbackSpec, what: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The fallback {fallback.target[:200]!r} {what}.", remedy=remedy, code=errors.Code.FALLBACK_UNUSABLE
    )

"""
Specs as canonical JSON: how a rollout remembers the plan it was started with, and how a client sends one.

Byte for byte the same for the same value. A field that is absent takes its default, so that a plan written before an
update can be read after it; a field that is unknown is refused, because dropping it could drop a safety it asked for.
Reading follows the annotations of core.spec, so a new field needs no code here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from softlaunch import errors
from softlaunch.core import spec

SCHEMA_VERSION = 1

_T = TypeVar("_T")


class _MismatchError(Exception):
    """What is written does not fit what shall be read."""


def dump_environment(environment: spec.EnvironmentSpec) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, one final newline."""
    return _canonical("environment", environment)


def load_environment(raw: bytes) -> spec.EnvironmentSpec:
    """
    The environment that `dump_environment` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    return _loaded("environment", raw, spec.EnvironmentSpec)


def dump_service(service: spec.ServiceSpec) -> bytes:
    """Canonical JSON, as `dump_environment`."""
    return _canonical("service", service)


def load_service(raw: bytes) -> spec.ServiceSpec:
    """
    The service that `dump_service` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    return _loaded("service", raw, spec.ServiceSpec)


def _canonical(kind: str, value: Any) -> bytes:
    document = {"schema": SCHEMA_VERSION, kind: _plain(value)}
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"
    except ValueError as error:
        raise errors.InvariantError(f"A spec holds what JSON cannot: {error}.") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(found) for key, found in value.items()}
    if isinstance(value, tuple):
        return [_plain(found) for found in value]
    return value.decode() if isinstance(value, bytes) else value


def _loaded(kind: str, raw: bytes, wanted: type[_T]) -> _T:
    try:
        found: _T = _read(wanted, _document(raw).get(kind), kind)
    except (_MismatchError, ValueError, OverflowError, RecursionError) as error:
        raise errors.ConfigError(
            f"A stored plan cannot be read: {error}.",
            remedy="Run the version of softlaunch that wrote it or a newer one, or end the rollout and deploy again.",
            code=errors.Code.SPEC_UNREADABLE,
        ) from error
    return found


def _document(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = _is(dict, json.loads(raw), "the document")
    if document.get("schema") != SCHEMA_VERSION:
        raise _MismatchError(f"schema is {document.get('schema')!r}, this softlaunch reads {SCHEMA_VERSION}")
    return document


def _read(wanted: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `wanted` says it is; raises where it is something else."""
    if wanted is Any:
        return value
    origin = typing.get_origin(wanted)
    if origin is types.UnionType:
        (inner,) = (choice for choice in typing.get_args(wanted) if choice is not types.NoneType)
        return None if value is None else _read(inner, value, where)
    if origin is tuple:
        inner = typing.get_args(wanted)[0]
        return tuple(_read(inner, found, f"{where}[{number}]") for number, found in enumerate(_is(list, value, where)))
    if origin is collections.abc.Mapping:
        inner = typing.get_args(wanted)[1]
        return {key: _read(inner, found, f"{where}.{key}") for key, found in _is(dict, value, where).items()}
    if dataclasses.is_dataclass(wanted):
        return _read_dataclass(wanted, _is(dict, value, where), where)
    if wanted is float:
        number = _is((int, float), value, where)
        if not math.isfinite(number):
            raise _MismatchError(f"{where} is {number}")
        return number
    if wanted is bytes:
        return _is(str, value, where).encode()
    return wanted(_is(str, value, where)) if issubclass(wanted, enum.Enum) else _is(wanted, value, where)


def _read_dataclass(wanted: Any, value: dict[str, Any], where: str) -> Any:
    if wanted is spec.StrategySpec and "weights" in value and "steps" not in value:
        # As it was written before steps had kinds.
        weights = _is(list, value["weights"], f"{where}.weights")
        value = {**value, "steps": [{"weight": weight} for weight in weights]}
        del value["weights"]
    hints = typing.get_type_hints(wanted)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise _MismatchError(f"{where} has the unknown field {unknown[0]!r}")
    needed = {
        field.name
        for field in dataclasses.fields(wanted)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(needed - set(value))
    if missing:
        raise _MismatchError(f"{where} lacks the field {missing[0]!r}")
    return wanted(**{name: _read(hints[name], found, f"{where}.{name}") for name, found in value.items()})


def _is(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _MismatchError(f"{where} is {type(value).__name__}")
    return value

"""
What a looked-up answer means: values of the signature's types, each with how it came about.

    a value of the right type, young enough   fresh
    no answer, no field, null, a wrong type   missing   the default is used
    no answer in time                         late      the default is used
    older than allowed, or of unknown age     stale     the default is used
    sent by the client                        sent

Pure. A source whose values are all texts (a Redis hash) is read by what the signature says: "3.5" is a number where a
number is wanted, and nothing where a number cannot be read from it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from softlaunch import errors
from softlaunch.core import lookups, predictions, release

_NUMBER_CHARACTERS_MAX = 64


HEADER = "x-softlaunch-features"
"""Of answers: how many looked-up values were missing, late or stale; the gateway logs and strips it."""


class Answer(NamedTuple):
    """What a source said of one combination of values."""

    fields: Mapping[str, Any] | None
    """None: it has nothing of that name."""
    made_at: Mapping[str, float] = {}
    """Unix seconds by field, where the source itself says so (Feast)."""
    stale: frozenset[str] = frozenset()
    """Fields that the source itself calls too old."""


NOTHING = Answer(None)


class FeaturesServed(NamedTuple):
    """The looked-up features of one request, as the model was given them."""

    rows: Sequence[Mapping[str, tuple[Any, str]]]
    """Per row: feature to its value and how it came about (a ServedAs)."""
    missing: int
    late: int
    stale: int

    @property
    def recorded(self) -> dict[str, list[tuple[Any, str]]]:
        """By feature, one value with how it came about for each row: what the spool keeps."""
        names = self.rows[0] if self.rows else ()
        return {name: [row[name] for row in self.rows] for name in names}

    @property
    def header(self) -> tuple[str, str]:
        """The answer's header."""
        return HEADER, f"missing={self.missing},late={self.late},stale={self.stale}"


def optional(signature: release.Signature, specs: Sequence[lookups.LookupSpec]) -> release.Signature:
    """The signature as clients have to hold it: what is looked up may be left out, or be null."""
    found = names(specs)
    return dataclasses.replace(
        signature,
        inputs=tuple(
            dataclasses.replace(column, nullable=True) if column.name in found else column
            for column in signature.inputs
        ),
    )


def names(specs: Sequence[lookups.LookupSpec]) -> frozenset[str]:
    """Every feature that is looked up."""
    return frozenset(feature for spec in specs for feature in spec.features)


def check(specs: Sequence[lookups.LookupSpec], signature: release.Signature, keys: Collection[str]) -> None:
    """
    That the model's signature has the features, takes their defaults, and that `by` names what requests carry.

    Args:
        specs: What is declared.
        signature: Of the release.
        keys: Business keys that requests may carry beside the features.

    Raises:
        ConfigError: it has not; every mistake is named.
    """
    found = [said for spec in specs for said in _mistakes(spec, signature, keys)]
    if found:
        raise errors.ConfigError(
            f"The lookups under `features` do not fit the model's signature: {'; '.join(found)}.",
            remedy="Correct `features` in softlaunch.yaml, and build again.",
            code=errors.Code.LOOKUP_MISMATCH,
        )


def read(
    spec: lookups.LookupSpec, columns: Mapping[str, release.Column], answer: Answer | lookups.ServedAs, *, now: float
) -> dict[str, tuple[Any, lookups.ServedAs]]:
    """
    Values of the lookup's features, and how each came about.

    Args:
        spec: What was asked for.
        columns: The signature's inputs by name.
        answer: What came back; LATE or MISSING when nothing did.
        now: Unix seconds.
    """
    if isinstance(answer, lookups.ServedAs):
        return {feature: (default, answer) for feature, default in spec.features.items()}
    if answer.fields is None:
        return {feature: (default, lookups.ServedAs.MISSING) for feature, default in spec.features.items()}
    made_at = moment(_at(answer.fields, spec.timestamp)) if spec.timestamp else None
    values: dict[str, tuple[Any, lookups.ServedAs]] = {}
    for feature, default in spec.features.items():
        field = spec.field(feature)
        value = taken(columns[feature], _at(answer.fields, field))
        if value is None:
            how = lookups.ServedAs.STALE if field in answer.stale else lookups.ServedAs.MISSING
            values[feature] = (default, how)
        elif field in answer.stale or _is_old(spec, answer.made_at.get(field, made_at), now):
            values[feature] = (default, lookups.ServedAs.STALE)
        else:
            values[feature] = (value, lookups.ServedAs.FRESH)
    return values


def taken(column: release.Column, value: Any) -> Any:
    """The value as the column takes it, None when it is none."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, decimal.Decimal):
        value = (
            int(value) if column.datatype is release.Datatype.INT64 and value == value.to_integral_value() else value
        )
        value = float(value) if isinstance(value, decimal.Decimal) else value
    elif hasattr(value, "item") and not isinstance(value, str):  # numpy's scalars
        value = value.item()
    if isinstance(value, str) and column.datatype is not release.Datatype.BYTES:
        value = _from_text(value, column.datatype)
    elif column.datatype is release.Datatype.BOOL and not isinstance(value, bool) and value in (0, 1):
        value = bool(value)  # databases without a type of truth
    return None if value is None else predictions.TAKEN[column.datatype](value)


def moment(value: Any) -> float | None:
    """Unix seconds of a time: a number of them, ISO 8601 (UTC where it names no zone), or a datetime."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        number = _from_text(value, release.Datatype.FP64)
        if number is not None:
            return float(number)
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return aware.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        return None
    return float(value) if math.isfinite(value) else None


def _at(fields: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; a field whose own name has the dots goes first."""
    if path in fields:
        return fields[path]
    found: Any = fields
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _is_old(spec: lookups.LookupSpec, made_at: float | None, now: float) -> bool:
    if spec.age_seconds_max is None:
        return False
    return made_at is None or now - made_at > spec.age_seconds_max


def _from_text(text: str, datatype: release.Datatype) -> Any:
    text = text.strip()
    if len(text) > _NUMBER_CHARACTERS_MAX or "_" in text:
        return None
    if datatype is release.Datatype.BOOL:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    try:
        return int(text) if datatype is release.Datatype.INT64 else float(text)
    except ValueError:
        return None


def _mistakes(spec: lookups.LookupSpec, signature: release.Signature, keys: Collection[str]) -> Iterator[str]:
    columns = {column.name: column for column in signature.inputs}
    for name in spec.by:
        if name not in columns and name not in keys:
            yield f"`{spec.name}` goes by {name!r}, which is no input and none of capture.keys{_guess(name, columns)}"
    for feature, default in spec.features.items():
        column = columns.get(feature)
        if column is None:
            yield f"`{spec.name}` gives {feature!r}, which is no input of the model{_guess(feature, columns)}"
        elif default is None:
            if not column.nullable:
                yield f"the default of {feature!r} is null, and the model needs a value"
        elif predictions.TAKEN[column.datatype](default) is None:
            wanted = predictions.ALLOWED[column.datatype]
            yield f"the default of {feature!r} is {predictions.shown(default)}, and the model takes {wanted}"


def _guess(name: str, columns: Collection[str]) -> str:
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    return f" (is {close[0]!r} meant?)" if close else ""

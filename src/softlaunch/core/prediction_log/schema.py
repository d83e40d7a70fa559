"""
The columns of a prediction log: an envelope that never changes, and one struct each for features and answer.

A struct grows with the releases: each feature has a field, and a feature whose type changes gets a further one, since a
table's field keeps its type for ever. Names of fields:

    distance            the feature, with the type it came with first
    distance@fp64       the same feature since a release took it as FP64
    flight%20no         what tables of this kind do not allow in names is escaped, as in URLs
    %41ge               so is a capital that would differ from another field in nothing but that
"""

from __future__ import annotations

import dataclasses
import enum
import re
import urllib.parse
from collections.abc import Mapping, Sequence

from softlaunch.core import release


class Kind(enum.StrEnum):
    """What a field holds; the lake knows its own type for it."""

    TEXT = "text"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    DOUBLE = "double"
    RAW = "raw"
    TIME = "time"
    """Microseconds since 1970, UTC."""
    DATE = "date"
    TEXT_MAP = "text-map"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    name: str
    kind: Kind


def _fields(text: str) -> tuple[Field, ...]:
    words = (word.split(":") for word in text.split())
    return tuple(Field(name=name, kind=Kind(kind)) for name, kind in words)


ENVELOPE = _fields("""
    id:text request_id:text row:int row_count:int release:text arm:text instance:text answer_number:int attempt:int
    served:bool environment:text time:time key:text keys:text-map path:text service_us:int cpu_us:int latency_us:int
    status:int invalid:bool shed:bool mirrored:bool redacted:bool unread:text request_body:raw answer_body:raw
""")
"""In the order in which a row's values stand; `day`, by which the table is partitioned, follows from `time`."""
DAY = "day"
FEATURES, ANSWER = "features", "answer"

STABLE, CANDIDATE, SHADOW = "stable", "candidate", "shadow"
"""Values of `arm`; null where the gateway's log does not tell."""

_KINDS: Mapping[release.Datatype, Kind] = {
    release.Datatype.BOOL: Kind.BOOL,
    release.Datatype.INT64: Kind.INT,
    release.Datatype.FP32: Kind.FLOAT,
    release.Datatype.FP64: Kind.DOUBLE,
    release.Datatype.BYTES: Kind.TEXT,
}
_SUFFIXES: Mapping[Kind, str] = {
    Kind.BOOL: "bool", Kind.INT: "int64", Kind.FLOAT: "fp32", Kind.DOUBLE: "fp64", Kind.TEXT: "bytes"
}  # fmt: skip
_FORBIDDEN = re.compile(r"[ ,;{}()=%@\x00-\x1f\x7f]")
"""What Delta tables refuse in names of columns, and the two characters that have a meaning here."""


def feature_of(field_name: str) -> str:
    """The feature (or output) whose values a field holds."""
    return urllib.parse.unquote(field_name.partition("@")[0])


def placed(existing: Sequence[Field], columns: Sequence[release.Column]) -> tuple[Field, ...]:
    """
    The field for each column of a signature, in the signature's order: one of `existing`, or a new one.

    Args:
        existing: Fields of the struct as the table has it.
        columns: A signature's inputs, or its outputs.
    """
    known = {(feature_of(field.name), field.kind): field for field in existing}
    taken = {field.name.lower() for field in existing}
    featured = {feature_of(field.name) for field in existing}
    found = []
    for column in columns:
        kind = _KINDS[column.datatype]
        field = known.get((column.name, kind))
        if field is None:
            name = _escaped(column.name)
            suffix = f"@{_SUFFIXES[kind]}" if column.name in featured else ""
            if f"{name}{suffix}".lower() in taken:
                name = re.sub("[A-Z]", lambda letter: f"%{ord(letter[0]):02X}", name)
            field = Field(name=f"{name}{suffix}", kind=kind)
            taken.add(field.name.lower())
            featured.add(column.name)
            known[column.name, kind] = field
        found.append(field)
    return tuple(found)


def _escaped(name: str) -> str:
    return _FORBIDDEN.sub(lambda odd: f"%{ord(odd[0]):02X}", name)

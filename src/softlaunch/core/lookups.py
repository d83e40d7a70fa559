"""
Features that are looked up when a request comes: declared in softlaunch.yaml under `features:`, part of the release.

A lookup names the requests' values it goes by (`by`), where it asks (`source`, `target`), and what it gives
(`features`, each a column of the signature that the client then need not send). What a client sends wins over what is
looked up. Missing, late and stale values become the declared default, and are counted.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any


class LookupSource(enum.StrEnum):
    HTTP = "http"
    """
    GET of a URL; {name} is replaced by the request's value, percent-encoded. The answer is a JSON object. A target that
    begins with / is a path at `server`.
    """
    REDIS = "redis"
    """A hash (HGETALL) or a JSON text at a key; {name} is replaced by the value as text. `server` is the URL."""
    SQL = "sql"
    """A query with :name parameters, at most one row. `server` is an SQLAlchemy URL."""
    FEAST = "feast"
    """
    Feast's online store: `target` is the feature view, or service:NAME; `server` is the URL of a feature server, or the
    repository's directory in the release's code.
    """
    PYTHON = "python"
    """FILE.py:FUNCTION of the release's code, called with the `by` values by name; gives a mapping."""


class ServedAs(enum.StrEnum):
    """How one looked-up value came about."""

    FRESH = "fresh"
    MISSING = "missing"
    """The source has no such value, or did not answer (an error)."""
    LATE = "late"
    """It did not answer in time."""
    STALE = "stale"
    """What it has is older than allowed."""
    SENT = "sent"
    """The client sent it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LookupSpec:
    """One source of features at request time."""

    name: str
    source: LookupSource
    target: str
    """URL, key, query, feature view or service:NAME, or FILE.py:FUNCTION."""
    by: tuple[str, ...]
    """Names of the values it goes by: features of the request, or business keys (`capture.keys`)."""
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Feature to its default: used when a value is missing, late or stale. None needs a nullable feature."""
    server: str = ""
    """May be $NAME of a variable in `environments.NAME.env`; never logged."""
    timeout_seconds: float = 0.02
    age_seconds_max: float | None = None
    """Older values are stale; needs `timestamp`. None: any age will do."""
    timestamp: str = ""
    """The field that says when the values were made: Unix seconds or ISO 8601. Feast says it by itself."""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Feature to the field of the source's answer (dotted inside nested objects), where it has another name."""

    def field(self, feature: str) -> str:
        """Where the feature stands in the source's answer."""
        return self.fields.get(feature, feature)


_BRACED = re.compile(r"\{([^{}]*)\}")
_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""As SQLAlchemy's text() finds them."""


def placeholders(source: LookupSource, target: str) -> tuple[str, ...] | None:
    """Names of the values a target asks for, each once, in its order; None where the source takes all of them."""
    match source:
        case LookupSource.HTTP | LookupSource.REDIS:
            found = _BRACED.findall(target)
        case LookupSource.SQL:
            found = _BOUND.findall(target)
        case LookupSource.FEAST | LookupSource.PYTHON:
            return None
    return tuple(dict.fromkeys(found))


def filled(target: str, values: Mapping[str, Any], *, encoded: bool) -> str:
    """The target with each {name} replaced by the value as text; percent-encoded where it becomes part of a URL."""

    def value(found: re.Match[str]) -> str:
        text = _text(values[found[1]])
        return urllib.parse.quote(text, safe="") if encoded else text

    return _BRACED.sub(value, target)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""
Looked-up features as they were served: how a replayed request brings them along.

A recorded request lacks what was looked up for it. Looking it up anew would compare yesterday's answer with today's
features, so the replay sends what the record says was served, in a header beside the untouched body: whatever the
protocol, the body is as the client sent it. The gateway lets no client's such header through.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import lookups, predictions

HEADER = "x-softlaunch-recorded-features"
"""Base64 of deflated JSON: a list of {feature: value}, one object a row."""
TEXT_CHARACTERS_MAX = 32_768
"""Of the header; servers refuse much longer ones. Some thousand rows with three features."""
_INFLATED_BYTES_MAX = 2**24
_DEFAULTED = (lookups.ServedAs.MISSING, lookups.ServedAs.LATE, lookups.ServedAs.STALE)


def header(features: Mapping[str, Sequence[Any]] | None) -> dict[str, str]:
    """
    The header of a request whose record says that these were served.

    Args:
        features: As spool.Record.features: for each row a value and how it came about. None: nothing was looked up.

    Returns:
        Nothing as well where there are so many that no header holds them: those requests are looked up anew.
    """
    if not features:
        return {}
    rows = [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
    text = dumps([{name: value for name, (value, _) in row.items()} for row in rows])
    return {HEADER: text} if len(text) <= TEXT_CHARACTERS_MAX else {}


def defaulted(features: Mapping[str, Sequence[Any]] | None) -> int | None:
    """How many values were missing, late or stale; None where nothing was looked up."""
    if features is None:
        return None
    return sum(how in _DEFAULTED for values in features.values() for _, how in values)


def dumps(rows: Sequence[Mapping[str, Any]]) -> str:
    """The header's value."""
    document = json.dumps(rows, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(document, 1)).decode("ascii")


def loads(text: str, row_count: int) -> list[Mapping[str, Any]]:
    """
    The rows that `dumps` wrote.

    Raises:
        MalformedError: it did not, or for another number of rows.
    """
    try:
        inflated = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _INFLATED_BYTES_MAX)
        found = json.loads(inflated)
    except (ValueError, zlib.error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != row_count or not all(isinstance(each, dict) for each in found):
        raise predictions.MalformedError(
            f"The header {HEADER} does not hold values for {row_count} rows.",
            remedy="Send the request without it: it is for replays.",
        )
    return found

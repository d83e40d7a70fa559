"""
Labels: what turned out to be true of a prediction, as somebody told us at some time.

A label names its prediction (`REQUEST:ROW`), or the business key that the prediction was recorded with and the time of
the outcome. Nothing of it is ever changed: a correction is one more label with a higher version, a withdrawal one
without a value.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

NAME_DEFAULT = "label"
VERSION_MAX = 2**63 - 1
_EARLIEST = 946_684_800.0  # 2000
_AHEAD_SECONDS = 86_400.0
_NAME = re.compile(r"[^\W\d][\w.-]{0,99}")
_TEXT_MAX = 1_000
_TRUE, _FALSE = frozenset({"true", "yes"}), frozenset({"false", "no"})
MEMBERS = (
    "prediction_id", "key_name", "key", "at", "arrived", "name", "event", "value", "version", "rater", "withdrawn",
)  # fmt: skip
"""Of a label's document."""


class UnfitError(ValueError):
    """A document is no label; the text says why, without the value."""


class Label(NamedTuple):
    """One label; either `prediction_id` or `key` is there."""

    prediction_id: str | None
    key_name: str | None
    """None beside a key: the sticky key."""
    key: str | None
    at: float | None
    """When the outcome happened, in Unix seconds; None: not told, which counts as when it arrived."""
    arrived: float
    """When it was known here, in Unix seconds."""
    name: str
    value: float | None
    """A number; graded ones lie between 0 and 1, and true is 1."""
    text: str | None
    """A class. Neither value nor text: what the rater said before is withdrawn."""
    version: int
    rater: str | None


def parse(document: Mapping[str, Any], *, now: float, textual: bool = False, name: str = NAME_DEFAULT) -> Label | None:
    """
    A label from its document; None when it has no value, which says nothing yet.

    Args:
        document: Members as in MEMBERS; docs/reference/labels.md describes them.
        now: When it arrived, in Unix seconds, unless the document tells that it was earlier.
        textual: Numbers and truth are written as text, as in CSV files.
        name: Of labels that name none.

    Raises:
        UnfitError: it is none.
    """
    if odd := sorted(str(member) for member in document if member not in MEMBERS):
        raise UnfitError(f"unknown member {odd[0][:60]!r}")
    prediction = _identity(document.get("prediction_id"))
    key = _text(document.get("key"), "key")
    key_name = _text(document.get("key_name"), "key_name")
    if (prediction is None) == (key is None):
        raise UnfitError("neither prediction_id nor key" if key is None else "both prediction_id and key")
    if key is None and key_name is not None:
        raise UnfitError("key_name without key")
    value, text = _value(document, textual=textual)
    is_withdrawn = _truth(document.get("withdrawn"), textual=textual)
    if is_withdrawn and (value is not None or text is not None):
        raise UnfitError("withdrawn, and yet a value")
    if not is_withdrawn and value is None and text is None:
        return None
    arrived = _moment(document.get("arrived"), "arrived", now, textual=textual)
    if arrived is not None and arrived > now:
        raise UnfitError("arrived is in the future")
    return Label(
        prediction_id=prediction,
        key_name=key_name,
        key=key,
        at=_moment(document.get("at"), "at", now, textual=textual),
        arrived=now if arrived is None else arrived,
        name=_name(document, name),
        value=value,
        text=text,
        version=_version(document.get("version"), textual=textual),
        rater=_text(document.get("rater"), "rater"),
    )


def _identity(value: Any) -> str | None:
    """A request's id alone stands for its first row."""
    found = _text(value, "prediction_id")
    if found is None:
        return None
    head, mark, row = found.rpartition(":")
    return found if mark and head and row.isdecimal() else f"{found}:0"


def _text(value: Any, member: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # keys are texts, and JSON's writers do not know it
    if not isinstance(value, str):
        raise UnfitError(f"{member} is no text")
    if len(value) > _TEXT_MAX:
        raise UnfitError(f"{member} is longer than {_TEXT_MAX} characters")
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UnfitError(f"{member} is no text that can be stored")
    return value


def _name(document: Mapping[str, Any], default: str) -> str:
    name, event = (_text(document.get(member), member) for member in ("name", "event"))
    if name is not None and event is not None:
        raise UnfitError("both name and event")
    return name_of(name or event or default)


def name_of(text: str) -> str:
    """
    The name of a label or an event, if it is one.

    Raises:
        UnfitError: it is none.
    """
    if not _NAME.fullmatch(text):
        raise UnfitError("name is not a letter followed by at most 99 letters, digits, dots and hyphens")
    return text


def _value(document: Mapping[str, Any], *, textual: bool) -> tuple[float | None, str | None]:
    value = document.get("value")
    if value is None or value == "":
        # An event that happened says so by being there.
        is_event = document.get("event") not in {None, ""} and not _truth(document.get("withdrawn"), textual=textual)
        return (1.0 if is_event and "value" not in document else None), None
    if isinstance(value, bool):
        return float(value), None
    if isinstance(value, str):
        if textual and value.strip().lower() in _TRUE | _FALSE:
            return float(value.strip().lower() in _TRUE), None
        if not textual or (number := _number(value)) is None:
            return None, _text(value, "value")
        value = number
    if not isinstance(value, int | float):
        raise UnfitError("value is neither a number nor a text nor a truth")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if math.isnan(found):
        return None, None  # as data frames have what is missing
    if not math.isfinite(found):
        raise UnfitError("value is not finite")
    return found, None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _truth(value: Any, *, textual: bool) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if textual and isinstance(value, str) and value.strip().lower() in {*_TRUE, *_FALSE, "", "1", "0"}:
        return value.strip().lower() in {*_TRUE, "1"}
    raise UnfitError("withdrawn is neither true nor false")


def _version(value: Any, *, textual: bool) -> int:
    if value is None or value == "":
        return 0
    if textual and isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= VERSION_MAX:
        raise UnfitError("version is no whole number from 0 on")
    return value


def _moment(value: Any, member: str, now: float, *, textual: bool) -> float | None:
    if value is None or value == "":
        return None
    if textual and isinstance(value, str) and (number := _number(value)) is not None:
        value = number
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e12 else math.nan
    else:
        try:
            text = value.isoformat() if isinstance(value, datetime.date) else value
            found = datetime.datetime.fromisoformat(text)
            seconds = found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp()
        except (TypeError, ValueError, OverflowError):
            pass
    if math.isnan(seconds):
        raise UnfitError(f"{member} is neither Unix seconds nor an ISO 8601 time")
    if not _EARLIEST <= seconds <= now + _AHEAD_SECONDS:
        raise UnfitError(f"{member} is before 2000 or in the future")
    return seconds

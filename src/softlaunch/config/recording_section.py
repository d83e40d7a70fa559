"""The keys `capture:`, `replay:` and `predict_paths:` of an environment: which requests are kept, and repeated."""

from __future__ import annotations

import re

from softlaunch.config import fields, keys, problems
from softlaunch.core import spec

_RATE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?x", re.ASCII)
_RATE_MAX = 1_000.0
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/-]{0,254}\*?")
_PATH_COUNT_MAX = 50
_KEY_COUNT_MAX = 50
_FIELD = re.compile(r"(?!-)[^\x00-\x1f\x7f]{1,200}")
_MINUTE_SECONDS = 60.0
_SPAN_SECONDS_MAX = 90 * 86_400.0


def capture(field: fields.Field) -> spec.CaptureSpec | None:
    """What is recorded; None for `off`."""
    if field.scalar == "off":
        return None
    if field.scalar is not None:
        field.wrong(f"'{problems.show(field.scalar)}' is no way to record.", "Write off, or {percent: 10%}.")
        return spec.CaptureSpec()
    section = fields.Section(field, keys.CAPTURE)
    percent, disk = section.get("percent"), section.get("disk")
    default = spec.CaptureSpec()
    return spec.CaptureSpec(
        percent=(
            percent.rate_percent("A share of the predictions, or `capture: off`.", at_most=100, stand_in=100)
            if percent is not None
            else default.percent
        ),
        disk_bytes_max=(
            disk.byte_count(minimum=1 << 20, maximum=1 << 40, stand_in=default.disk_bytes_max)
            if disk is not None
            else default.disk_bytes_max
        ),
        keys=_keys(section.get("keys")),
        redact=_redact(section.get("redact")),
    )


def _keys(field: fields.Field | None) -> tuple[str, ...]:
    if field is None:
        return ()
    found = field.texts("business key", example="[booking_id]", count_max=_KEY_COUNT_MAX)
    for name in found:
        _check_name(field, name)
        if name == "rows":
            field.wrong("'rows' is where requests have their rows.", "Give the key another name, such as row_set.")
    return found


def _redact(field: fields.Field | None) -> dict[str, spec.Redaction]:
    found = {}
    if field is not None:
        for name, how in field.entries("a mapping of field to drop or hash", example="{birthday: drop}"):
            text = name.scalar or ""
            _check_name(name, text)
            found[text] = how.choice(spec.Redaction, stand_in=spec.Redaction.DROP)
    return found


def _check_name(field: fields.Field, text: str) -> None:
    # They are handed to model servers as words of a command line.
    if not _FIELD.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' cannot name a field.", "Up to 200 printable characters, not beginning with -."
        )


def replay(field: fields.Field) -> spec.ReplaySpec:
    """How recorded requests are repeated against the newest build."""
    section = fields.Section(field, keys.REPLAY)
    default = spec.ReplaySpec()
    rate = section.get("rate")
    return spec.ReplaySpec(
        every_seconds=_span(section.get("every"), default.every_seconds),
        since_seconds=_span(section.get("since"), default.since_seconds),
        rate=_rate(rate, default.rate) if rate is not None else default.rate,
    )


def predict_paths(field: fields.Field) -> tuple[str, ...]:
    """Paths; a final * stands for any rest."""
    found = field.texts("path", example="[/score, /v1/*]", count_max=_PATH_COUNT_MAX)
    for path in found:
        if not _PATH.fullmatch(path) or ".." in path.split("/") or "//" in path:
            field.wrong(
                f"'{problems.show(path)}' is not a path.", "Begin with /, and use * at the end only: [/score, /v1/*]"
            )
    return found


def _span(field: fields.Field | None, default: float) -> float:
    if field is None:
        return default
    return field.duration_seconds(minimum=_MINUTE_SECONDS, maximum=_SPAN_SECONDS_MAX, stand_in=default)


def _rate(field: fields.Field, stand_in: float) -> float:
    match = _RATE.fullmatch(field.scalar or "")
    if match is None:
        field.expected("a number and an x", example="5x")
        return stand_in
    if not 0 < float(match[1]) <= _RATE_MAX:
        field.wrong(f"{match[0]} is not between 0.001x and {_RATE_MAX:g}x.", "For example: 5x")
        return stand_in
    return float(match[1])

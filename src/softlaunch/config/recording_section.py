"""The keys `capture:`, `replay:` and `predict_paths:` of an environment: which requests are kept, and repeated."""

from __future__ import annotations

import re

from softlaunch.config import fields, keys, problems
from softlaunch.core import spec

_RATE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?x", re.ASCII)
_RATE_MAX = 1_000.0
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/-]{0,254}\*?")
_PATH_COUNT_MAX = 50
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

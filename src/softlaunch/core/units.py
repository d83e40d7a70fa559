"""
Durations, shares and sizes as people write them: 250ms, 5%, 256MiB.

Shares are exact: a percentage is read as a decimal, never as a float, so that 0.07 % is 7 of 10,000 users and not 6.
What cannot be read raises; nothing is rounded in silence.
"""

from __future__ import annotations

import decimal
import math
import re

from softlaunch import errors
from softlaunch.core import spec

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,9})?) ?%", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}) ?(B|KiB|MiB|GiB|TiB)", re.ASCII)
_SECONDS = {
    "ms": decimal.Decimal("0.001"),
    "s": decimal.Decimal(1),
    "m": decimal.Decimal(60),
    "h": decimal.Decimal(3_600),
    "d": decimal.Decimal(86_400),
}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_WEIGHT_OF_ONE_PERCENT = spec.WEIGHT_FULL // 100


def duration_seconds(text: str) -> float:
    """
    Seconds of one number and one unit: ms, s, m, h or d. A bare `0` needs no unit.

    Raises:
        ConfigError: anything else, `10` without a unit and `1h30m` included.
    """
    if text == "0":
        return 0.0
    found = _DURATION.fullmatch(text)
    if found is None:
        raise _unreadable(text, "a duration", "Write one number and one unit, such as 250ms, 10s, 5m, 24h or 7d.")
    return float(decimal.Decimal(found[1]) * _SECONDS[found[2]])


def format_duration(seconds: float) -> str:
    """
    The shortest exact spelling in the largest unit that divides it: 90.0 is 90s, 86400.0 is 1d.

    Raises:
        ConfigError: negative, infinite or not a number.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise _unreadable(repr(seconds), "a duration", "Give a finite number of seconds, zero or more.")
    exact = decimal.Decimal(repr(float(seconds)))
    if exact == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if exact % _SECONDS[unit] == 0:
            return f"{_plain(exact / _SECONDS[unit])}{unit}"
    return f"{_plain(exact / _SECONDS['ms'])}ms"


def percent(text: str) -> decimal.Decimal:
    """
    The number in `5%`, `0.25 %`.

    Raises:
        ConfigError: no percent sign (is `5` five percent or five times?), a sign, an exponent.
    """
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise _unreadable(text, "a percentage", "Write a number and a percent sign, such as 5% or 0.25%.")
    return decimal.Decimal(found[1])


def weight_from_percent(value: decimal.Decimal | float) -> int:
    """
    The share in 1/10000, exactly.

    Raises:
        ConfigError: outside 0 to 100, or finer than 0.01 %.
    """
    exact = value if isinstance(value, decimal.Decimal) else decimal.Decimal(repr(float(value)))
    if not exact.is_finite() or not 0 <= exact <= 100:
        raise _unreadable(f"{value}%", "a share of traffic", "Shares lie between 0% and 100%.")
    weight = exact * _WEIGHT_OF_ONE_PERCENT
    if weight != weight.to_integral_value():
        raise _unreadable(f"{value}%", "a share of traffic", "The smallest share is 0.01%: at most two decimals.")
    return int(weight)


def percent_from_weight(weight: int) -> float:
    """100.0 for WEIGHT_FULL; `weight_from_percent` takes every such value back exactly."""
    return weight / _WEIGHT_OF_ONE_PERCENT


def format_weight(weight: int) -> str:
    """500 is `5%`, 1 is `0.01%`."""
    return f"{_plain(decimal.Decimal(weight) / _WEIGHT_OF_ONE_PERCENT)}%"


def byte_count(text: str) -> int:
    """
    Bytes of a whole number and one unit: B, KiB, MiB, GiB or TiB.

    Raises:
        ConfigError: anything else; MB and KB included, because half of the world reads them as powers of ten.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise _unreadable(text, "a size", "Write a whole number and a unit, such as 512KiB, 256MiB or 1GiB.")
    return int(found[1]) * _BYTES[found[2]]


def format_bytes(count: int) -> str:
    """
    Exact, in the largest unit that divides it: 268435456 is `256MiB`.

    Raises:
        ConfigError: negative.
    """
    if count < 0:
        raise _unreadable(repr(count), "a size", "Give zero bytes or more.")
    unit = next((name for name in ("TiB", "GiB", "MiB", "KiB") if count and count % _BYTES[name] == 0), "B")
    return f"{count // _BYTES[unit]}{unit}"


def _plain(value: decimal.Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _unreadable(text: str, kind: str, remedy: str) -> errors.ConfigError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return errors.ConfigError(f"{shown!r} is not {kind}.", remedy=remedy, code=errors.Code.UNIT)

"""
What a load test says of a release: it passes, it fails, or the test itself is invalid.

    invalid   more than 1 % of the requests were behind the sender's own schedule: this machine had no time for it
    fail      more errors than allowed, or the p99 is too high however it is counted
    invalid   requests were dropped, or more than 1 % waited for a connection, and that alone makes the p99 too high
    pass      everything else: nothing was dropped, and the p99 from the intended start is within the bound

A p99 is of one request in a hundred; so many may be late before they can move it by themselves. What is counted from
the intended start holds waiting that the release may not be to blame for, so a pass by it is one; what is counted from
the actual start holds too little of it, so a failure by that is one. Between the two only a better test can tell.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from softlaunch.core import verify_specs

LATE_SHARE_MAX = 0.01
LATE_MS_MIN = 2.0
"""Timers of an event loop are a millisecond coarse: no request is late for that."""
LATE_SHARE_OF_BOUND = 0.25
"""A guess: lateness beyond a quarter of the p99 that is allowed says more of the sender than of the release."""


class Verdict(enum.StrEnum):
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INVALID = "invalid"
    """The sender was the limit: neither of the two."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    verdict: Verdict
    reason: str


def late_seconds(wanted: verify_specs.LoadSpec) -> float:
    """From when on a request is late."""
    return max(LATE_SHARE_OF_BOUND * wanted.latency_ms_p99_max, LATE_MS_MIN) / 1e3


def connection_count_max(wanted: verify_specs.LoadSpec, *, timeout_seconds: float) -> int:
    """Connections the sender opens at most; by default the whole load fits when every answer takes its timeout."""
    if wanted.connection_count_max is not None:
        return wanted.connection_count_max
    return max(16, min(1_000, round(wanted.rate * timeout_seconds)))


def judge(wanted: verify_specs.LoadSpec, found: Mapping[str, Any]) -> Judgement:
    """
    The verdict about what a sender reported.

    Args:
        wanted: The bounds.
        found: tally.Tally.document, of a test that has ended.
    """
    planned, late, dropped = found["planned"], found["late_by"], found["dropped"]
    allowed = LATE_SHARE_MAX * planned
    if found["sent"] + found["late"] + dropped != planned:
        missing = planned - found["sent"] - found["late"] - dropped
        return _invalid(f"{missing} of {planned:,} planned requests are unaccounted for. Please report that.")
    if late["sender"] > allowed:
        return _invalid(
            f"the sender itself was behind its schedule for {late['sender']:,} of {planned:,} requests, by up to "
            f"{found['lag_ms']['max']:.3g} ms: this machine had no time for it. Stop what else runs here, or lower "
            "`rate`."
        )
    answered = planned - dropped
    wrong = sum(found["errors"].values())
    if answered and wrong > wanted.error_percent_max / 100 * answered:
        first = ", ".join(f"{count:,} x {kind}" for kind, count in list(found["errors"].items())[:3])
        return Judgement(
            verdict=Verdict.FAIL,
            reason=f"{wrong:,} of {answered:,} requests failed ({100 * wrong / answered:.3g} %, allowed "
            f"{wanted.error_percent_max:g} %): {first}.",
        )
    bound = wanted.latency_ms_p99_max
    p99, from_send = found["latency_ms"]["p99"], found["latency_ms_from_send"]["p99"]
    if from_send is not None and from_send > bound:
        return Judgement(verdict=Verdict.FAIL, reason=f"p99 {_ms(p99)}, allowed {_ms(bound)}.")
    waited = late["connections"] > allowed
    if dropped or (waited and p99 > bound):
        what = f"{dropped:,} were dropped" if dropped else f"{late['connections']:,} waited"
        return _invalid(
            f"of {planned:,} requests {what} because every connection was waiting for an answer. Give more "
            "`connections`, or lower `rate`."
        )
    if p99 > bound:
        return Judgement(verdict=Verdict.FAIL, reason=f"p99 {_ms(p99)}, allowed {_ms(bound)}.")
    return Judgement(verdict=Verdict.PASS, reason=f"p99 {_ms(p99)}, allowed {_ms(bound)}.")


def _invalid(why: str) -> Judgement:
    return Judgement(verdict=Verdict.INVALID, reason=f"The load test is invalid: {why}")


def summary(found: Mapping[str, Any]) -> str:
    """Counts and quantiles in one sentence, for people."""
    shown = ", ".join(f"{name} {_ms(value)}" for name, value in found["latency_ms"].items() if value is not None)
    wrong = sum(found["errors"].values())
    return (
        f"Of {found['planned']:,} requests {found['sent']:,} were sent when due, {found['late']:,} late, "
        f"{found['dropped']:,} dropped; {wrong:,} failed{'; ' if shown else ''}{shown}."
    )


def _ms(value: float) -> str:
    return f"{value / 1e3:.3g} s" if value >= 1e3 else f"{value:.3g} ms"

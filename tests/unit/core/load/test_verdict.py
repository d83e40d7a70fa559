"""What a load test says of a release."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from softlaunch.core import verify_specs
from softlaunch.core.load import verdict
from softlaunch.core.load.verdict import Verdict

WANTED = verify_specs.LoadSpec(rate=200.0, duration_seconds=15.0, latency_ms_p99_max=20.0)


def report(
    *,
    sender: int = 0,
    connections: int = 0,
    dropped: int = 0,
    errors: dict[str, int] | None = None,
    p99: float | None = 8.0,
    from_send: float | None = None,
    planned: int = 3_000,
) -> dict[str, Any]:
    late = sender + connections
    quantiles = dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), p99)
    return {
        "planned": planned,
        "sent": planned - late - dropped,
        "late": late,
        "late_by": {"sender": sender, "connections": connections},
        "dropped": dropped,
        "errors": errors or {},
        "latency_ms": quantiles,
        "latency_ms_from_send": {**quantiles, "p99": p99 if from_send is None else from_send},
        "lag_ms": {**quantiles, "max": 312.0},
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (report(), Verdict.PASS),
        (report(p99=20.0), Verdict.PASS),
        (report(p99=20.1), Verdict.FAIL),
        (report(errors={"status 500": 3}), Verdict.PASS),
        (report(errors={"status 500": 4}), Verdict.FAIL),
        (report(sender=30), Verdict.PASS),
        (report(sender=31), Verdict.INVALID),
        (report(sender=31, p99=500.0), Verdict.INVALID),
        (report(sender=3_000, p99=1.0), Verdict.INVALID),
        (report(connections=31), Verdict.PASS),
        (report(connections=31, p99=25.0, from_send=15.0), Verdict.INVALID),
        (report(connections=31, p99=60.0, from_send=25.0), Verdict.FAIL),
        (report(connections=30, p99=25.0, from_send=15.0), Verdict.FAIL),
        (report(dropped=1), Verdict.INVALID),
        (report(dropped=1, p99=60.0), Verdict.FAIL),
        (report(dropped=3_000, p99=None), Verdict.INVALID),
        ({**report(), "sent": 2_999}, Verdict.INVALID),
    ],
)
def test_a_verdict_blames_the_release_only_for_what_is_the_release_s(found, expected) -> None:
    judged = verdict.judge(WANTED, found)

    assert expected is judged.verdict, judged.reason
    assert judged.reason.endswith(".")


def test_the_reason_of_an_invalid_test_says_what_to_do() -> None:
    assert "behind its schedule for 400 of 3,000" in verdict.judge(WANTED, report(sender=400)).reason
    assert "lower `rate`" in verdict.judge(WANTED, report(sender=400)).reason
    assert "Give more `connections`" in verdict.judge(WANTED, report(connections=99, p99=30.0, from_send=2.0)).reason


def test_errors_are_told_by_kind() -> None:
    judged = verdict.judge(WANTED, report(errors={"status 500": 40, "no answer: timeout": 2}))

    assert (
        "42 of 3,000 requests failed (1.4 %, allowed 0.1 %): 40 x status 500, 2 x no answer: timeout." == judged.reason
    )


@pytest.mark.parametrize(("bound", "late"), [(20.0, 0.005), (1_000.0, 0.25), (1.0, 0.002)])
def test_lateness_is_measured_by_the_bound_and_never_finer_than_timers_are(bound, late) -> None:
    assert late == verdict.late_seconds(dataclasses.replace(WANTED, latency_ms_p99_max=bound))


@pytest.mark.parametrize(
    ("rate", "given", "expected"), [(200.0, None, 1_000), (10.0, None, 50), (1.0, None, 16), (9.0, 4, 4)]
)
def test_by_default_all_of_the_load_may_wait_for_answers_at_once(rate, given, expected) -> None:
    wanted = dataclasses.replace(WANTED, rate=rate, connection_count_max=given)

    assert expected == verdict.connection_count_max(wanted, timeout_seconds=5.0)


def test_seconds_are_written_as_seconds() -> None:
    assert "p99 1.85 s, allowed 20 ms." == verdict.judge(WANTED, report(p99=1_850.0)).reason
    assert "p50 1.85 s" in verdict.summary(report(p99=1_850.0))

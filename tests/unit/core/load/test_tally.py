"""What a load test counts, against arithmetic."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch.core.load import schedule, tally
from softlaunch.core.verify_specs import Arrivals

BIN = 1.015
"""A quantile is at most so much too high: the width of a bin of core.stats.quantiles."""


def frozen(arrivals: Arrivals, *, rate: float, seconds: float, at: float, lasting: float) -> dict[str, Any]:
    """A server that answers in 1 ms, and not at all between `at` and `at + lasting`; in virtual time."""
    offsets = schedule.offsets(arrivals, rate=rate, duration_seconds=seconds, seed=5)
    found = tally.Tally(planned=len(offsets), late_seconds=0.005)
    for offset in offsets:
        lag = found.due(intended=offset, now=offset)
        found.started(intended=offset, lag_seconds=lag, now=offset)
        answered = max(offset + 0.001, at + lasting) if at <= offset < at + lasting else offset + 0.001
        found.ended(intended=offset, started=offset, now=answered)
    return found.document()


@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_a_freeze_of_two_seconds_shows_in_the_p99_as_arithmetic_says(arrivals) -> None:
    # 200/s for 15 s: the slowest 1 % are 30 of the 400 that met the freeze, those of its first 0.15 s.
    found = frozen(arrivals, rate=200.0, seconds=15.0, at=5.0, lasting=2.0)

    assert 1_850 == pytest.approx(found["latency_ms"]["p99"], rel=0.05)
    assert 1 == pytest.approx(found["latency_ms"]["p50"], rel=0.02)
    assert found["latency_ms"]["max"] <= 2_000 * BIN
    assert (3_000, 0, 0) == (found["sent"], found["late"], found["dropped"])


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_quantile_is_never_too_low_and_at_most_a_bin_too_high(probability) -> None:
    found = tally.Tally(planned=1_000, late_seconds=1.0)
    for number in range(1, 1_001):
        found.ended(intended=0.0, started=0.0, now=number / 1e3)

    exact = math.ceil(probability * 1_000)
    assert exact <= found.quantile_ms(probability) * (1 + 1e-9)
    assert found.quantile_ms(probability) <= exact * BIN


@hypothesis.given(
    strategies.lists(
        strategies.tuples(
            strategies.floats(0, 0.1), strategies.floats(0, 0.1), strategies.sampled_from(["sent", "dropped"])
        ),
        max_size=50,
    )
)
def test_every_planned_request_is_counted_once(requests) -> None:
    found = tally.Tally(planned=len(requests), late_seconds=0.01)
    behind = waited = 0
    for lag, wait, fate in requests:
        assert lag == pytest.approx(found.due(intended=5.0, now=5.0 + lag), abs=1e-12)
        if fate == "dropped":
            found.dropped()
            continue
        found.started(intended=5.0, lag_seconds=lag, now=5.0 + lag + wait)
        behind += lag > 0.01
        waited += lag <= 0.01 < (5.0 + lag + wait) - 5.0
    document = found.document()

    assert document["planned"] == document["sent"] + document["late"] + document["dropped"]
    assert {"sender": behind, "connections": waited} == document["late_by"]


def test_a_request_that_waited_for_the_sender_is_slow_for_the_user_and_not_for_the_server() -> None:
    found = tally.Tally(planned=1, late_seconds=0.01)
    lag = found.due(intended=1.0, now=1.5)
    found.started(intended=1.0, lag_seconds=lag, now=1.5)
    found.ended(intended=1.0, started=1.5, now=1.6, error="status 500")

    document = found.document()
    assert 600 == pytest.approx(document["latency_ms"]["max"], rel=0.016)
    assert 100 == pytest.approx(document["latency_ms_from_send"]["max"], rel=0.016)
    assert ({"status 500": 1}, {"sender": 1, "connections": 0}) == (document["errors"], document["late_by"])


def test_a_test_without_answers_has_no_quantiles() -> None:
    found = tally.Tally(planned=1, late_seconds=0.01)
    found.dropped()

    assert {None} == set(found.document()["latency_ms"].values())

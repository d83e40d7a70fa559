"""A curve is short, tells the same for the same reports, and keeps what happened."""

from __future__ import annotations

import json
import math

from softlaunch.controller import curves


def report(log_e: float, *, trials: int = 100, promote: float = 0.0) -> dict:
    entry = {
        "enforcing": True,
        "log_e": log_e,
        "log_threshold": 5.0,
        "log_e_promote": promote,
        "log_threshold_promote": 4.6,
        "candidate_events": 1,
        "candidate_trials": trials,
        "stable_events": 2,
        "stable_trials": 9 * trials,
    }
    return {"log_e": log_e, "log_threshold": 4.6, "guardrails": {"errors": entry, "latency": {**entry, "log_e": 0.0}}}


def day() -> curves.Curve:
    """Steps for a minute, a quiet day, and a failure within one second at its end."""
    curve = curves.Curve()
    at = 1_700_000_000.0
    for tick in range(1_200):
        step = min(tick // 400, 2)
        curve.offer(at + tick / 20, report(math.sin(tick / 50), trials=tick), share=(0.01, 0.1, 0.5)[step], step=step)
    for tick in range(17_280):
        curve.offer(at + 60 + 5 * tick, report(-1.0 + 0.001 * (tick % 7), trials=tick), share=0.95, step=3)
    for tick in range(20):
        curve.offer(at + 86_460 + tick / 20, report(5.2 * (tick + 1) / 20), share=0.95, step=3)
    return curve


def test_a_day_is_a_few_hundred_points_and_few_bytes():
    document = day().document()

    assert 100 <= len(document["at"]) <= curves.POINTS_MAX
    assert len(json.dumps(document)) < 40_000


def test_a_failure_within_a_second_stays_steep_beside_a_quiet_day():
    document = day().document()
    errors = document["guardrails"]["errors"]["log_e"]
    last = document["at"][-1]

    assert 5.2 == errors[-1]
    assert [] != [value for at, value in zip(document["at"], errors, strict=True) if last - 1.5 < at and value < 2.0]


def test_every_change_of_share_is_on_the_curve():
    assert [0.01, 0.1, 0.5, 0.95] == sorted(set(day().document()["share"]))


def test_the_same_reports_give_the_same_curve():
    assert day().document() == day().document()


def test_a_restored_curve_goes_on_where_it_was():
    once = day()
    again = curves.Curve.restore(json.loads(json.dumps(once.document())))

    assert once.document() == again.document()
    again.offer(1_800_000_000.0, report(1.0), share=0.95, step=3)
    assert 1_800_000_000.0 == again.document()["at"][-1]


def test_a_share_that_never_rests_is_bounded_too():
    curve = curves.Curve()
    for tick in range(5_000):
        curve.offer(float(tick), report(0.0), share=(tick % 2) / 2, step=0)

    assert len(curve.document()["at"]) <= curves.POINTS_MAX


def test_a_curve_without_a_point_is_empty_and_can_be_restored():
    assert [] == curves.Curve.restore(curves.Curve().document()).document()["at"]
    assert [] == curves.Curve.restore(None).document()["at"]

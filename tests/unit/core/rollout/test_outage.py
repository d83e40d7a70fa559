from __future__ import annotations

import json

import pytest

from softlaunch import errors
from softlaunch.core.rollout import outage


def observe(watch: outage.OutageWatch, start: float, count: int, *, stable: bool, candidate: bool) -> None:
    """So many trials of either arm, 100 a second, bad where said."""
    for index in range(count):
        watch.observe(start + index / 100, False, stable)
        watch.observe(start + index / 100, True, candidate)


def test_both_arms_failing_is_a_shared_outage_and_it_ends_when_stable_is_back() -> None:
    watch = outage.OutageWatch(history_rate=0.01)
    observe(watch, 0.0, 100, stable=False, candidate=False)
    assert watch.reason == ""
    observe(watch, 20.0, 60, stable=True, candidate=True)
    assert "share" in watch.reason
    observe(watch, 40.0, 60, stable=False, candidate=True)
    assert watch.reason == ""


@pytest.mark.parametrize(("stable", "candidate"), [(False, True), (True, False)])
def test_one_arm_failing_is_none(stable: bool, candidate: bool) -> None:  # noqa: FBT001
    watch = outage.OutageWatch(history_rate=0.0)
    observe(watch, 0.0, 300, stable=stable, candidate=candidate)

    assert watch.reason == ""


def test_a_stable_that_always_failed_often_has_to_fail_much_more_often() -> None:
    watch = outage.OutageWatch(history_rate=0.1)
    for index in range(400):
        for from_candidate in (False, True):
            watch.observe(index / 100, from_candidate, index % 5 < 2)  # 40 %, and 50 % would be five times as often

    assert watch.reason == ""


def test_old_trials_are_forgotten() -> None:
    watch = outage.OutageWatch(history_rate=0.0)
    observe(watch, 0.0, 15, stable=True, candidate=True)
    observe(watch, 60.0, 15, stable=True, candidate=True)

    assert watch.reason == ""  # thirty in all, but fifteen of the last ten seconds


def test_state_brings_back_an_equal_watch() -> None:
    watch = outage.OutageWatch(history_rate=0.01)
    for index in range(500):
        watch.observe(index / 50, index % 3 == 0, index % 7 < 4)
        again = outage.OutageWatch.load(json.loads(json.dumps(watch.state())))
        assert watch.state() == again.state()
        if index % 50 == 0:
            watch = again
    assert watch.reason


def test_a_record_that_is_no_rate_is_refused() -> None:
    with pytest.raises(errors.InvariantError):
        outage.OutageWatch(history_rate=1.5)

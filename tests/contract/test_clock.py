"""What every ports.clock.Clock promises, asked of the real one and of the virtual one."""

from __future__ import annotations

import pytest

from softlaunch.adapters.local import clock as local_clock
from softlaunch.ports import clock as clock_port
from softlaunch.testing import clock as testing_clock


@pytest.fixture(params=[local_clock.SystemClock, testing_clock.ManualClock], ids=["system", "manual"])
def clock(request: pytest.FixtureRequest) -> clock_port.Clock:
    return request.param()


def test_now_is_unix_seconds_of_this_century(clock: clock_port.Clock) -> None:
    assert 1_600_000_000 < clock.now() < 4_102_444_800


def test_time_does_not_go_back(clock: clock_port.Clock) -> None:
    assert clock.now() <= clock.now()


def test_after_sleeping_that_much_time_has_passed(clock: clock_port.Clock) -> None:
    before = clock.now()
    clock.sleep(0.01)

    assert clock.now() - before >= 0.01 - 1e-6


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_deadline_that_has_passed_is_not_waited_for(clock: clock_port.Clock, seconds: float) -> None:
    before = clock.now()
    clock.sleep(seconds)

    assert 0 <= clock.now() - before < 1.0

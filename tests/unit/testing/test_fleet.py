"""Of the in-memory fleet, what its contract suite cannot ask: stopping that takes virtual time."""

from __future__ import annotations

from softlaunch.core import release
from softlaunch.ports import fleet
from softlaunch.testing import clock as testing_clock
from softlaunch.testing import fleet as testing_fleet

DIGEST = release.Digest("sha256:" + "a1" * 32)
SPEC = fleet.ReplicaSpec(
    name=f"flights/production/{DIGEST.short}/0", service="flights", environment="production", release=DIGEST, number=0
)


def test_stopping_takes_the_virtual_time_it_was_given() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock, stop_seconds=3.0)
    found.start(SPEC)
    found.stop(SPEC.name)

    clock.advance(2.9)
    assert {SPEC.name} == found.stopping()
    clock.advance(0.1)
    assert frozenset() == found.stopping()


def test_stopping_takes_no_longer_than_the_grace() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock, stop_seconds=60.0)
    found.start(SPEC)
    found.stop(SPEC.name, grace_seconds=5.0)

    clock.advance(5.0)

    assert frozenset() == found.stopping()


def test_a_replica_started_while_its_process_ends_waits_for_that() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock, stop_seconds=3.0)
    found.start(SPEC)
    found.stop(SPEC.name)
    found.start(SPEC)

    assert [fleet.ReplicaPhase.STARTING] == [status.phase for status in found.observe()]
    clock.advance(3.0)
    assert [fleet.ReplicaPhase.READY] == [status.phase for status in found.observe()]

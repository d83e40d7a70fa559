from __future__ import annotations

import itertools
import json

import pytest

from softlaunch.core import attempts
from softlaunch.core.rollout import first_attempts

STABLE = "a" * 12
CANDIDATE = "b" * 12


def line(
    *,
    request_id: str = "r",
    started_at: float = 0.0,
    release: str = STABLE,
    composite: bool = False,
    number: int = 1,
    status: int = 200,
    flags: str = "-",
    latency_us: int | None = 1_000,
) -> attempts.Attempt:
    return attempts.Attempt(
        started_at=started_at,
        request_id=request_id,
        service="s",
        environment="production",
        epoch=1,
        release=release,
        composite=composite,
        number=number,
        status=status,
        flags=flags,
        latency_us=latency_us,
        key="",
        invalid=False,
        shed=False,
    )


def resolver() -> first_attempts.FirstAttempts:
    return first_attempts.FirstAttempts(stable=STABLE, candidate=CANDIDATE, wait_seconds=10.0)


def firsts_of(lines: list[attempts.Attempt], *, later: float | None = 1_000.0) -> list[attempts.Attempt]:
    found = resolver()
    firsts = []
    for attempt in lines:
        if attempt.started_at > found.due_at:
            firsts += found.overdue(attempt.started_at)
        first = found.admit(attempt)
        if first is not None:
            firsts.append(first)
    if later is not None:
        firsts += found.overdue(later)
    assert found.repeats == len(lines) - len(firsts) - found.held_count
    return firsts


PLAIN = line()
FAILED = line(status=503)
RETRY = line(started_at=0.1, number=2)
SECOND_RETRY = line(started_at=0.2, number=3, status=503)
FAILED_RETRY = line(started_at=0.1, number=2, status=503)
HEDGED_LOST = line(number=2, status=0, flags="UT", latency_us=None)
HEDGED_WON_LATE = line(number=2, flags="UT", latency_us=400_000)
HEDGE_WON = line(started_at=0.15, number=2)
HEDGE_CENSORED = line(started_at=0.15, number=2, status=0, latency_us=None)
HEDGED_LATEST = line(number=3, status=0, flags="UT", latency_us=None)
HEDGE_FAILED = line(started_at=0.15, number=2, status=503)
RETRY_OF_HEDGE = line(started_at=0.2, number=3)
HEDGE_LATE = line(started_at=0.15, number=3, status=503)


@pytest.mark.parametrize(
    "lines",
    [
        [PLAIN],
        [FAILED, RETRY],
        [FAILED, FAILED_RETRY, SECOND_RETRY],
        [HEDGED_LOST, HEDGE_WON],
        [HEDGED_WON_LATE, HEDGE_CENSORED],
        [HEDGED_LATEST, HEDGE_FAILED, RETRY_OF_HEDGE],
        [HEDGED_LOST, HEDGE_LATE, RETRY_OF_HEDGE],
        [HEDGED_LATEST, HEDGE_LATE, RETRY_OF_HEDGE],
        [HEDGED_LOST],
    ],
)
def test_whatever_the_order_of_the_log_the_first_line_here_is_the_only_first_attempt(
    lines: list[attempts.Attempt],
) -> None:
    for order in itertools.permutations(lines):
        assert [lines[0]] == firsts_of(list(order)), order


@pytest.mark.parametrize("first", [line(status=503), line(status=0, flags="UC"), line(number=2, flags="UT")])
def test_under_the_composite_the_candidate_is_first_and_stable_a_retry_in_either_order(first) -> None:
    first = first._replace(release=CANDIDATE, composite=True)
    retry = line(composite=True, number=2)

    assert [first] == firsts_of([first, retry])
    assert [first] == firsts_of([retry, first])


def test_without_a_composite_the_candidate_is_resolved_like_stable() -> None:
    lines = [attempt._replace(release=CANDIDATE) for attempt in (FAILED, RETRY)]
    for order in itertools.permutations(lines):
        assert [lines[0]] == firsts_of(list(order))


def test_two_lines_that_say_the_same_start_are_told_apart_by_the_timeout() -> None:
    hedge = HEDGE_WON._replace(started_at=HEDGED_LOST.started_at)
    for order in itertools.permutations([HEDGED_LOST, hedge]):
        assert [HEDGED_LOST] == firsts_of(list(order))


def test_a_held_line_waits_for_its_sibling_and_not_longer_than_the_bound() -> None:
    found = resolver()
    assert found.admit(HEDGED_LOST) is None
    assert [] == found.overdue(10.0)
    assert 1 == found.held_count
    assert [HEDGED_LOST] == found.overdue(10.1)
    assert 0 == found.held_count


def test_a_line_that_reached_no_replica_belongs_to_the_arm_its_route_had_chosen() -> None:
    unreached = line(release="", composite=True, status=503, flags="UF")

    assert [unreached] == firsts_of([unreached])
    assert [] == firsts_of([unreached._replace(number=2)])


def test_lines_of_other_releases_are_ignored() -> None:
    found = resolver()

    assert found.admit(line(release="c" * 12)) is None
    assert found.admit(line(release="c" * 12, composite=True)) is None
    assert 2 == found.ignored


def test_answered_requests_are_not_remembered_and_failed_ones_not_for_long() -> None:
    found = resolver()
    for index in range(1_000):
        if index > found.due_at:
            found.overdue(float(index))
        found.admit(line(request_id=f"r{index}", started_at=float(index), status=503 if index % 2 else 200))

    assert len(found.state()["tracked"]) <= 6


def test_state_brings_back_what_was_held() -> None:
    for order in itertools.permutations([HEDGED_LATEST, HEDGE_FAILED, RETRY_OF_HEDGE]):
        found = resolver()
        firsts = []
        for attempt in order:
            firsts.append(found.admit(attempt))
            again = resolver()
            again.load(json.loads(json.dumps(found.state())))
            found = again
        assert [HEDGED_LATEST] == [first for first in firsts if first is not None]


def test_without_an_id_only_number_one_is_known_to_be_first() -> None:
    plain, failed, later = line(request_id=""), line(request_id="", status=503), line(request_id="", number=2)

    assert [plain, failed, plain] == firsts_of([plain, failed, later, later, plain])

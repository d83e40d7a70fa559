"""Cohorts have shares and epochs of their own; what is mirrored is known, and touches nobody."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import math
import statistics
import threading
from typing import Any

import gateway_bench
import gateway_client
import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import traffic

STABLE, CANDIDATE = gateway_bench.STABLE.short, gateway_bench.CANDIDATE.short
USERS = 300


def cohort(**options: Any) -> spec.CohortSpec:
    return spec.CohortSpec(**({"name": "staff", "header": "x-tenant", "values": ("staff",)} | options))


def asked(bench: gateway_bench.Bench, *headers: tuple[str, str], count: int = USERS) -> list[gateway_client.Answer]:
    """One request of each of `count` users, all with these headers."""
    requests = [gateway_client.Request(headers=(("x-user-id", f"user-{number}"), *headers)) for number in range(count)]
    return asyncio.run(gateway_client.send(bench.port, requests, connections=32))


def candidates(answers: list[gateway_client.Answer]) -> set[int]:
    return {number for number, answer in enumerate(answers) if gateway_bench.served_by([answer])[CANDIDATE]}


def epochs(bench: gateway_bench.Bench, at_least: int) -> collections.Counter[tuple[int, str]]:
    return collections.Counter((attempt.epoch, attempt.release) for attempt in bench.attempts(at_least=at_least))


def test_cohorts_are_taken_in_order_by_values_pattern_or_presence(bench: gateway_bench.Bench) -> None:
    cohorts = (
        traffic.CohortRoute(cohort=cohort(values=("staff", "a.b")), weight=10_000, epoch=101),
        traffic.CohortRoute(cohort=cohort(values=(), pattern="t-[0-9]+"), weight=0, epoch=102),
        traffic.CohortRoute(cohort=cohort(header="x-beta", values=()), weight=10_000, epoch=103),
    )
    route = bench.apply(weight=0, cohorts=cohorts)
    expected = {
        (("x-tenant", "staff"), ("x-beta", "")): (101, CANDIDATE),
        (("x-tenant", "a.b"),): (101, CANDIDATE),
        (("x-tenant", "axb"),): (route.epoch, STABLE),
        (("x-tenant", "staff2"),): (route.epoch, STABLE),
        (("x-tenant", "t-12"), ("x-beta", "1")): (102, STABLE),
        (("x-tenant", "xt-12"), ("x-beta", "1")): (103, CANDIDATE),
        (("x-beta", ""),): (103, CANDIDATE),
        (): (route.epoch, STABLE),
    }
    for headers, (epoch, release) in expected.items():
        asked(bench, *headers, count=20)
        assert {(epoch, release): 20} == epochs(bench, 20), headers


def test_values_of_a_cohort_may_hold_any_characters(bench: gateway_bench.Bench) -> None:
    strange = (
        "a|b",
        "(.*)",
        "^$",
        'say "x"',
        "back\\slash",
        "\\E.*",
        "a,b; c=d",
        "50 %",
        "{n}",
        "[z]",
        "jürgen",
        "*",
        "",
    )
    route = bench.apply(
        weight=0, cohorts=(traffic.CohortRoute(cohort=cohort(values=strange), weight=10_000, epoch=101),)
    )
    for value in strange:
        asked(bench, ("x-tenant", value.encode().decode("latin-1")), count=5)
        assert {(101, CANDIDATE): 5} == epochs(bench, 5), value
    for value in ("a", "b", "anything", "z", "n", "say x", "jurgen", "x*"):
        asked(bench, ("x-tenant", value), count=5)
        assert {(route.epoch, STABLE): 5} == epochs(bench, 5), value


def test_a_cohort_of_five_thousand_users_is_known_by_name(bench: gateway_bench.Bench) -> None:
    values = tuple(f"user.{number}@example.com" for number in range(5000))
    route = bench.apply(
        weight=0, cohorts=(traffic.CohortRoute(cohort=cohort(values=values), weight=10_000, epoch=101),)
    )
    for number in (0, 1999, 2000, 4999):
        asked(bench, ("x-tenant", values[number]), count=2)
    asked(bench, ("x-tenant", "user.5000@example.com"), ("x-user-id", "user.1"), count=2)

    assert {(101, CANDIDATE): 8, (route.epoch, STABLE): 2} == epochs(bench, 10)


def test_nobody_in_a_cohort_moves_back_while_either_share_grows(bench: gateway_bench.Bench) -> None:
    salt = bench.apply().salt
    before: tuple[set[int], set[int]] = (set(), set())
    for share, everybody in ((1000, 0), (5000, 0), (5000, 100), (5000, 5000), (8000, 8000), (10_000, 10_000)):
        inside = traffic.CohortRoute(cohort=cohort(), weight=share, epoch=101)
        bench.apply(weight=everybody, salt=salt, cohorts=(inside,))
        members, others = candidates(asked(bench, ("x-tenant", "staff"))), candidates(asked(bench))

        assert before[0] <= members
        assert before[1] <= others <= members
        assert members == candidates(asked(bench, ("x-tenant", "staff")))
        before = (members, others)
    # Once the cohort's share is everybody's, leaving the cohort out moves nobody either.
    bench.apply(weight=10_000, salt=salt)
    assert before[0] <= candidates(asked(bench, ("x-tenant", "staff")))


@pytest.mark.slow
@pytest.mark.slow
def test_a_share_of_one_in_ten_thousand_is_one_in_ten_thousand(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=1, salt="one in ten thousand")  # always the same users
    bench.attempts()
    count = 40_000
    requests = [gateway_client.Request(headers=(("x-user-id", f"u{number}"),)) for number in range(count)]
    asyncio.run(gateway_client.send(bench.port, requests, connections=64))
    seen = {attempt.key for attempt in bench.attempts(at_least=count) if attempt.release == CANDIDATE}
    expected = count / 10_000
    tolerance = 4 * math.sqrt(expected * (1 - 1 / 10_000))  # four binomial standard errors

    assert 1 <= len(seen) <= expected + tolerance
    again = [gateway_client.Request(headers=(("x-user-id", user),)) for user in seen for _ in range(5)]
    assert {CANDIDATE} == set(gateway_bench.served_by(asyncio.run(gateway_client.send(bench.port, again))))


def shadow(bench: gateway_bench.Bench, weight: int = 10_000) -> traffic.ShadowRoute:
    return traffic.ShadowRoute(
        candidate=gateway_bench.arm(gateway_bench.CANDIDATE, bench.candidate), weight=weight, epoch=900
    )


def ids(heads: list[dict[str, str]], **headers: str) -> set[str]:
    """Request ids of those that carried these headers."""
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    return {head["x-request-id"] for head in heads if wanted.items() <= head.items()}


def settle(bench: gateway_bench.Bench, count: int) -> None:
    """Copies arrive by themselves, a little later than the answers."""
    for _ in range(200):
        if bench.candidate.attempts >= count:
            return
        threading.Event().wait(0.01)


def test_what_is_mirrored_is_known_on_both_sides_and_in_the_log(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, shadow=shadow(bench, 3000))
    count = 2000
    answers = bench.send(count)
    stable = [head for server in bench.stable for head in server.heads]
    mirrored = ids(stable, x_softlaunch_arm="mirrored", x_softlaunch_epoch="900")
    settle(bench, len(mirrored))
    copies = ids(bench.candidate.heads, x_softlaunch_arm="shadow")
    logged = {attempt.request_id for attempt in bench.attempts(at_least=count) if attempt.epoch == 900}

    assert [] == gateway_bench.failed(answers)
    assert mirrored == copies == logged
    assert len(copies) == bench.candidate.attempts
    assert abs(len(copies) - count * 0.3) < 4 * math.sqrt(count * 0.3 * 0.7)
    assert {"flights.localhost"} == {head["host"] for head in bench.candidate.heads}
    assert len(mirrored) == sum("x-softlaunch-arm" in head for head in stable)
    assert {b'{"rows":[{}]}'} == set(bench.candidate.bodies)


def test_nothing_but_predictions_is_ever_mirrored(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, shadow=shadow(bench), predict_paths=("/score", "/api/*"))
    for path in ("/orders", "/scores", "/ap", "/v2", "/predict/x"):
        bench.send(50, path=path)
    for path in ("/predict", "/score", "/api/x"):
        bench.send(50, path=path, method="PUT")
        bench.send(50, path=path, method="GET", body=b"")
    assert {200} == {answer.status for answer in bench.send(30, path="/flights/api/x/y", host="localhost")}
    assert {200} == {answer.status for answer in bench.send(30, path="/score")}
    settle(bench, 60)
    threading.Event().wait(0.1)

    assert {"/api/x/y": 30, "/score": 30} == bench.candidate.paths


def test_a_client_cannot_say_that_it_is_a_copy_or_was_copied(bench: gateway_bench.Bench) -> None:
    forged = [("x-softlaunch-arm", "shadow"), ("x-softlaunch-epoch", "7")]
    route = bench.apply(rollout=False, shadow=shadow(bench, 1))
    answers = asked(bench, *forged, ("x-softlaunch-mirror-to", "flights/production/stable/x"), count=50)
    bench.apply(rollout=False)
    answers += asked(bench, *forged, count=50)
    heads = [head for server in bench.stable for head in server.heads]

    assert [] == gateway_bench.failed(answers)
    assert not any("x-softlaunch-arm" in head for head in heads)
    assert {str(route.epoch + 1)} == {head["x-softlaunch-epoch"] for head in heads}


def test_with_shares_and_cohorts_only_what_stable_answers_is_mirrored(bench: gateway_bench.Bench) -> None:
    staff = traffic.CohortRoute(cohort=cohort(), weight=8000, epoch=101)
    for weight in (0, 2000):
        route = bench.apply(weight=weight, cohorts=(staff,), shadow=shadow(bench))
        asked(bench, ("x-tenant", "staff"))
        asked(bench)
        own = [head for head in bench.candidate.heads if "x-softlaunch-arm" not in head]
        settle(bench, 2 * USERS)
        stable = [head for server in bench.stable for head in server.heads]
        seen = epochs(bench, 2 * USERS)

        assert ids(stable, x_softlaunch_arm="mirrored") == ids(bench.candidate.heads, x_softlaunch_arm="shadow")
        assert len(stable) == len(ids(stable, x_softlaunch_arm="mirrored"))
        assert len(own) + len(stable) == 2 * USERS
        assert {(900, STABLE), (101, CANDIDATE)} | ({(route.epoch, CANDIDATE)} if weight else set()) == set(seen)
        assert abs(seen[101, CANDIDATE] - 0.8 * USERS) < 4 * math.sqrt(USERS * 0.8 * 0.2)


@pytest.fixture
def quick(bench: gateway_bench.Bench) -> gateway_bench.Bench:
    bench.apply(rollout=False)
    bench.send(500)  # warm
    return bench


@pytest.mark.parametrize("fault", ["hang", "slow", "reset", "garbage", "503", "killed"])
def test_a_bad_shadow_changes_nothing_for_users(quick: gateway_bench.Bench, fault: str) -> None:
    quick.apply(rollout=False, shadow=shadow(quick))
    if fault == "killed":
        quick.candidate.kill()
    else:
        quick.candidate.fault = fault
    answers = quick.send(2000)
    logged = quick.attempts(at_least=2000)

    assert [] == gateway_bench.failed(answers)
    assert {(STABLE, 200, "-", 1)} == {
        (attempt.release, attempt.status, attempt.flags, attempt.number) for attempt in logged
    }
    assert statistics.median(answer.seconds for answer in answers) < 0.1
    assert max(answer.seconds for answer in answers) < 1.0


def test_a_hanging_shadow_is_asked_no_more_than_it_has_places_and_the_log_says_so(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, shadow=dataclasses.replace(shadow(bench), epoch=901), request_timeout_seconds=0.5)
    bench.candidate.fault = "hang"
    bench.send(300, connections=100)
    copies: collections.Counter[str] = collections.Counter()
    bench.attempts(at_least=300)
    for _ in range(100):
        copies.update(attempt.flags for attempt in bench.copies if attempt.epoch == 901)
        if copies.total() >= 300:
            break
        bench.attempts()

    assert 300 == copies.total()
    assert {"UO": 300 - 128, "UT": 128} == copies
    assert 64 <= bench.candidate.attempts <= 128


def test_a_request_that_fails_on_stable_is_copied_once(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, shadow=shadow(bench))
    bench.stable[0].fault = "503"
    assert [] == gateway_bench.failed(bench.send(200))
    settle(bench, 200)
    threading.Event().wait(0.05)

    assert 200 == bench.candidate.attempts


def test_a_shadow_without_weight_copies_nothing(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, shadow=dataclasses.replace(shadow(bench), weight=0))
    bench.send(50)

    assert 0 == bench.candidate.attempts

"""A user stays on an arm, by key or by cookie, and only ever moves to the candidate as its share grows."""

from __future__ import annotations

import gateway_bench

CANDIDATE = gateway_bench.CANDIDATE.short
USERS = 300


def candidates(bench: gateway_bench.Bench) -> set[int]:
    """Which users are on the candidate."""
    answers = bench.send(USERS)
    return {number for number, answer in enumerate(answers) if gateway_bench.served_by([answer])[CANDIDATE]}


def test_a_user_stays_and_nobody_falls_back_while_the_share_grows(bench: gateway_bench.Bench) -> None:
    route = bench.apply(weight=100)
    before: set[int] = set()
    for weight in (100, 1000, 5000, 9500, 10_000):
        bench.apply(weight=weight, salt=route.salt)
        chosen = candidates(bench)

        assert chosen == candidates(bench)
        assert before <= chosen
        assert abs(len(chosen) / USERS - weight / 10_000) < 0.1
        before = chosen
    assert before == set(range(USERS))


def test_another_rollout_meets_other_users(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=3000)
    first = candidates(bench)
    bench.apply(weight=3000)
    second = candidates(bench)

    assert 0.15 * USERS * 0.3 < len(first & second) < 0.6 * USERS * 0.3


def test_every_path_of_a_user_goes_to_the_same_arm(bench: gateway_bench.Bench) -> None:
    bench.apply()
    predictions = [gateway_bench.served_by([answer]) for answer in bench.send(100)]
    others = [gateway_bench.served_by([answer]) for answer in bench.send(100, path="/flights/orders", host="localhost")]

    assert predictions == others


def test_without_a_key_a_cookie_keeps_the_client_on_the_arm_of_its_first_request(bench: gateway_bench.Bench) -> None:
    bench.apply()
    arms = set()
    for first in bench.send(12, headers=()):
        cookie = first.headers["set-cookie"].split(";")[0]
        later = bench.send(10, headers=(("cookie", f"a=b; {cookie}; c=d"),))
        arms.update(gateway_bench.served_by([first]))

        assert set(gateway_bench.served_by([first])) == set(gateway_bench.served_by(later))
        assert not any("set-cookie" in answer.headers for answer in later)
    assert len(arms) == 2


def test_a_key_needs_no_cookie(bench: gateway_bench.Bench) -> None:
    bench.apply()

    assert not any("set-cookie" in answer.headers for answer in bench.send(20))

"""
The promises of the further guardrails, held against simulated launches through the production code.

Tolerances as in test_judge_calibration.py: more than the 99.9 % binomial quantile of the promise refutes it. Each
guardrail enforces alone here, so it has all of alpha: the hardest case for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from scipy import stats

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge, judge_history, judge_policy, messages, outage

pytestmark = pytest.mark.slow

STABLE = "a" * 12
CANDIDATE = "b" * 12
COUNT = 150


def most(count: int, probability: float) -> int:
    """How many of `count` a promise of "at most `probability`" allows, at 99.9 % confidence."""
    return int(stats.binom.ppf(0.999, count, probability))


def alone(name: spec.GuardrailName, **rules) -> judge_policy.JudgePolicy:
    return judge_policy.JudgePolicy(enforcing=(name,), **rules)


def line(index: int, *, candidate: bool, epoch: int = 1, **fields) -> attempts.Attempt:
    made = attempts.Attempt(
        started_at=index / 100,
        request_id=f"r{index}",
        service="s",
        environment="production",
        epoch=epoch,
        release=CANDIDATE if candidate else STABLE,
        composite=candidate,
        number=1,
        status=200,
        flags="-",
        latency_us=1_000,
        key="",
        invalid=False,
        shed=False,
    )
    return made._replace(**fields)


def launch(
    policy: judge_policy.JudgePolicy,
    count: int,
    seed: int,
    fields: Callable[[random.Random, bool], dict],
    *,
    share: float = 0.2,
    history: int = 400,
) -> tuple[judge.Judge, int]:
    """The judge of a launch whose attempts say `fields(rng, candidate)`, and how many the candidate had until then."""
    rng = random.Random(seed)
    record = judge_history.ArmHistory(release=STABLE)
    for index in range(history):
        record.observe(line(index, candidate=False, **fields(rng, False)))
    court = judge.Judge(policy=policy, stable=STABLE, candidate=CANDIDATE, history=record)
    court.begin_epochs({1: share})
    spent = 0
    for index in range(count):
        candidate = rng.random() < share
        spent += candidate
        court.observe(line(index, candidate=candidate, **fields(rng, candidate)))
        if court.failed:
            break
    return court, spent


def numbers(shift: float) -> Callable[[random.Random, bool], dict]:
    return lambda rng, candidate: {"output": f"n:{rng.gauss(shift * candidate, 1.0):.4g}"}


def classes(rng: random.Random, _: object) -> dict:
    return {"output": rng.choices(("c:cat", "c:dog", "c:owl"), (0.9, 0.09, 0.01))[0]}


@pytest.mark.parametrize("history", [0, 400], ids=["cut during it", "recorded"])
@pytest.mark.parametrize("answer", [numbers(0.0), classes], ids=["numbers", "classes"])
def test_equal_answers_are_no_shift(answer: Callable, history: int) -> None:
    policy = alone(spec.GuardrailName.OUTPUTS)
    failed = sum(launch(policy, 500, seed, answer, history=history)[0].failed for seed in range(COUNT))

    assert failed <= most(COUNT, 0.01)


def test_users_who_always_get_the_same_answer_are_no_shift() -> None:
    failed = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        court = judge.Judge(policy=alone(spec.GuardrailName.OUTPUTS), stable=STABLE, candidate=CANDIDATE)
        shares = {1: 0.05, 2: 0.2, 3: 0.5}
        court.begin_epochs(shares)
        users = [(rng.random(), f"n:{rng.gauss(0.0, 1.0):.4g}", rng.expovariate(1.0)) for _ in range(150)]
        busy = [activity for _, _, activity in users]
        for index, number in enumerate(rng.choices(range(150), busy, k=900)):
            place, output, _ = users[number]
            epoch = 1 + index // 300
            candidate = place < shares[epoch]
            court.observe(line(index, candidate=candidate, epoch=epoch, output=output, key=f"{seed}-{number}"))
        failed += court.failed

    assert failed <= most(COUNT, 0.01)


def test_answers_that_move_by_one_deviation_are_found_within_two_hundred_candidate_answers() -> None:
    # The top bin then holds P(Z > 0.28) = 39 % instead of 10 %: a ratio of 3.9 against the other arm's.
    spent = [launch(alone(spec.GuardrailName.OUTPUTS), 5_000, seed, numbers(1.0)) for seed in range(40)]

    assert all(court.failed for court, _ in spent)
    assert sum(count > 200 for _, count in spent) <= most(40, 0.5)


def cpu(slower: float) -> Callable[[random.Random, bool], dict]:
    return lambda rng, candidate: {
        "cpu_us": int(rng.lognormvariate(8.0, 0.4) * (slower if candidate else 1.0)),
        "served_count": 1_000,
    }


def test_equal_cpu_times_fail_in_at_most_one_launch_of_a_hundred_and_half_as_much_again_is_found() -> None:
    policy = alone(spec.GuardrailName.CPU)
    failed = sum(launch(policy, 500, seed, cpu(1.1))[0].failed for seed in range(COUNT))
    found = [launch(policy, 4_000, seed, cpu(1.8)) for seed in range(10)]

    assert failed <= most(COUNT, 0.01)
    assert all(court.failed for court, _ in found)


def longer(slower: float) -> Callable[[random.Random, bool], dict]:
    """The candidate meets the long inputs, which take five times as long, three times as often."""

    def fields(rng: random.Random, candidate: bool) -> dict:  # noqa: FBT001  # an observation
        long = rng.random() < (0.6 if candidate else 0.2)
        took = rng.lognormvariate(8.0, 0.4) * (5.0 if long else 1.0) * (slower if candidate else 1.0)
        return {"latency_us": int(took), "input_bytes": 40_000 if long else 400}

    return fields


def test_a_candidate_that_meets_longer_inputs_is_not_blamed_and_a_slower_one_is() -> None:
    policy = alone(spec.GuardrailName.LATENCY)
    unsized = lambda rng, candidate: {**longer(1.0)(rng, candidate), "input_bytes": None}  # noqa: E731
    history = 1_000
    failed = sum(launch(policy, 600, seed, longer(1.0), history=history)[0].failed for seed in range(COUNT))
    blamed = sum(launch(policy, 1_000, seed, unsized, history=history)[0].failed for seed in range(20))
    found = [launch(policy, 10_000, seed, longer(1.4), history=history)[0].failed for seed in range(5)]

    assert failed <= most(COUNT, 0.01)
    assert blamed == 20  # what the sizes are for
    assert all(found)


def memory_of(rng: random.Random, *, leak_kib: float) -> Callable[[int], int]:
    """Memory of a process that warms up, fills a cache of its own size and jitters by some MiB."""
    base, cache, pace = rng.randrange(80_000, 120_000), rng.gauss(60_000, 6_000), rng.gauss(2_000, 200)

    def memory_kib(served: int) -> int:
        filled = cache * (1.0 - 2.718 ** (-served / pace))
        return int(base + filled + leak_kib * served + 8_000 * rng.random() ** 4)

    return memory_kib


def memory_launch(seed: int, *, leak_kib: float, windows: int = 40, stable_processes: int = 2) -> tuple[bool, int]:
    """Whether it failed, and after how many windows of the candidate's processes."""
    rng = random.Random(seed)
    record = judge_history.ArmHistory(release=STABLE)
    for number in range(stable_processes):
        process = memory_of(rng, leak_kib=0.0)
        for served in range(0, windows * 250, 10):
            memory = process(served)
            record.observe(line(served, candidate=False, memory_kib=memory, served_count=served, replica=f"s{number}"))
    court = judge.Judge(policy=alone(spec.GuardrailName.MEMORY), stable=STABLE, candidate=CANDIDATE, history=record)
    court.begin_epochs({1: 0.5})
    processes = [memory_of(rng, leak_kib=leak_kib) for _ in range(2)]
    for served in range(0, windows * 250, 10):
        for number, process in enumerate(processes):
            court.observe(
                line(
                    served,
                    candidate=True,
                    memory_kib=process(served),
                    served_count=served,
                    replica=f"c{number}",
                )
            )
            if court.failed:
                return True, 2 * (served // 250)
    return False, 2 * windows


@pytest.mark.parametrize("stable_processes", [1, 2])
def test_equal_processes_with_warm_up_and_cache_fill_are_no_leak(stable_processes: int) -> None:
    failed = sum(
        memory_launch(seed, leak_kib=0.0, windows=24, stable_processes=stable_processes)[0] for seed in range(COUNT)
    )

    assert failed <= most(COUNT, 0.01)


def test_a_leak_is_found_within_some_fifteen_windows_once_the_cache_is_full() -> None:
    for seed in range(10):
        gross = memory_launch(seed, leak_kib=200.0)
        slow = memory_launch(seed, leak_kib=8.0)

        assert gross[0]
        assert gross[1] <= 15
        assert slow[0], seed  # 2 MiB a window, hidden behind the cache (6 MiB in the first) until it fills


def custom(worse: float) -> Callable[[random.Random, bool], dict]:
    return lambda rng, candidate: {
        "status": 200,
        "output": "n:0" if rng.random() < 0.05 * (worse if candidate else 1.0) else "n:1",
    }


def test_a_teams_own_expression_is_a_guardrail_like_the_others() -> None:
    rule = judge_policy.Expression("no_zero", "output == 'n:0'", True)
    policy = judge_policy.JudgePolicy(enforcing=(), expressions=(rule,))
    failed = sum(launch(policy, 600, seed, custom(1.0), history=0)[0].failed for seed in range(COUNT))
    found = [launch(policy, 5_000, seed, custom(4.0), history=0)[0] for seed in range(10)]

    assert failed <= most(COUNT, 0.01)
    assert all(court.failed for court in found)
    assert {"no_zero"} == {court.report().guardrail for court in found}


def shed(worse: float) -> Callable[[random.Random, bool], dict]:
    def fields(rng: random.Random, candidate: bool) -> dict:  # noqa: FBT001  # an observation
        refused = rng.random() < 0.03 * (worse if candidate else 1.0)
        return {"shed": refused, "status": 503 if refused else 200}

    return fields


def test_refusals_are_compared_among_all_attempts() -> None:
    policy = alone(spec.GuardrailName.SHED)
    failed = sum(launch(policy, 1_000, seed, shed(1.0), history=0)[0].failed for seed in range(COUNT))
    found = [launch(policy, 5_000, seed, shed(5.0), history=0)[0].failed for seed in range(10)]

    assert failed <= most(COUNT, 0.01)
    assert all(found)


def pairs(rate: float, seed: int, count: int = 2_000) -> judge.Judge:
    rng = random.Random(seed)
    policy = alone(spec.GuardrailName.DISAGREEMENT, disagreement_rate_max=0.05)
    court = judge.Judge(policy=policy, stable=STABLE, candidate=CANDIDATE)
    for _ in range(count):
        court.observe_pair(agrees=rng.random() >= rate)
        if court.failed:
            break
    return court


def test_pairs_that_differ_as_often_as_tolerated_fail_and_pass_in_at_most_one_of_a_hundred_each() -> None:
    judges = [pairs(0.05, seed, 600) for seed in range(COUNT)]
    passed = sum(court.report().verdict is messages.Verdict.PASS for court in judges)

    assert sum(court.failed for court in judges) <= most(COUNT, 0.01)
    assert passed <= most(COUNT, 0.01)
    assert all(pairs(0.15, seed).failed for seed in range(10))
    assert all(pairs(0.01, seed).report().verdict is messages.Verdict.PASS for seed in range(10))


def test_independent_failures_are_seldom_taken_for_a_shared_outage() -> None:
    # A candidate failing half of its requests, stable at its recorded 2 %: nothing is shared.
    begun = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        watch = outage.OutageWatch(history_rate=0.02)
        for index in range(1_000):
            candidate = rng.random() < 0.2
            watch.observe(index / 100, candidate, rng.random() < (0.5 if candidate else 0.02))
            if watch.reason:
                begun += 1
                break

    assert begun <= most(COUNT, 0.01)


def looked_up(worse: float) -> Callable[[random.Random, bool], dict]:
    """Users whose values a source does not have come again and again; every twentieth, or more of the candidate's."""

    def fields(rng: random.Random, candidate: bool) -> dict:  # noqa: FBT001  # an observation
        user = rng.randrange(200)
        missing = random.Random(user).random() < 0.05 * (worse if candidate else 1.0)
        return {"features_defaulted": 2 if missing else 0, "key": f"u{user}"}

    return fields


def test_equal_lookups_fail_in_at_most_one_launch_of_a_hundred_and_broken_ones_are_found() -> None:
    # Bernoulli events of equal arms; alpha bounds their false alarms, whatever rate both have.
    policy = alone(spec.GuardrailName.FEATURES)
    failed = sum(launch(policy, 600, seed, looked_up(1.0), history=0)[0].failed for seed in range(COUNT))
    found = [launch(policy, 5_000, seed, looked_up(6.0), history=0)[0] for seed in range(10)]

    assert failed <= most(COUNT, 0.01)
    assert all(court.failed for court in found)
    assert {"features"} == {court.report().guardrail for court in found}


def test_a_source_that_is_down_for_everybody_takes_nobody_back() -> None:
    # Both arms go on with defaults, in all of their attempts: nothing tells them apart but the share, which is known.
    policy = alone(spec.GuardrailName.FEATURES, dedupe_keys=False)
    down = lambda rng, candidate: {"features_defaulted": 1}  # noqa: E731
    failed = sum(launch(policy, 600, seed, down, history=0)[0].failed for seed in range(COUNT))

    assert failed <= most(COUNT, 0.01)

"""
The judge's promises, held against simulated launches through the production code.

Tolerances: a promise "at most p" over n launches is refuted by more than the 99.9 % binomial quantile at p, so a
correct judge fails such a test with probability below 0.1 % for a choice of seeds, and the seeds are fixed. The full
counts (10,000 launches per scenario) are made by benchmarks/judge.
"""

from __future__ import annotations

import dataclasses
import random

import pytest
from scipy import stats

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge, judge_history, judge_policy, messages

pytestmark = pytest.mark.slow
STABLE = "a" * 12
CANDIDATE = "b" * 12
ERRORS_ONLY = judge_policy.JudgePolicy(enforcing=(spec.GuardrailName.ERRORS,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    attempts: int = 1_500
    shares: tuple[float, ...] = (0.2,)
    real_ratio: float = 1.0
    errors: float = 0.02
    outage: float = 0.0
    """Errors of both arms in the middle third instead."""
    worse: float = 1.0
    """Candidate's errors over stable's."""
    slower: float = 1.0
    heavy: int = 0
    """Failing requests of one more user."""


def lines_of(launch: Launch, rng: random.Random) -> list[attempts.Attempt]:
    lines = []
    arms = [rng.random() for _ in range(301)]
    heavy_at = set(rng.sample(range(launch.attempts), launch.heavy))
    for index in range(launch.attempts):
        epoch = index * len(launch.shares) // launch.attempts
        user = 300 if index in heavy_at else rng.randrange(300)
        candidate = arms[user] < launch.shares[epoch] * launch.real_ratio
        rate = launch.outage if launch.outage and 1 / 3 < index / launch.attempts < 2 / 3 else launch.errors
        failed = rng.random() < rate * (launch.worse if candidate else 1.0) or user == 300
        latency_ms = rng.lognormvariate(3.0, 0.5) * (launch.slower if candidate else 1.0)
        first = attempts.Attempt(
            started_at=index / 100,
            request_id=f"r{index}",
            service="s",
            environment="production",
            epoch=epoch + 1,
            release=CANDIDATE if candidate else STABLE,
            composite=candidate,
            number=1,
            status=503 if failed else 200,
            flags="-",
            latency_us=int(latency_ms * 1_000),
            key=f"user{user}",
            invalid=False,
            shed=False,
        )
        lines.append(first)
        if failed:
            lines.append(first._replace(release=STABLE, number=2, status=503 if rng.random() < rate else 200))
    return lines


def judged(launch: Launch, seed: int, policy: judge_policy.JudgePolicy | None = None) -> tuple[judge.Judge, bool]:
    """The judge after the launch, and whether it ever said PASS."""
    rng = random.Random(seed)
    history = judge_history.ArmHistory(release=STABLE)
    for line in lines_of(Launch(attempts=1_000, shares=(0.0,)), rng):
        history.observe(line)
    court = judge.Judge(
        policy=policy or judge_policy.JudgePolicy(), stable=STABLE, candidate=CANDIDATE, history=history
    )
    for index, share in enumerate(launch.shares):
        court.begin_epochs({index + 1: share})
    passed = False
    for index, line in enumerate(lines_of(launch, rng)):
        court.observe(line)
        if court.failed:
            break
        if index % 50 == 0:
            passed = passed or court.report().verdict is messages.Verdict.PASS
    return court, passed


def most(count: int, probability: float) -> int:
    """How many of `count` a promise of "at most `probability`" allows, at 99.9 % confidence."""
    return int(stats.binom.ppf(0.999, count, probability))


@pytest.mark.parametrize(
    "launch",
    [
        Launch(),
        Launch(shares=(0.01, 0.05, 0.25, 0.5, 0.95)),
        Launch(outage=0.2),
        Launch(shares=(0.1,), real_ratio=1.2),
        Launch(heavy=8),
    ],
    ids=["steady", "ramp", "shared outage", "real share 12 %, configured 10 %", "one user makes 20 % of failures"],
)
def test_an_identical_release_is_rolled_back_in_at_most_one_launch_of_a_hundred(launch: Launch) -> None:
    count = 100
    rolled_back = sum(judged(launch, seed)[0].failed for seed in range(count))

    assert rolled_back <= most(count, 0.01)


def test_a_release_twice_as_bad_and_above_acceptable_passes_in_at_most_one_launch_of_a_hundred() -> None:
    count = 100
    launch = Launch(errors=0.015, worse=2.0, shares=(0.5,))
    passed = sum(judged(launch, seed, ERRORS_ONLY)[1] for seed in range(count))

    assert passed <= most(count, 0.01)


def test_five_times_the_errors_are_found_in_as_few_candidate_requests_as_published() -> None:
    # Published for all of alpha in one guardrail: median 155 at a share of 10 %; 10 % more are allowed.
    count = 40
    spent = []
    for seed in range(count):
        court, _ = judged(Launch(attempts=12_000, shares=(0.1,), errors=0.01, worse=5.0), seed)
        assert court.failed
        spent.append(court.report().tally.trials_candidate)

    assert sum(requests > 155 * 1.1 for requests in spent) <= most(count, 0.5)


def test_a_slower_release_is_found() -> None:
    for seed in range(10):
        court, _ = judged(Launch(attempts=12_000, shares=(0.1,), errors=0.0, slower=1.5), seed)
        assert court.failed
        assert spec.GuardrailName.LATENCY is court.report().guardrail

from __future__ import annotations

import json

import pytest

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge_history, judge_policy, judge_report

STRATEGY = spec.StrategySpec(
    kind=spec.StrategyKind.CANARY,
    steps=spec.shares(100, 10_000),
    guardrails=(spec.GuardrailName.INVALID, spec.GuardrailName.ERRORS),
    acceptable_percent=2.0,
    margin_ratio=3.0,
    alpha=0.02,
    beta=0.03,
    latency_slo_ms=80.0,
)


def test_a_strategy_becomes_a_policy() -> None:
    policy = judge_policy.of_strategy(STRATEGY, request_timeout_seconds=7.0)

    assert (spec.GuardrailName.ERRORS, spec.GuardrailName.INVALID) == policy.enforcing
    assert (0.02, 0.03, 0.02, 3.0) == (policy.alpha, policy.beta, policy.acceptable_rate, policy.margin_ratio)
    assert 80.0 == policy.latency_slo_ms
    assert policy.sibling_wait_seconds > 7.0


@pytest.mark.parametrize("enforcing", [tuple(spec.GuardrailName), (spec.GuardrailName.LATENCY,), STRATEGY.guardrails])
def test_the_enforcing_guardrails_share_all_of_alpha(enforcing: tuple) -> None:
    policy = judge_policy.JudgePolicy(enforcing=enforcing)

    assert 1.0 == pytest.approx(sum(policy.weight(name) for name in spec.GuardrailName))
    assert all(policy.weight(name) == 0.0 for name in spec.GuardrailName if name not in enforcing)


def test_json_brings_back_an_equal_policy() -> None:
    policy = judge_policy.of_strategy(STRATEGY)

    assert policy == judge_policy.JudgePolicy.from_json(json.loads(json.dumps(policy.to_json())))


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"beta": 1.0},
        {"acceptable_rate": 0.0},
        {"margin_ratio": 1.0},
        {"latency_slack_ratio": 0.9},
        {"latency_slack_ms": -1.0},
        {"alone_weight": 1.5},
        {"enforcing": ()},
    ],
)
def test_an_impossible_policy_is_refused(wrong: dict) -> None:
    with pytest.raises(errors.InvariantError):
        judge_policy.JudgePolicy(**wrong)


def line(index: int, **changes) -> attempts.Attempt:
    made = attempts.Attempt(
        started_at=float(index),
        request_id=f"r{index}",
        service="s",
        environment="e",
        epoch=1,
        release="a" * 12,
        composite=False,
        number=1,
        status=200,
        flags="-",
        latency_us=1_000,
        key="",
        invalid=False,
        shed=False,
    )
    return made._replace(**changes)


def test_a_history_counts_first_attempts_of_its_release_only() -> None:
    history = judge_history.ArmHistory(release="a" * 12)
    history.observe(line(0))
    history.observe(line(1, composite=True, status=503))
    history.observe(line(2, release="b" * 12, status=503))
    history.observe(line(3, status=503))
    history.observe(line(3, number=2))
    history.observe(line(4, shed=True, status=503))
    history.observe(line(5, status=0))
    history.observe(line(6, number=2, status=0, flags="UT", latency_us=None))
    assert 2 == history.trials
    history.observe(line(60, latency_us=None))

    assert 4 == history.trials
    assert 2 == history.events[spec.GuardrailName.ERRORS]
    assert 1 == history.latency.count


def test_json_brings_back_an_equal_history() -> None:
    history = judge_history.ArmHistory(release="a" * 12)
    for index in range(100):
        history.observe(line(index, latency_us=index, status=500 if index % 7 == 0 else 200))
    again = judge_history.ArmHistory.from_json(json.loads(json.dumps(history.to_json())))

    assert history.to_json() == again.to_json()
    assert history.rate_upper(spec.GuardrailName.ERRORS) == again.rate_upper(spec.GuardrailName.ERRORS)
    assert 15 / 100 < history.rate_upper(spec.GuardrailName.ERRORS) < 0.25


def test_nothing_recorded_is_no_rate() -> None:
    assert judge_history.ArmHistory(release="a" * 12).rate_upper(spec.GuardrailName.ERRORS) is None


@pytest.mark.parametrize(
    ("log_e", "said"),
    [(-3.0, "none"), (0.0, "none"), (1.0, "1 : 2.7"), (5.83, "1 : 340"), (900.0, "1 : 1,000,000,000,000")],
)
def test_odds_are_written_for_people(log_e: float, said: str) -> None:
    assert said == judge_report.odds(log_e)

"""Advice follows from facts, shows its arithmetic, and fits the size of the service."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from softlaunch.controller import advice
from softlaunch.core import spec
from softlaunch.core.stats import absolute


def facts(*, strategy: dict | None = None, environment: dict | None = None, tests=None, **values) -> advice.Facts:
    canary = {"kind": spec.StrategyKind.CANARY, "steps": spec.shares(500, 2_500, 10_000), **(strategy or {})}
    place = spec.EnvironmentSpec(name="production", strategy=spec.StrategySpec(**canary), **(environment or {}))
    service = spec.ServiceSpec(
        service="demo",
        model=spec.ModelSpec(source=spec.ModelSource.PATH, path="model.onnx"),
        environments=(place,),
        tests=tests,
    )
    return advice.Facts(service=service, environment=place, **{"launch_count": 3, **values})


ALL_DONE = {
    "strategy": {"steps": (spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000), *spec.shares(100, 10_000))},
    "environment": {"branch": "main", "fallback_body": b"{}", "notify": {"team": "json://x"}},
    "tests": spec.TestsSpec(
        command="pytest",
        latency_ms_p99_max=50.0,
        quality=spec.QualitySpec(data="d.csv", label="y", gates=()),
    ),
    "drill_count": 1,
    "has_labels": True,
    "requests_per_day": 1e6,
}


def titles(steps) -> list[str]:
    return [step.title for step in steps]


def test_a_service_that_makes_none_of_the_mistakes_has_nothing_to_do():
    found = advice.advise(facts(**ALL_DONE))

    assert [10] * 5 == [score.points for score in found.scores]
    assert found.next_step is None


def test_two_hundred_requests_a_day_are_too_few_for_a_canary_of_one_percent_and_enough_for_a_shadow():
    found = advice.advise(facts(requests_per_day=200.0, tests=spec.TestsSpec(command="pytest")))

    assert "add a shadow step, or `softlaunch replay` before launches" == found.next_step.title
    assert "3 days of traffic instead of 9 months at 1 %" in found.next_step.arithmetic
    (canary,) = [step for step in found.not_now if step.title == "begin with a canary of 1 %"]
    assert "at 1 % of 200 requests a day that takes 9 months" in canary.arithmetic


def test_five_million_requests_a_day_are_enough_for_a_canary_of_one_percent():
    found = advice.advise(facts(requests_per_day=5e6, **{key: ALL_DONE[key] for key in ("environment", "tests")}))

    assert "begin with a canary of 1 %" not in titles(found.not_now)


def test_the_attempts_to_pass_are_the_judge_s_own():
    count = advice.attempts_to_pass(0.01, 0.01)
    process = absolute.below(0.01)

    assert process.log_e(bad=0, count=count) >= -math.log(0.01) > process.log_e(bad=0, count=count - 1)


def test_worse_releases_are_found_sooner():
    counts = [advice.attempts_to_fail(rate, 0.01, 0.01) for rate in (1.0, 0.5, 0.1, 0.05)]

    assert counts == sorted(counts)
    assert counts[0] < 10


@pytest.mark.parametrize("mistake", list(advice.Mistake))
def test_every_mistake_can_be_made_and_not_be_made(mistake):
    bare = advice.advise(
        facts(
            strategy={
                "kind": spec.StrategyKind.RECREATE,
                "steps": spec.shares(10_000),
                "on_failure": spec.FailurePolicy.FREEZE,
                "holdback_percent": 0.0,
            },
            environment={"capture": None},
            launch_count=0,
        )
    )

    assert 0 == next(score.points for score in bare.scores if score.mistake is mistake)
    assert 10 == next(score.points for score in advice.advise(facts(**ALL_DONE)).scores if score.mistake is mistake)


def test_doing_the_next_step_raises_the_score_of_its_mistake():
    before = facts(requests_per_day=2e4, tests=spec.TestsSpec(command="pytest"))
    step = advice.advise(before).next_step
    after = facts(
        requests_per_day=2e4,
        tests=spec.TestsSpec(command="pytest"),
        strategy={"steps": ALL_DONE["strategy"]["steps"]},
    )
    points = [
        next(score.points for score in advice.advise(found).scores if score.mistake is step.mistake)
        for found in (before, after)
    ]

    assert points[0] + step.gain == points[1]


@pytest.mark.parametrize("requests", [None, 0.0, 1.0, 200.0, 1e4, 1e9])
@pytest.mark.parametrize("launches", [0, 5])
def test_advice_is_short_and_json_whatever_the_traffic(requests, launches):
    asked = facts(requests_per_day=requests, launch_count=launches)
    found = advice.advise(asked)

    assert len(advice.lines(asked, found)) <= advice.LINES_MAX
    assert json.loads(json.dumps(found.document()))


def test_traffic_and_history_are_taken_from_rollouts_and_drills_are_counted_apart():
    view = {
        "created_at": 1_000.0,
        "finished_at": 1_000.0 + 8_640.0,
        "outcome": "rolled_back",
        "measured": {"candidate_attempts": 5, "stable_attempts": 15},
    }
    found = advice.facts(facts().service, facts().environment, [view, {**view, "drill": True}])

    assert (1, 1, 1, 200.0) == (
        found.launch_count,
        found.rolled_back_count,
        found.drill_count,
        found.requests_per_day,
    )


def test_facts_do_not_invent_traffic():
    running = {"created_at": 1.0, "finished_at": None, "outcome": None, "measured": {}}

    assert advice.facts(facts().service, facts().environment, [running]).requests_per_day is None
    assert dataclasses.is_dataclass(advice.facts(facts().service, facts().environment, []))

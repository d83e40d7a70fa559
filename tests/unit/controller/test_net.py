"""The net around the judge: a team's own checks, shared outages, fallbacks, kills, the archive."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch.controller import rejudge
from softlaunch.core import spec
from softlaunch.ports import checks, notify
from softlaunch.testing.virtual_traffic import Behaviour

CHECK = spec.CheckSpec(
    name="lag", kind=spec.CheckKind.HTTP, target="http://health/{candidate}", at_most=5.0, every_seconds=1.0
)


def _checked(environment: spec.EnvironmentSpec, **changes) -> spec.EnvironmentSpec:
    check = dataclasses.replace(CHECK, **changes)
    return dataclasses.replace(environment, strategy=dataclasses.replace(environment.strategy, checks=(check,)))


def test_a_broken_check_takes_a_release_back_that_answers_well(world, production, stable) -> None:
    new = world.release("new")
    world.checks.answers[f"http://health/{new.short}"] = checks.Value(value=9.0)

    view = world.launch(new, _checked(production))

    assert "rolled_back" == view["outcome"]
    assert "check lag: broken 3 times in a row, last: 9 is above 5." == view["reason"]


def test_a_check_that_answers_nothing_takes_nothing_back_and_promotes_nothing(world, production, stable) -> None:
    number = world.deploy(world.release("new"), _checked(production)).rollout_id
    world.reach(number, "stepping", step=1)
    world.step(1_000)

    view = world.view(number)

    assert ("stepping", 5_000) == (view["phase"], world.weight())
    assert [{"name": "lag", "enforcing": True, "verdict": "unanswered", "reason": "no answer: no answer"}] == (
        view["evidence"]["checks"]
    )


def test_a_release_whose_checks_pass_is_promoted(world, production, stable) -> None:
    new = world.release("new")
    world.checks.answers[f"http://health/{new.short}"] = checks.Value(value=1.0)

    assert "promoted" == world.launch(new, _checked(production))["outcome"]


def test_a_check_that_only_observes_decides_nothing(world, production, stable) -> None:
    new = world.release("new")
    world.checks.answers[f"http://health/{new.short}"] = checks.Value(value=9.0)

    assert "promoted" == world.launch(new, _checked(production, enforcing=False))["outcome"]


def test_a_shared_outage_holds_the_rollout_and_takes_nothing_back(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, production).rollout_id
    world.reach(number, "stepping")
    world.step(20)
    down = Behaviour(error_rate=0.6)
    world.behave(stable, down)
    world.behave(new, down)
    world.step(200)

    view = world.view(number)

    assert ("stepping", "outage") == (view["phase"], view["hold"]["kind"])
    world.behave(stable, Behaviour())
    world.behave(new, Behaviour())
    assert "promoted" == world.end(number, seconds_max=3_000.0)["outcome"]


def test_fallback_answers_are_counted_and_told(world, production, stable) -> None:
    for _ in range(3):
        world.gateway.log_fallback("demo", "production")
    world.step()

    told = [found.text for found in world.store.events() if found.kind == "fallback"]
    assert ["Every release failed for 3 requests, which a fallback answered."] == told


@pytest.mark.parametrize(("error_rate", "outcome"), [(0.0, "promoted"), (0.2, "rolled_back")])
def test_what_was_decided_is_recomputed_bit_for_bit_from_the_archive(
    world, production, stable, error_rate, outcome
) -> None:
    view = world.launch(world.release("new", Behaviour(error_rate=error_rate)), production)
    record = world.store.rollout(view["id"])

    found = rejudge.recompute(rejudge.Kept.of(record), world.archive.read(record.id))

    assert (outcome, True, "") == (view["outcome"], found.agrees, found.difference)
    assert found.attempt_count > 0
    assert found.whole


def test_a_process_that_is_killed_again_and_again_is_evidence_about_memory(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, guardrails=(spec.GuardrailName.MEMORY,))
    new = world.release("new")
    number = world.deploy(new, dataclasses.replace(production, strategy=strategy)).rollout_id
    world.reach(number, "stepping")
    for _ in range(40):
        running = [found.name for found in world.fleet.observe() if new.short in found.name and found.pid]
        for name in running:
            world.fleet.crash(name, "was killed by SIGKILL")
        world.step(50)
        if world.view(number)["outcome"]:
            break

    assert "rolled_back" == world.end(number)["outcome"]
    assert world.view(number)["reason"].startswith("memory")


def test_secrets_of_notifications_are_no_part_of_what_is_shown() -> None:
    assert "slack" in notify.shown("slack://token-a/token-b/token-c")
    assert "token-b" not in notify.shown("slack://token-a/token-b/token-c")

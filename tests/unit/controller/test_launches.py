"""Whole launches in virtual time: what becomes of good and bad releases."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.core import release, verify_specs
from softlaunch.testing import simulator, virtual_traffic

Behaviour = virtual_traffic.Behaviour


def kinds(world: simulator.Simulator, number: int) -> list[str]:
    return [event.kind for event in world.store.events(rollout_id=number)]


def believed_weights(world: simulator.Simulator, service: str = "demo", environment: str = "production") -> list[int]:
    """Shares of the candidate in the order the gateway came to believe them."""
    found: list[int] = []
    for snapshot in world.gateway.snapshots:
        for route in snapshot.routes:
            if (route.service, route.environment) == (service, environment) and [route.candidate_weight] != found[-1:]:
                found.append(route.candidate_weight)
    return found


def test_a_first_release_is_promoted_without_steps(world, production) -> None:
    view = world.launch(world.release("first"), production)

    assert view["outcome"] == "promoted"
    assert believed_weights(world) == [0]
    assert kinds(world, view["id"]) == ["started", "verified", "finished", "ended"]
    assert "First release" in world.store.events(rollout_id=view["id"])[2].text


def test_a_good_release_is_promoted_step_by_step(world, production, stable) -> None:
    good = world.release("good")

    view = world.launch(good, production)

    assert view["outcome"] == "promoted"
    assert believed_weights(world) == [0, 1_000, 5_000, 9_500, 0]
    assert kinds(world, view["id"]) == ["started", "verified", "step", "step", "promoted", "finished", "ended"]
    assert world.serving() == good
    assert world.truth().failed_for_user == 0


def test_every_change_of_the_share_is_a_routing_epoch_of_its_own(world, production, stable) -> None:
    world.launch(world.release("good"), production)
    by_epoch: dict[int, set[tuple[int, release.Digest]]] = {}
    for snapshot in world.gateway.snapshots:
        for route in snapshot.routes:
            by_epoch.setdefault(route.epoch, set()).add((route.candidate_weight, route.stable.release))

    assert all(len(meanings) == 1 for meanings in by_epoch.values()), by_epoch
    assert list(by_epoch) == sorted(by_epoch)


@pytest.mark.parametrize(
    ("guardrail", "behaviour"),
    [
        ("errors", Behaviour(error_rate=0.2)),
        ("errors", Behaviour(reset_rate=1.0)),
        ("errors", Behaviour(hang_rate=0.3)),
        ("client_errors", Behaviour(client_error_rate=0.3)),
        ("invalid", Behaviour(invalid_rate=0.3)),
        ("latency", Behaviour(latency_ms=12.0)),
    ],
)
def test_a_bad_release_is_rolled_back_for_what_it_did(world, production, stable, guardrail, behaviour) -> None:
    bad = world.release("bad", behaviour)

    view = world.launch(bad, production)

    assert view["outcome"] == "rolled_back"
    assert view["reason"].startswith(f"{guardrail}: ")
    assert view["evidence"]["guardrails"][guardrail]["verdict"] == "fail"
    assert world.serving() == stable
    assert world.weight() == 0
    assert world.truth().failed_for_user == 0


def test_what_was_measured_is_what_happened(world, production, stable) -> None:
    bad = world.release("bad", Behaviour(error_rate=0.1, client_error_rate=0.1, invalid_rate=0.05))

    measured = world.launch(bad, production)["measured"]

    truth = world.truth()
    assert measured["candidate_attempts"] == truth.candidate[bad.short]
    assert measured["candidate_bad"] == truth.candidate_bad[bad.short]
    assert 0 < measured["stable_again_at"] - measured["first_bad_at"] < 2.0


def test_overload_is_not_failure(world, production, stable) -> None:
    assert world.launch(world.release("busy", Behaviour(shed_rate=0.3)), production)["outcome"] == "promoted"


def test_a_release_that_fails_verification_gets_no_traffic(world, production, stable) -> None:
    broken = world.release("broken", Behaviour(smoke_failure="422 no such column"))

    view = world.launch(broken, production)

    assert view["outcome"] == "rolled_back"
    assert "10 of 10 smoke requests failed. First: 422 no such column" in view["reason"]
    assert world.truth().candidate[broken.short] == 0


def test_a_candidate_that_does_not_start_gets_no_traffic(world, production, stable) -> None:
    dead = world.release("dead")
    world.fleet.refuse(dead, "exit code 1: ImportError: no module named weather")

    view = world.launch(dead, production)

    assert view["outcome"] == "rolled_back"
    assert "did not start" in view["reason"]
    assert "ImportError: no module named weather" in view["reason"]
    assert world.truth().candidate[dead.short] == 0


def test_a_candidate_whose_replicas_keep_dying_is_rolled_back(world, production, stable) -> None:
    dying = world.release("dying")
    number = world.deploy(dying, production).rollout_id
    world.reach(number, "stepping")
    world.fleet.refuse(dying, "killed by SIGSEGV")
    for replica in range(production.replica_count):
        world.fleet.crash(f"demo/production/{dying.short}/{replica}")

    view = world.end(number)

    assert view["outcome"] == "rolled_back"
    assert view["reason"].startswith("errors: ")
    assert world.truth().failed_for_user == 0


def test_an_environment_without_traffic_passes_by_verification_and_says_so(world, production) -> None:
    integration = dataclasses.replace(production, name="integration", verify=verify_specs.VerifySpec(request_count=7))
    world.rates["demo", "integration"] = 0.0
    world.launch(world.release("one"), integration)

    view = world.launch(world.release("two"), integration)

    assert view["outcome"] == "promoted"
    told = [event.text for event in world.store.events(rollout_id=view["id"])]
    assert any("no traffic of its own" in text and "7 of 7 smoke requests passed" in text for text in told)


def test_a_release_without_traffic_is_never_promoted(world, production, stable) -> None:
    world.rates["demo", "production"] = 0.0
    number = world.deploy(world.release("unseen"), production).rollout_id
    world.step(400)

    assert world.view(number)["phase"] == "stepping"
    assert world.view(number)["step"] == 0


def test_a_step_without_a_decision_is_held_after_its_deadline(world, production, stable) -> None:
    world.rates["demo", "production"] = 0.0
    strategy = dataclasses.replace(production.strategy, deadline_seconds=10.0)
    number = world.deploy(world.release("unseen"), dataclasses.replace(production, strategy=strategy)).rollout_id
    world.run(lambda: world.view(number)["hold"] is not None)

    assert world.view(number)["hold"]["kind"] == "deadline"


def test_nothing_reaches_an_environment_before_the_one_named_in_after(world, production) -> None:
    guarded = dataclasses.replace(production, after="integration")
    integration = dataclasses.replace(production, name="integration", verify=verify_specs.VerifySpec())
    new = world.release("new")

    with pytest.raises(errors.ConfigError, match="has not passed 'integration'") as refusal:
        world.deploy(new, guarded)

    assert refusal.value.code is errors.Code.NOT_PASSED
    world.launch(new, integration)
    assert world.launch(new, guarded)["outcome"] == "promoted"


def test_deploying_what_is_live_starts_nothing(world, production, stable) -> None:
    done = world.deploy(stable, production)

    assert done.rollout_id is None
    assert "already live" in done.text


def test_a_second_deploy_that_may_not_replace_the_running_rollout_is_a_conflict(world, production, stable) -> None:
    number = world.deploy(world.release("one"), production).rollout_id
    world.reach(number, "stepping")

    with pytest.raises(errors.ConflictError, match=rf"Rollout {number} .* at 10 %") as refusal:
        world.deploy(world.release("two"), production, replace=False)

    assert refusal.value.code is errors.Code.ROLLOUT_RUNS


def test_a_release_that_was_never_built_is_refused(world, production) -> None:
    with pytest.raises(errors.ConfigError) as refusal:
        world.deploy(release.Digest("sha256:" + "0" * 64), production)

    assert refusal.value.code is errors.Code.NO_RELEASE


def test_damage_after_promotion_is_rolled_back_within_the_watch_window(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, watch_seconds=3_600.0)
    late = world.release("late")
    number = world.deploy(late, dataclasses.replace(production, strategy=strategy)).rollout_id
    world.reach(number, "watching")
    assert world.weight() == 9_500
    world.step(600)
    world.behave(late, Behaviour(error_rate=0.05))

    view = world.end(number)

    assert view["outcome"] == "rolled_back"
    assert view["reason"].startswith("After promotion: errors")
    assert world.serving() == stable


def test_without_a_holdback_the_absolute_alarm_watches(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, holdback_percent=0.0, watch_seconds=3_600.0)
    late = world.release("late")
    number = world.deploy(late, dataclasses.replace(production, strategy=strategy)).rollout_id
    world.reach(number, "watching")
    assert world.weight() == 10_000
    world.behave(late, Behaviour(error_rate=0.10))

    view = world.end(number)

    assert view["outcome"] == "rolled_back"
    assert "with all traffic on it" in view["reason"]


def test_two_services_in_two_environments_roll_out_at_once(world, production) -> None:
    staging = dataclasses.replace(production, name="staging")
    places = [("demo", production), ("other", production), ("demo", staging), ("other", staging)]
    old = world.release("old")
    good, bad = world.release("good"), world.release("bad", Behaviour(error_rate=0.3))
    for service, environment in places:
        world.launch(old, environment, service=service)

    numbers = [
        world.deploy(good if index % 2 == 0 else bad, environment, service=service).rollout_id
        for index, (service, environment) in enumerate(places)
    ]
    outcomes = [world.end(number)["outcome"] for number in numbers]

    assert outcomes == ["promoted", "rolled_back", "promoted", "rolled_back"]
    assert [world.serving(place.name, service=service) for service, place in places] == [good, old, good, old]
    ports = [listener.port for listener in world.gateway.believed.listeners]
    assert len(set(ports)) == 2

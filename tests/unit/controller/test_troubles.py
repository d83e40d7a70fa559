"""Neighbours that fail: the gateway, its log, the disk, the fuse, replicas."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from softlaunch import errors
from softlaunch.controller import replicas
from softlaunch.core import release
from softlaunch.ports import fleet as fleet_port
from softlaunch.testing import fleet as fleets
from softlaunch.testing import virtual_traffic

PLACE = {"service": "demo", "environment": "production", "by": "ada"}
BROKEN = virtual_traffic.Behaviour(error_rate=1.0)


def test_lost_lines_hold_a_rollout_until_somebody_says_go_on(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    world.gateway.lose("2,112 lines were dropped: the attempt log was over its budget")
    world.step(200)

    view = world.view(number)
    assert view["hold"]["kind"] == "evidence_lost"
    assert "2,112 lines" in view["hold"]["reason"]
    assert world.weight() == 1_000
    world.commands.resume(**PLACE)
    assert world.end(number)["outcome"] == "promoted"


def test_a_held_rollout_is_still_rolled_back(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, production).rollout_id
    world.reach(number, "stepping")
    world.gateway.lose("lines were lost")
    world.step(2)
    world.behave(new, BROKEN)

    assert world.end(number)["outcome"] == "rolled_back"


def test_a_refusal_of_the_gateway_holds_and_heals(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "verifying") if world.view(number)["phase"] == "preparing" else None
    world.gateway.refuse_next("cluster demo: unknown field")
    view = world.end(number)

    kinds = [event.kind for event in world.store.events(rollout_id=number)]
    assert view["outcome"] == "promoted"
    assert kinds.count("held") == kinds.count("released") == 1


def test_a_gateway_that_died_is_started_again_within_a_tenth_of_a_second(world, production, stable) -> None:
    world.gateway.die()
    world.step(6)

    assert not world.gateway.ensure_running()


def test_an_ejected_candidate_holds_and_goes_on_when_it_is_back(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    candidate = world.loop.ledger.rollouts["demo", "production"].candidate
    world.gateway.eject(status.socket for status in world.fleet.observe() if candidate.short in status.name)
    world.step(20)
    assert world.view(number)["hold"]["kind"] == "ejected"
    world.gateway.eject(())

    assert world.end(number)["outcome"] == "promoted"


def test_one_ejected_replica_of_two_is_no_hold(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    candidate = world.loop.ledger.rollouts["demo", "production"].candidate
    world.gateway.eject([status.socket for status in world.fleet.observe() if candidate.short in status.name][:1])
    world.step(20)

    assert world.view(number)["hold"] is None


# ---------------------------------------------------------------------------------------------------------- full disk


def test_a_full_disk_stops_progress(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    world.store.fail()
    world.step(400)

    assert world.weight() == 1_000
    world.store.fail(None)
    view = world.end(number)
    assert view["outcome"] == "promoted"
    assert view["measured"]["candidate_attempts"] == world.truth().candidate[view["candidate"][7:19]]


def test_a_rollback_does_not_wait_for_a_full_disk(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, production).rollout_id
    world.reach(number, "stepping")
    world.store.fail()
    world.behave(new, BROKEN)
    world.run(lambda: world.weight() == 0, seconds_max=5.0)

    assert world.store.rollout(number).state.phase == "stepping"
    world.store.fail(None)
    view = world.end(number)
    assert view["outcome"] == "rolled_back"
    assert view["measured"]["candidate_attempts"] == world.truth().candidate[new.short]
    assert world.truth().failed_for_user == 0


def test_a_rollback_does_not_wait_for_a_state_that_is_refused_as_a_bug(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, production).rollout_id
    world.reach(number, "stepping")
    unwritable = world.store.events(rollout_id=number)[0]  # it has a number already, which the store refuses
    world.loop.ledger._events_pending.append(unwritable)
    world.behave(new, BROKEN)
    world.run(lambda: world.weight() == 0, seconds_max=5.0)

    assert world.truth().failed_for_user == 0


def test_a_rollback_does_not_wait_for_another_service_s_step(world, production, stable) -> None:
    world.launch(stable, production, service="other")
    good, bad = world.release("good"), world.release("bad")
    forward = world.deploy(good, production, service="other").rollout_id
    back = world.deploy(bad, production).rollout_id
    world.reach(back, "stepping")
    world.reach(forward, "stepping")
    world.store.fail()
    world.commands._loop.advance(
        world.loop.ledger.rollouts["other", "production"], _promote_asked()
    )  # a step that was decided and cannot be written down
    world.behave(bad, BROKEN)
    world.run(lambda: world.weight() == 0, seconds_max=5.0)

    assert world.weight(service="other") == 1_000
    world.store.fail(None)
    assert world.end(back)["outcome"] == "rolled_back"
    assert world.end(forward)["outcome"] == "promoted"


def test_after_a_rollback_nobody_wrote_down_a_new_control_plane_decides_the_same(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, production).rollout_id
    world.reach(number, "stepping")
    world.store.fail()
    world.behave(new, BROKEN)
    world.run(lambda: world.weight() == 0, seconds_max=5.0)
    world.store.fail(None)
    world.restart()

    view = world.end(number)
    assert view["outcome"] == "rolled_back"
    assert view["measured"]["candidate_attempts"] == world.truth().candidate[new.short]


@pytest.mark.parametrize("first", [True, False])
def test_a_deploy_that_could_not_be_written_never_starts(world, production, first) -> None:
    if not first:
        world.launch(world.release("live"), production)
    world.store.fail()
    with pytest.raises(errors.UnavailableError):
        world.deploy(world.release("new"), production)
    world.store.fail(None)
    before = len(world.store.rollouts())
    world.step(100)

    assert len(world.store.rollouts()) == before
    assert world.loop.ledger.rollouts == {}
    assert world.launch(world.release("newer"), production)["outcome"] == "promoted"


@pytest.mark.parametrize("verb", ["pause", "promote"])
def test_a_command_that_could_not_be_written_changes_nothing(world, production, stable, verb) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    world.store.fail()
    before = world.loop.ledger.rollouts["demo", "production"].state
    with pytest.raises(errors.UnavailableError):
        getattr(world.commands, verb)(**PLACE)

    assert world.loop.ledger.rollouts["demo", "production"].state == before


def test_an_abort_goes_back_even_when_it_cannot_be_written(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    world.store.fail()
    with pytest.raises(errors.UnavailableError):
        world.commands.abort(**PLACE)
    world.step()

    assert world.weight() == 0
    world.store.fail(None)
    assert world.end(number)["outcome"] == "aborted"


# ----------------------------------------------------------------------------------------------------------- replicas


def test_a_killed_replica_is_started_again_at_once_and_nobody_notices(world, production, stable) -> None:
    world.fleet.crash(f"demo/production/{stable.short}/0")
    world.step(10)

    assert {status.phase for status in world.fleet.observe()} == {fleet_port.ReplicaPhase.READY}
    assert world.truth().failed_for_user == 0


def test_a_replica_that_keeps_dying_is_restarted_with_growing_patience() -> None:
    memory = fleets.InMemoryFleet()
    digest = release.Digest("sha256:" + "a" * 64)
    wanted = {"s/e/a/0": fleet_port.ReplicaSpec(name="s/e/a/0", service="s", environment="e", release=digest, number=0)}
    memory.refuse(digest)
    keeper = replicas.Keeper(memory)
    starts = []
    for second in range(120):
        count = len(memory.started)
        keeper.keep(wanted, {status.name: status for status in memory.observe()}, now=float(second))
        if len(memory.started) > count:
            starts.append(second)

    # The first start, one at once (seen a round later), then waits of 1, 2, 5, 10, 30 s, the last one again and again.
    assert [later - earlier for earlier, later in itertools.pairwise(starts)] == [1, 1, 2, 5, 10, 30, 30, 30]


def test_after_a_calm_time_patience_begins_anew() -> None:
    memory = fleets.InMemoryFleet()
    digest = release.Digest("sha256:" + "a" * 64)
    wanted = {"r": fleet_port.ReplicaSpec(name="r", service="s", environment="e", release=digest, number=0)}
    keeper = replicas.Keeper(memory)

    def keep(now: float) -> int:
        keeper.keep(wanted, {status.name: status for status in memory.observe()}, now=now)
        return len(memory.started)

    keep(0.0)
    for crashed_at in (10.0, 11.0):
        memory.crash("r")
        keep(crashed_at)
    assert len(memory.started) == 3
    memory.crash("r")
    assert keep(11.5) == 3
    assert keep(14.0) == 4
    keep(14.0 + replicas.CALM_SECONDS + 1)
    memory.crash("r")

    assert keep(14.0 + replicas.CALM_SECONDS + 1.1) == 5


def test_what_is_not_wanted_is_stopped(world, production, stable) -> None:
    world.launch(world.release("good"), production)
    world.step(2)

    assert not any(stable.short in status.name for status in world.fleet.observe())


def test_fallback_and_timeout_of_an_environment_reach_the_routes(world, production) -> None:
    environment = dataclasses.replace(production, fallback_body=b'{"late": 0.2}', request_timeout_seconds=1.5)
    world.launch(world.release("first"), environment)

    route = world.gateway.believed.routes[0]
    assert (route.fallback_body, route.request_timeout_seconds) == (b'{"late": 0.2}', 1.5)


def _promote_asked():
    from softlaunch.core.rollout import messages

    return messages.PromoteAsked(by="ada")

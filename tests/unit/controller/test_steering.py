"""Commands during and after rollouts: pause, resume, promote, abort, rollback."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.testing import virtual_traffic

PLACE = {"service": "demo", "environment": "production", "by": "ada"}


@pytest.fixture
def number(world, production, stable) -> int:
    """A good release at its first step."""
    found = world.deploy(world.release("good"), production).rollout_id
    world.reach(found, "stepping")
    return found


def test_a_paused_rollout_keeps_its_share_until_it_is_resumed(world, number) -> None:
    world.commands.pause(**PLACE)
    world.step(200)

    assert world.weight() == 1_000
    assert world.view(number)["paused"]
    world.commands.resume(**PLACE)
    assert world.end(number)["outcome"] == "promoted"


def test_a_paused_rollout_is_still_rolled_back(world, production, stable) -> None:
    bad = world.release("bad", virtual_traffic.Behaviour())
    number = world.deploy(bad, production).rollout_id
    world.reach(number, "stepping")
    world.commands.pause(**PLACE)
    world.behave(bad, virtual_traffic.Behaviour(error_rate=0.5))

    assert world.end(number)["outcome"] == "rolled_back"


def test_promote_goes_one_step_on_and_says_who_decided(world, number) -> None:
    record = world.commands.promote(**PLACE)

    assert record.state.step == 1
    assert record.state.reason == "ada decided so, not the evidence."


def test_promote_full_goes_to_the_watch_window_and_once_more_ends_it(world, number) -> None:
    world.commands.promote(**PLACE, full=True)
    world.step()
    assert world.weight() == 9_500
    world.commands.promote(**PLACE)

    view = world.end(number)

    assert view["outcome"] == "promoted"
    assert world.store.events(rollout_id=number)[-2].text == "ada ended the watch window."


def test_abort_sends_everybody_back_and_keeps_the_reason(world, number, stable) -> None:
    world.commands.abort(**PLACE, reason="Wrong file.")
    world.step()

    assert world.weight() == 0
    assert world.serving() == stable
    view = world.end(number)
    assert view["outcome"] == "aborted"
    assert view["reason"] == "Aborted by ada. Wrong file."


def test_the_candidate_answers_its_last_requests_before_it_is_stopped(world, number, production) -> None:
    candidate = world.loop.ledger.rollouts["demo", "production"].candidate
    world.commands.abort(**PLACE)
    world.step(20)

    assert not any(candidate.short in name for name in world.fleet.stopped)
    world.end(number)
    world.step(2)
    assert sum(candidate.short in name for name in world.fleet.stopped) == production.replica_count


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_without_a_rollout_there_is_nothing_to_steer(world, stable, verb) -> None:
    with pytest.raises(errors.ConfigError) as refusal:
        getattr(world.commands, verb)(**PLACE)

    assert refusal.value.code is errors.Code.NO_ROLLOUT


def test_a_command_that_means_nothing_now_is_refused(world, number) -> None:
    with pytest.raises(errors.ConflictError, match=rf"rollout {number} is stepping at 10 %") as refusal:
        world.commands.resume(**PLACE)

    assert refusal.value.code is errors.Code.NOT_NOW


def test_rollback_during_a_rollout_aborts_it(world, number, stable) -> None:
    done = world.commands.rollback(**PLACE, to="previous")

    assert done.rollout_id == number
    assert world.end(number)["outcome"] == "aborted"
    assert world.serving() == stable


def test_rollback_during_a_rollout_to_something_else_is_a_conflict(world, number) -> None:
    older = world.release("older")

    with pytest.raises(errors.ConflictError) as refusal:
        world.commands.rollback(**PLACE, to=older.short)

    assert refusal.value.code is errors.Code.ROLLOUT_RUNS


@pytest.mark.parametrize("name", ["previous", "digest", "short", "tag", "commit"])
def test_rollback_goes_to_an_earlier_release_at_once(world, production, name) -> None:
    old = world.release("old", commit="3f2a91c" + "0" * 33, tags=("v1",))
    new = world.release("new")
    world.launch(old, production)
    world.launch(new, production)
    to = {"previous": "previous", "digest": old.value, "short": old.short, "tag": "v1", "commit": "3f2a91c"}[name]

    done = world.commands.rollback(**PLACE, to=to)
    view = world.end(done.rollout_id, seconds_max=10.0)

    assert view["outcome"] == "promoted"
    assert world.serving() == old
    live = world.store.load().lives[0]
    assert (live.stable, live.previous) == (old, new)
    assert world.truth().failed_for_user == 0


def test_there_is_no_previous_release_of_a_first_one(world, stable) -> None:
    with pytest.raises(errors.ConfigError) as refusal:
        world.commands.rollback(**PLACE, to="previous")

    assert refusal.value.code is errors.Code.NO_PREVIOUS


def test_rollback_to_what_is_live_or_unknown_changes_nothing(world, stable) -> None:
    assert world.commands.rollback(**PLACE, to=stable.value).rollout_id is None
    with pytest.raises(errors.ConfigError) as refusal:
        world.commands.rollback(**PLACE, to="v77")
    assert refusal.value.code is errors.Code.NO_RELEASE


def test_nothing_can_be_rolled_back_where_nothing_is_live(world) -> None:
    with pytest.raises(errors.ConfigError) as refusal:
        world.commands.rollback(**PLACE, to="previous")

    assert refusal.value.code is errors.Code.NOT_LIVE


def test_deploying_the_same_release_takes_over_what_its_environment_asks_for(world, production, stable) -> None:
    world.deploy(stable, dataclasses.replace(production, replica_count=3))
    world.step(10)

    assert len(world.fleet.observe()) == 3


def test_a_variable_that_is_not_set_is_named_before_anything_starts(world, production) -> None:
    with pytest.raises(errors.ConfigError, match="CARRIER_KEY") as refusal:
        world.deploy(world.release("first"), dataclasses.replace(production, env={"KEY": "$CARRIER_KEY"}))

    assert refusal.value.code is errors.Code.ENV_REFERENCE
    assert world.store.rollouts() == ()

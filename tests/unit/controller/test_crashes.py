"""
Control planes that are killed: the next one ends the rollout as the first would have, with the same evidence.

A kill strikes before or after a call to a neighbour (store, gateway, fleet); between two calls nothing happens that
anybody else could see, so these are all places there are. What was seen is compared with what the users did.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib

import pytest

from softlaunch.core import spec
from softlaunch.testing import simulator, virtual_traffic

BEHAVIOURS = {
    "good": virtual_traffic.Behaviour(error_rate=0.002),
    "bad": virtual_traffic.Behaviour(error_rate=0.05, invalid_rate=0.02),
}


def begin(directory: pathlib.Path, production: spec.EnvironmentSpec, name: str) -> tuple[simulator.Simulator, int]:
    """A machine with a live release and the launch of another one asked for."""
    strategy = dataclasses.replace(production.strategy, watch_seconds=1.0)
    environment = dataclasses.replace(production, strategy=strategy, request_timeout_seconds=1.0)
    world = simulator.Simulator(directory, request_rate=200.0)
    world.launch(world.release("stable"), environment)
    world.step(40)
    number = world.deploy(world.release(name, BEHAVIOURS[name]), environment).rollout_id
    assert number is not None
    return world, number


def evidence(view: dict) -> str:
    """All that was seen and concluded; not when the gateway was told, which a restart may delay by a tick."""
    measured = {key: value for key, value in view["measured"].items() if key != "stable_again_at"}
    return json.dumps([view["outcome"], view["reason"], measured, view["evidence"]], sort_keys=True)


def seen_and_true(world: simulator.Simulator, view: dict) -> tuple[tuple[int, int], tuple[int, int]]:
    short = view["candidate"].removeprefix("sha256:")[:12]
    measured, truth = view["measured"], world.truth()
    return (
        (measured["candidate_attempts"], measured["candidate_bad"]),
        (truth.candidate[short], truth.candidate_bad[short]),
    )


@pytest.mark.parametrize(("name", "outcome"), [("good", "promoted"), ("bad", "rolled_back")])
def test_a_restart_at_every_tick_changes_nothing(tmp_path, production, name, outcome) -> None:
    calm, number = begin(tmp_path / "calm", production, name)
    expected = calm.end(number)
    world, number = begin(tmp_path / "restarted", production, name)
    while world.store.rollout(number).finished_at is None:
        world.step()
        world.restart()

    view = world.view(number)

    assert view["outcome"] == outcome
    assert evidence(expected) == evidence(view)
    assert world.restart_count > 50
    seen, true = seen_and_true(world, view)
    assert true == seen
    assert world.truth().failed_for_user == 0


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("name", "outcome"), [("good", "promoted"), ("bad", "rolled_back")])
def test_kills_at_any_call_to_a_neighbour_lose_and_double_nothing(tmp_path, production, name, outcome, after) -> None:
    world, number = begin(tmp_path, production, name)
    calls = itertools.cycle(range(1, 9))
    while world.store.rollout(number).finished_at is None:
        world.kill(calls=next(calls), after=after)
        world.step(2)

    view = world.view(number)

    assert view["outcome"] == outcome
    assert world.restart_count > 10
    seen, true = seen_and_true(world, view)
    assert true == seen
    kinds = [event.kind for event in world.store.events(rollout_id=number)]
    assert len(kinds) == len({(event.kind, event.text) for event in world.store.events(rollout_id=number)}), kinds


@pytest.mark.parametrize("calls", range(1, 16))
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_around_a_deploy_leaves_a_control_plane_that_starts(tmp_path, production, calls, after) -> None:
    world, number = begin(tmp_path, production, "good")
    world.kill(calls=calls, after=after)
    world.step(3)

    assert world.reach(number, "stepping")["phase"] == "stepping"


def calls_of_a_deploy(directory: pathlib.Path, production: spec.EnvironmentSpec) -> int:
    """How many calls to neighbours a first deploy makes; the last one writes it down."""
    world = simulator.Simulator(directory)
    digest = world.release("first")
    before = world.call_count
    world.deploy(digest, production)
    return world.call_count - before


def test_a_deploy_is_done_once_it_was_written_even_if_nobody_was_told(tmp_path, production) -> None:
    count = calls_of_a_deploy(tmp_path / "counted", production)
    world = simulator.Simulator(tmp_path / "killed")
    digest = world.release("first")
    world.kill(calls=count, after=True)
    with pytest.raises(simulator.KilledError):
        world.deploy(digest, production)
    world.restart()

    assert world.end(1)["outcome"] == "promoted"


def test_a_deploy_killed_before_it_was_written_never_happened(tmp_path, production) -> None:
    count = calls_of_a_deploy(tmp_path / "counted", production)
    world = simulator.Simulator(tmp_path / "killed")
    digest = world.release("first")
    world.kill(calls=count)
    with pytest.raises(simulator.KilledError):
        world.deploy(digest, production)
    world.restart()

    assert world.store.rollouts() == ()
    assert world.launch(digest, production)["id"] == 1


def test_stable_s_own_record_survives_a_kill_to_the_last_attempt(tmp_path, production) -> None:
    world = simulator.Simulator(tmp_path)
    digest = world.release("stable")
    world.launch(digest, production)
    for _ in range(100):
        world.step(3)
        world.restart()
    world.rates["demo", "production"] = 0.0
    world.step(10)

    live = world.store.load().lives[0]

    assert world.truth().stable[digest.short] == live.history["trials"]

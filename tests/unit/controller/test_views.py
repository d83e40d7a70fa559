"""What people and programs are shown."""

from __future__ import annotations

import json

import pytest

from softlaunch.controller import explain, views
from softlaunch.testing import virtual_traffic

Behaviour = virtual_traffic.Behaviour
VIEW_KEYS = {
    "id", "service", "environment", "candidate", "stable", "ref", "commit", "requested_by", "phase", "outcome", "step",
    "steps_percent", "candidate_percent", "entered_at", "watch_seconds", "step_attempts_min", "paused", "hold",
    "reason", "created_at", "finished_at", "measured", "evidence", "steps", "cohorts_percent", "shadow_percent",
    "successor", "drill", "progress", "candidate_arm", "stable_arm", "settings_changed",
}  # fmt: skip


def test_a_rollout_s_document_is_json_and_has_the_same_keys_in_every_phase(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    phases = set()
    while not world.store.rollout(number).finished_at:
        world.step()
        view = world.view(number)
        phases.add(view["phase"])
        assert json.loads(json.dumps(view, allow_nan=False)) == view
        assert VIEW_KEYS == set(view)
        assert len(explain.lines(view)) <= explain.LINES_MAX

    assert phases >= {"preparing", "stepping", "watching", "finishing", "promoted"}


def test_a_finished_rollout_reads_the_same_from_the_store(world, production, stable) -> None:
    view = world.launch(world.release("bad", Behaviour(error_rate=0.3)), production)
    world.restart()

    assert view == world.view(view["id"])


def test_status_names_what_is_live_its_replicas_and_its_rollout(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")

    document = views.status(world.loop)

    assert json.loads(json.dumps(document)) == document
    assert document["environments"] == {"production": {"port": 20_000}}
    (entry,) = document["services"]
    assert entry["stable"] == stable.value
    assert entry["url"] == "http://127.0.0.1:20000/"
    assert entry["rollout"]["id"] == number
    assert [replica["phase"] for replica in entry["replicas"]] == ["ready"] * 4


def test_two_services_in_an_environment_have_their_own_prefixes(world, production, stable) -> None:
    world.launch(stable, production, service="other")

    assert [entry["url"] for entry in views.status(world.loop)["services"]] == [
        "http://127.0.0.1:20000/demo/",
        "http://127.0.0.1:20000/other/",
    ]


def test_events_are_numbered_oldest_first(world, production, stable) -> None:
    found = views.events(list(world.store.events()))

    assert [entry["id"] for entry in found] == list(range(1, len(found) + 1))
    assert set(found[0]) == {"id", "at", "service", "environment", "rollout_id", "kind", "text", "facts", "hash"}


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(), ["Outcome: promoted", "0 bad of", "errors: pass"]),
        (Behaviour(error_rate=0.3), ["Outcome: rolled back", "Why: errors: ", "all traffic on stable", "errors: fail"]),
        (Behaviour(smoke_failure="500"), ["Outcome: rolled back", "Why: Verification failed."]),
    ],
)
def test_explain_says_what_was_seen_and_what_was_done(world, production, stable, behaviour, expected) -> None:
    lines = explain.lines(world.launch(world.release("new", behaviour), production))

    assert len(lines) <= explain.LINES_MAX
    for words in expected:
        assert any(words in line for line in lines), lines


def test_explain_says_why_nothing_goes_on(world, production, stable) -> None:
    number = world.deploy(world.release("good"), production).rollout_id
    world.reach(number, "stepping")
    world.commands.pause(service="demo", environment="production", by="ada")
    world.gateway.lose("lines were lost")
    world.step()

    lines = explain.lines(world.view(number))

    assert any(line.startswith("Now: stepping") and "10 % of traffic, paused." in line for line in lines)
    assert any("lines were lost. `softlaunch resume` goes on" in line for line in lines)


def test_explain_wastes_no_line_on_guardrails_of_a_candidate_that_got_no_traffic(world, production, stable) -> None:
    dead = world.release("dead")
    world.fleet.refuse(dead, "exit code 1")

    assert len(explain.lines(world.launch(dead, production))) == 3

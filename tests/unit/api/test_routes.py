"""Every route of the API, and how it refuses."""

from __future__ import annotations

import dataclasses

import fastapi.routing
import fastapi.testclient
import pytest

from softlaunch import errors
from softlaunch.api import app
from softlaunch.core import spec, spec_json

PLACE = "/v1/services/demo/production"


def refused(answer, status: int, code: errors.Code) -> str:
    """The message of a refusal, whose form is checked."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "remedy", "code"}
    assert answer.json()["code"] == code.value
    assert answer.json()["remedy"]
    message: str = answer.json()["error"]
    return message


def test_health_needs_no_token(machine) -> None:
    answer = machine.client.get("/healthz", headers={"authorization": ""})

    assert answer.json() == {"ready": True, "instance": "i-1", "version": answer.json()["version"]}


@pytest.mark.parametrize("token", ["", "Bearer wrong", "a-token", "Bearer ", "Bearer a-tokenn", "Bearer ä"])
def test_nothing_else_answers_without_the_token(machine, token) -> None:
    routes = [
        (method, route.path)
        for route in machine.client.app.routes
        if isinstance(route, fastapi.routing.APIRoute) and route.path != "/healthz"
        for method in route.methods
    ]

    assert len(routes) >= 8
    for method, path in [*routes, ("GET", "/openapi.json"), ("GET", "/nowhere")]:
        answer = machine.client.request(method, path, headers={"authorization": token.encode()})
        refused(answer, 401, errors.Code.HOOK_OFF if "/hooks/" in path else errors.Code.UNAUTHORIZED)
    assert machine.stopped == []


def test_status_of_a_machine_where_nothing_is_live(machine) -> None:
    assert machine.client.get("/v1/status").json() == {"environments": {}, "services": []}


def test_a_launch_is_created_seen_and_listed(machine, live) -> None:
    number = machine.deploy(machine.world.release("new"))
    view = machine.client.get(f"/v1/rollouts/{number}").json()
    machine.world.reach(number, "stepping")

    assert view["phase"] == "preparing"
    assert view["requested_by"] == "ada"
    assert machine.client.get(f"/v1/rollouts/{number}").json()["candidate_percent"] == 10
    listed = machine.client.get("/v1/rollouts", params={"service": "demo", "limit": 1}).json()
    assert [entry["id"] for entry in listed] == [number]
    assert machine.client.get("/v1/rollouts", params={"environment": "nowhere"}).json() == []
    assert machine.client.get("/v1/status").json()["services"][0]["rollout"]["id"] == number


def test_what_is_live_already_starts_nothing(machine, live) -> None:
    answer = machine.client.post("/v1/rollouts", json=machine.body(live))

    assert answer.json()["rollout_id"] is None
    assert "already live" in answer.json()["text"]


def test_explain_and_events_of_a_rollout(machine, running) -> None:
    lines = machine.client.get(f"/v1/rollouts/{running()}/explain").json()["lines"]
    events = machine.client.get("/v1/events", params={"rollout_id": running()}).json()

    assert lines[0].startswith(f"Rollout {running()}: ")
    assert [event["kind"] for event in events] == ["started", "verified", "step"]
    after = machine.client.get("/v1/events", params={"rollout_id": running(), "after_id": events[0]["id"]}).json()
    assert events[1:] == after
    assert machine.client.get("/v1/events", params={"limit": 1, "service": "demo"}).json()[0]["id"] == 1


def test_steering(machine, running) -> None:
    assert machine.client.post(f"{PLACE}/pause", json={"by": "ada"}).json()["paused"]
    assert not machine.client.post(f"{PLACE}/resume", json={"by": "ada"}).json()["paused"]
    promoted = machine.client.post(f"{PLACE}/promote", json={"by": "ada", "full": True}).json()
    aborted = machine.client.post(f"{PLACE}/abort", json={"by": "ada", "reason": "No."}).json()

    assert promoted["phase"] == "watching"
    assert (aborted["phase"], aborted["reason"]) == ("returning", "Aborted by ada. No.")


def test_rollback(machine, live) -> None:
    machine.world.end(machine.deploy(machine.world.release("new")))

    done = machine.client.post(f"{PLACE}/rollback", json={"by": "ada"}).json()

    assert machine.world.end(done["rollout_id"])["candidate"] == live.value


def test_stop_stops(machine) -> None:
    assert machine.client.post("/v1/stop").status_code == 202
    assert machine.stopped == [True]


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_rollout_that_does_not_exist(machine) -> None:
    assert "no rollout 77" in refused(machine.client.get("/v1/rollouts/77"), 422, errors.Code.NO_ROLLOUT)
    refused(machine.client.get("/v1/rollouts/77/explain"), 422, errors.Code.NO_ROLLOUT)


def test_a_caller_s_mistake_is_422_a_race_409_and_a_neighbour_s_trouble_503(machine, running) -> None:
    unknown = machine.client.post(f"{PLACE}/rollback", json={"by": "ada", "to": "v77"})
    machine.world.store.fail()
    full = machine.client.post(f"{PLACE}/pause", json={"by": "ada"})
    machine.world.store.fail(None)
    race = machine.client.post("/v1/rollouts", json=machine.body(machine.world.release("third"), replace=False))

    refused(unknown, 422, errors.Code.NO_RELEASE)
    refused(full, 503, errors.Code.STATE_UNWRITABLE)
    refused(race, 409, errors.Code.ROLLOUT_RUNS)


def test_a_bug_of_ours_is_500(machine) -> None:
    def ready() -> bool:
        raise errors.InvariantError("Two and two is five.")

    broken = app.create(
        loop=machine.world.loop,
        operations=machine.world.commands,
        store=machine.world.store,
        token="t",
        instance="i",
        ready=ready,
        stop=lambda: None,
    )

    refused(fastapi.testclient.TestClient(broken).get("/healthz"), 500, errors.Code.INTERNAL)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"release": "latest"}, "body.release"),
        ({"release": 7}, "body.release"),
        ({"service": "../etc"}, "body.service"),
        ({"service": "a\n"}, "body.service"),
        ({"surprise": 1}, "body.surprise"),
        ({"by": None}, "body.by"),
    ],
)
def test_a_body_that_cannot_be_used_is_named_field_by_field(machine, live, changes, named) -> None:
    answer = machine.client.post("/v1/rollouts", json=machine.body(live, **changes))

    assert named in refused(answer, 422, errors.Code.BAD_REQUEST)


@pytest.mark.parametrize("path", ["/v1/rollouts/first", "/v1/rollouts?limit=0", "/v1/events?after_id=x"])
def test_a_query_that_cannot_be_used_is_named(machine, path) -> None:
    refused(machine.client.get(path), 422, errors.Code.BAD_REQUEST)


def test_a_body_that_is_no_json(machine) -> None:
    refused(machine.client.post("/v1/rollouts", content=b"{"), 422, errors.Code.BAD_REQUEST)


def test_a_verb_that_does_not_exist(machine) -> None:
    refused(machine.client.post(f"{PLACE}/explode", json={"by": "ada"}), 422, errors.Code.BAD_REQUEST)


def test_an_environment_that_cannot_be_read_or_has_no_proper_name(machine, live) -> None:
    new = machine.world.release("new")
    odd = dataclasses.replace(machine.environment, name="../x")

    garbage = machine.client.post("/v1/rollouts", json=machine.body(new, environment="{}"))
    named = machine.client.post(
        "/v1/rollouts", json=machine.body(new, environment=spec_json.dump_environment(odd).decode())
    )

    refused(garbage, 422, errors.Code.SPEC_UNREADABLE)
    assert "'../x'" in refused(named, 422, errors.Code.BAD_REQUEST)
    assert machine.world.loop.ledger.rollouts == {}


def test_shares_that_do_not_rise_are_the_caller_s_mistake(machine, live) -> None:
    strategy = dataclasses.replace(machine.environment.strategy, steps=spec.shares(5_000, 1_000))
    falling = dataclasses.replace(machine.environment, strategy=strategy)
    text = spec_json.dump_environment(falling).decode()

    answer = machine.client.post("/v1/rollouts", json=machine.body(machine.world.release("new"), environment=text))

    assert "rising shares" in refused(answer, 422, errors.Code.BAD_REQUEST)


def test_a_place_tells_its_plan_as_a_launch_takes_it_but_nobody_s_address(machine, live) -> None:
    told = {"chat": "slack://secret"}
    changed = dataclasses.replace(machine.environment, notify=told, replica_count=3)
    body = machine.body(live, environment=spec_json.dump_environment(changed).decode())
    assert machine.client.post("/v1/rollouts", json=body).status_code == 201

    found = machine.client.get(PLACE).json()

    assert ("demo", "production", live.value, None) == tuple(
        found[name] for name in ("service", "environment", "stable", "previous")
    )
    assert dataclasses.replace(changed, notify={}) == spec_json.load_environment(found["spec"].encode())
    refused(machine.client.get("/v1/services/demo/elsewhere"), 422, errors.Code.NOT_LIVE)


def test_what_was_live_at_a_moment_is_told_with_who_asked_and_when_it_left(machine, live) -> None:
    then = machine.world.clock.now()
    machine.world.step()
    new = machine.world.release("new")
    number = machine.deploy(new)
    machine.world.reach(number, "stepping")
    during = machine.world.clock.now()
    assert machine.world.end(number)["outcome"] == "promoted"

    (before,) = machine.client.get("/v1/history", params={"at": then}).json()["places"]
    (meanwhile,) = machine.client.get("/v1/history", params={"at": during}).json()["places"]

    assert before["entering"] is None
    assert (before["live"]["left_for"], before["live"]["left_by_rollout"]) == (new.value, number)
    assert meanwhile["entering"]["requested_by"] == "ada"
    assert meanwhile["entering"]["outcome"] == "promoted"
    assert set(meanwhile["serves"]) == {before["live"]["release"], new.value}


def test_a_moment_to_come_is_refused(machine, live) -> None:
    answer = machine.client.get("/v1/history", params={"at": machine.world.clock.now() + 60})

    assert "nothing has happened yet" in refused(answer, 422, errors.Code.BAD_REQUEST)


def test_labels_are_taken_whole_or_refused_with_the_place_of_the_first_that_is_none(machine) -> None:
    label = {"prediction_id": "a:0", "name": "late", "value": True}

    taken = machine.client.post("/v1/labels", json={"service": "pricing", "labels": [label, label]})
    refused = machine.client.post("/v1/labels", json={"service": "pricing", "labels": [label, {"value": 1}]})
    unknown = machine.client.post("/v1/labels", json={"service": "nobody", "labels": [label]})

    assert (202, {"accepted": 2}) == (taken.status_code, taken.json())
    assert (422, "labels") == (refused.status_code, refused.json()["code"])
    assert "labels[1]" in refused.json()["error"]
    assert (422, "no-log") == (unknown.status_code, unknown.json()["code"])

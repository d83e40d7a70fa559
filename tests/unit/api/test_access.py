"""People with tokens of their own: what they do is theirs, whatever a body says."""

from __future__ import annotations

import dataclasses

import fastapi.testclient
import pytest

from softlaunch import errors
from softlaunch.core import spec

PLACE = "/v1/services/demo/production"


@pytest.fixture
def ann(machine) -> fastapi.testclient.TestClient:
    return _client(machine, machine.people.add("ann", now=1.0))


@pytest.fixture
def waiting(machine, live) -> int:
    """A rollout that waits for ann's or the owner's approval."""
    step = spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ann", "ada"))
    strategy = dataclasses.replace(machine.environment.strategy, steps=(step, *spec.shares(1_000, 10_000)))
    machine.environment = dataclasses.replace(machine.environment, strategy=strategy)
    number = machine.deploy(machine.world.release("new"))
    machine.world.run(lambda: machine.world.view(number)["hold"] is not None)
    return number


def test_what_comes_with_a_person_s_token_was_done_by_that_person(machine, live, ann) -> None:
    new = machine.world.release("new")
    number = ann.post("/v1/rollouts", json=machine.body(new, by="somebody else")).json()["rollout_id"]
    assert machine.client.get(f"/v1/rollouts/{number}").json()["requested_by"] == "ann"

    aborted = ann.post(f"{PLACE}/abort", json={"by": "somebody else", "reason": "No."}).json()
    told = ann.post("/v1/complaints", json={"prediction": "r", "text": "t", "by": "somebody else"}).json()

    assert "ann" in aborted["reason"]
    assert "ann" == told["complaint"]["by"]


def test_the_owner_s_token_carries_any_name_as_a_note(machine, live) -> None:
    answer = machine.client.post("/v1/rollouts", json=machine.body(machine.world.release("new"), by="a pipeline"))

    assert machine.world.store.rollout(answer.json()["rollout_id"]).requested_by == "a pipeline"


def test_a_token_taken_away_is_worth_nothing_at_once(machine, ann) -> None:
    assert ann.get("/v1/status").status_code == 200
    machine.people.remove("ann")

    assert ann.get("/v1/status").status_code == 401


@pytest.mark.parametrize("scheme", ["", "Basic ", "bearer\t"])
def test_a_token_without_its_scheme_admits_nobody(machine, scheme) -> None:
    token = machine.people.add("ann", now=1.0)

    assert machine.client.get("/v1/status", headers={"authorization": scheme + token}).status_code == 401


def test_a_list_of_people_that_others_can_write_admits_nobody_but_the_owner(machine, ann) -> None:
    machine.people._path.chmod(0o666)

    assert ann.get("/v1/status").status_code == 401
    assert machine.client.get("/v1/status").status_code == 200


@pytest.mark.parametrize("verb", ["approve", "promote"])
def test_only_those_who_are_named_let_a_step_pass_whatever_name_they_give(machine, waiting, verb) -> None:
    bob = _client(machine, machine.people.add("bob", now=1.0))

    answer = bob.post(f"{PLACE}/{verb}", json={"by": "ann"})

    assert (422, errors.Code.NOT_APPROVER.value) == (answer.status_code, answer.json()["code"])
    assert machine.world.view(waiting)["hold"]["kind"] == "approval"


def test_an_approver_is_remembered_with_the_reason(machine, waiting, ann) -> None:
    answer = ann.post(f"{PLACE}/approve", json={"by": "", "reason": "Looks right."})

    assert answer.json()["step"] == 1
    events = machine.client.get("/v1/events", params={"rollout_id": waiting}).json()
    assert ["Approved by ann. Looks right."] == [event["text"] for event in events if event["kind"] == "approved"]


def test_the_owner_approves_under_the_local_user_s_name_and_no_other(machine, waiting) -> None:
    answer = machine.client.post(f"{PLACE}/approve", json={"by": "ann"})

    assert answer.status_code == 200
    events = machine.client.get("/v1/events", params={"rollout_id": waiting}).json()
    assert ["Approved by ada."] == [event["text"] for event in events if event["kind"] == "approved"]


def test_pins_are_listed_lifted_and_tried_again(machine, running) -> None:
    machine.client.post(f"{PLACE}/rollback", json={"by": "ada", "reason": "Prices are wrong."})
    machine.world.end(running())
    new = machine.world.store.rollout(running()).candidate

    (pin,) = machine.client.get(f"{PLACE}/pins").json()
    assert (new.value, "ada", None) == (pin["release"], pin["by"], pin["lifted_at"])
    assert "Prices are wrong." in pin["reason"]
    refused = machine.client.post("/v1/rollouts", json=machine.body(new)).json()
    assert errors.Code.PINNED.value == refused["code"]
    assert "ada" in refused["error"]
    assert "Prices are wrong." in refused["error"]
    assert f"softlaunch unpin {new.short} --service demo --env production --reason" in refused["remedy"]
    assert 422 == machine.client.post(f"{PLACE}/unpin", json={"by": "ada", "release": new.short}).status_code
    body = {"by": "ada", "release": new.short, "reason": "Mended."}
    assert "Mended." == machine.client.post(f"{PLACE}/unpin", json=body).json()["lifted_reason"]

    again = machine.client.post(f"{PLACE}/retry", json={"by": "ada"}).json()

    assert machine.world.end(again["rollout_id"])["candidate"] == new.value


def test_retry_lifts_the_pin_for_a_reason(machine, running) -> None:
    machine.client.post(f"{PLACE}/rollback", json={"by": "ada"})
    machine.world.end(running())

    assert 422 == machine.client.post(f"{PLACE}/retry", json={"by": "ada"}).status_code
    done = machine.client.post(f"{PLACE}/retry", json={"by": "ada", "lift_reason": "The feed was down."}).json()

    assert machine.world.end(done["rollout_id"])["outcome"] == "promoted"


def test_a_newer_release_replaces_what_runs_and_is_seen_to_follow(machine, running) -> None:
    hotfix = machine.world.release("hotfix")
    done = machine.client.post("/v1/rollouts", json=machine.body(hotfix)).json()
    assert done["after"] == running()
    view = machine.client.get(f"/v1/rollouts/{running()}").json()
    assert view["successor"] == {
        "id": done["rollout_id"],
        "release": hotfix.value,
        "arm": hotfix.short,
        "ref": "main",
        "requested_by": "ada",
    }

    machine.world.end(running())

    assert machine.world.end(done["rollout_id"])["candidate"] == hotfix.value


def _client(machine, token: str) -> fastapi.testclient.TestClient:
    return fastapi.testclient.TestClient(machine.client.app, headers={"authorization": f"Bearer {token}"})

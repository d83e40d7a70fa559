"""Commands against a simulated machine: what they print, what they end with."""

from __future__ import annotations

import dataclasses
import json

import httpx
import pytest

from softlaunch import errors
from softlaunch.cli import client
from softlaunch.core import verify_specs
from softlaunch.testing import virtual_traffic

BAD = virtual_traffic.Behaviour(error_rate=0.5)


def test_a_deploy_is_followed_until_it_is_decided(run, machine, stable, built) -> None:
    built(machine.world.release("good"))

    result = run("deploy", "v2")

    assert result.code == 0
    assert "Step 1 of 2: 10 % of traffic." in result.out
    assert "watching" in result.out
    assert "softlaunch promote" in result.out


def test_a_deploy_that_is_taken_back_exits_1_and_says_why(run, machine, stable, built) -> None:
    built(machine.world.release("bad", BAD))

    result = run("deploy")

    assert result.code == 1
    assert "errors: " in result.out
    assert "rolled back" in result.out


def test_json_of_a_deploy_is_one_document(run, machine, stable, built) -> None:
    built(machine.world.release("good"))

    result = run("deploy", "--wait", "ended", "--json")

    assert (result.code, result.document["outcome"]) == (0, "promoted")


def test_wait_no_returns_at_once(run, machine, stable, built) -> None:
    built(machine.world.release("good"))

    assert run("deploy", "--wait", "no", "--json").document["phase"] == "preparing"


def test_deploying_what_is_live_is_no_launch(run, machine, stable, built) -> None:
    built(stable)

    assert "already live" in run("deploy").out
    assert run("deploy", "--json").document == {"outcome": "unchanged", "release": stable.value}


def test_a_release_goes_through_the_environment_named_in_after(run, machine, built) -> None:
    integration = dataclasses.replace(machine.environment, name="integration", verify=verify_specs.VerifySpec())
    production = dataclasses.replace(machine.environment, after="integration")
    built(machine.world.release("first"), integration, production)

    result = run("deploy", "--json")

    assert result.document["environment"] == "production"
    launched = [record.environment for record in reversed(machine.world.store.rollouts())]
    assert launched == ["integration", "production"]


def test_a_release_that_fails_on_the_way_stops_there(run, machine, built) -> None:
    integration = dataclasses.replace(machine.environment, name="integration", verify=verify_specs.VerifySpec())
    production = dataclasses.replace(machine.environment, after="integration")
    built(machine.world.release("bad", virtual_traffic.Behaviour(smoke_failure="500")), integration, production)

    assert run("deploy").code == 1
    assert [record.environment for record in machine.world.store.rollouts()] == ["integration"]


def test_an_environment_must_be_named_when_there_are_several(run, machine, built) -> None:
    other = dataclasses.replace(machine.environment, name="other")
    built(machine.world.release("new"), machine.environment, other)

    assert run("deploy").code == 2
    assert run("deploy", "--env", "nowhere").code == 2
    assert "which-place" in run("deploy").err


def test_watch_follows_the_rollout_that_runs(run, machine, running) -> None:
    result = run("watch")

    assert result.code == 0
    assert "promoted" in result.out


def test_steering_says_where_the_rollout_stands(run, machine, running) -> None:
    assert "(paused)" in run("pause").out
    assert run("resume", "--json").document["paused"] is False
    assert "watching" in run("promote", "--full").out
    aborted = run("abort", "--reason", "Wrong file.")

    assert aborted.code == 0
    assert "Wrong file." in aborted.out


def test_rollback_goes_back_and_waits(run, machine, stable) -> None:
    machine.world.end(machine.deploy(machine.world.release("new")))

    result = run("rollback")

    assert result.code == 0
    assert machine.world.serving() == stable
    assert "already live" in run("rollback", "--to", stable.value).out


def test_status_is_one_readable_line_per_service(run, machine, running, stable) -> None:
    lines = run("status").out.splitlines()

    assert len(lines) == 2
    for word in ("demo", "production", stable.short, "stepping", "10 %", "4/4 ready", "http://127.0.0.1:20000/"):
        assert word in lines[1]
    assert run("status", "--json").document["services"][0]["service"] == "demo"


def test_history_lists_launches_newest_first(run, machine, stable) -> None:
    machine.world.end(machine.deploy(machine.world.release("bad", BAD)))

    out = run("history").out
    limited = run("history", "--limit", "1", "--json").document

    assert out.index("rolled back") < out.index("promoted")
    assert "ada" in out
    assert [view["id"] for view in limited] == [2]


def test_explain_takes_the_last_rollout(run, machine, stable) -> None:
    machine.world.end(machine.deploy(machine.world.release("bad", BAD)))

    out = run("explain").out

    assert out.startswith("Rollout 2: ")
    assert len(out.splitlines()) <= 10
    assert run("explain", "1").out.startswith("Rollout 1: ")
    assert run("explain", "1", "--json").document["lines"]


def test_where_nothing_was_launched_it_is_said(run, machine) -> None:
    assert "Nothing is live yet" in run("status").out
    assert run("history").out == run("explain").out == "No launches yet.\n"
    assert run("history", "--json").document == []
    assert run("explain", "--json").document == {"lines": []}


def test_a_second_up_says_so(run, machine) -> None:
    result = run("up")

    assert result.code == 3
    assert "already-up" in result.err
    assert "softlaunch down" in result.err


def test_down_asks_the_control_plane_to_stop_and_waits(run, machine, home, monkeypatch) -> None:
    monkeypatch.setattr(client, "read_address", _gone_after(2))

    assert run("down").out == "Everything is stopped.\n"
    assert machine.stopped == [True]


def test_down_where_nothing_runs(run, home) -> None:
    assert run("down", "--json").document == {"stopped": False}


def test_init_writes_a_starter_and_refuses_to_write_over_one(run, home, tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")

    assert "softlaunch deploy" in run("init").out
    again = run("init", "--json")
    assert (again.code, again.document["code"]) == (3, "service-file-exists")


def test_doctor_exits_1_only_on_a_problem(run, home) -> None:
    result = run("doctor", "--json")

    states = {check["state"] for check in result.document["checks"]}
    assert result.code == int("problem" in states)
    assert {"name", "state", "detail", "remedy"} <= set(result.document["checks"][0])


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("words", [["status"], ["history"], ["explain"], ["watch"], ["pause"], ["rollback"]])
def test_without_a_control_plane_the_neighbour_is_named(run, home, words) -> None:
    text, document = run(*words), run(*words, "--json")

    assert (text.code, text.out) == (4, "")
    assert "softlaunch up" in text.err
    assert document.code == 4
    assert document.document == {
        "error": "The control plane is not running.",
        "remedy": "Start it with `softlaunch up`.",
        "code": "not-running",
    }


def test_exit_codes_say_whose_fault_it_is(run, machine, running, built) -> None:
    built(machine.world.release("third"))

    assert run("deploy", "--wait", "forever").code == 2
    assert run("deploy", "--no-replace").code == 3
    machine.world.store.fail()
    assert run("pause").code == 4


def test_a_bug_exits_70_and_never_1(run, home, monkeypatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(client, "Client", broken)
    result = run("status", "--json")

    assert result.code == 70
    assert result.document["code"] == "internal"
    assert "Traceback" in result.err


def test_an_unknown_option_is_the_caller_s_mistake(run, home) -> None:
    assert run("status", "--nonsense").code == 2


def test_a_control_file_that_is_no_address_is_no_control_plane(run, home) -> None:
    (home / "control.json").write_text("[]")

    assert run("status").code == 4


def test_several_places_must_be_told_apart(run, machine, stable) -> None:
    other = dataclasses.replace(machine.environment, name="other")
    machine.world.launch(stable, other)

    result = run("rollback")

    assert result.code == 2
    assert "demo in other" in result.err
    assert "--env" in result.err


def test_what_a_web_framework_refuses_is_put_into_words() -> None:
    detail = [{"type": "missing", "loc": ["body", "by"], "msg": "Field required", "input": {}}]
    request = httpx.Request("POST", "http://control/x")

    refused = client._error(httpx.Response(422, json={"detail": detail}, request=request))
    unknown = client._error(httpx.Response(404, json={"detail": "Not Found"}, request=request))
    garbage = client._error(httpx.Response(502, text="<html>", request=request))

    assert "body.by: Field required" in refused.message
    assert "404: Not Found" in unknown.message
    assert "502: <html>" in garbage.message
    assert {refused.code, unknown.code, garbage.code} == {errors.Code.BAD_ANSWER}


def test_a_bug_of_the_control_plane_is_a_bug_here_too() -> None:
    body = {"error": "Two and two is five.", "remedy": "Report it.", "code": "internal"}

    found = client._error(httpx.Response(500, json=body, request=httpx.Request("GET", "http://control/")))

    assert isinstance(found, errors.InvariantError)


def _gone_after(calls: int):
    """A control file that is there so often and then is not."""
    left = [{"url": "http://control", "token": "a-token", "pid": 7, "instance": "i-1"}] * calls

    def read(_home: object) -> dict | None:
        return json.loads(json.dumps(left.pop())) if left else None

    return read

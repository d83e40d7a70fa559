"""Commands for what people decide, complain about, and sign."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

from softlaunch import errors
from softlaunch.cli import client
from softlaunch.config import home as homes
from softlaunch.core import spec
from softlaunch.testing import virtual_traffic

BAD = virtual_traffic.Behaviour(error_rate=0.5)
APPROVAL = spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ann", "ada"))


def planned(machine, *steps: spec.StepSpec) -> None:
    strategy = dataclasses.replace(machine.environment.strategy, steps=(*steps, *spec.shares(1_000, 10_000)))
    machine.environment = dataclasses.replace(machine.environment, strategy=strategy)


@pytest.fixture
def waiting(machine, stable) -> int:
    """A rollout that waits for ann's or ada's approval."""
    planned(machine, APPROVAL)
    number = machine.deploy(machine.world.release("new"))
    machine.world.run(lambda: machine.world.view(number)["hold"] is not None)
    return number


@pytest.fixture
def taken_back(run, machine, stable, built) -> str:
    """The short digest of a release that was rolled back."""
    digest = machine.world.release("bad", BAD)
    built(digest)
    assert run("deploy").code == 1
    return digest.short


def test_status_says_that_somebody_is_waited_for_and_approving_goes_on(run, machine, waiting) -> None:
    assert "(waits for approval)" in run("status").out

    result = run("approve", "--reason", "Looks right.")

    assert result.code == 0
    assert "stepping" in result.out
    assert machine.world.view(waiting)["step"] == 1
    assert run("approve").code == 3


def test_a_person_approves_with_a_token_of_their_own(run, machine, waiting, monkeypatch) -> None:
    for name, code in (("bob", 2), ("ann", 0)):
        monkeypatch.setenv("SOFTLAUNCH_TOKEN", run("token", "add", name, "--json").document["token"])
        result = run("approve", "--json")
        assert result.code == code
    assert machine.world.view(waiting)["step"] == 1


def test_a_control_plane_is_found_by_its_address_alone(run, machine, home, monkeypatch) -> None:
    monkeypatch.setenv("SOFTLAUNCH_TOKEN", machine.people.add("ann", now=1.0))
    (home / "control.json").unlink()
    assert run("status").code == 4
    monkeypatch.setenv("SOFTLAUNCH_URL", "http://control")

    assert run("status", "--json").document["services"] == []


def test_a_token_alone_is_no_address(home) -> None:
    with pytest.raises(errors.UnavailableError):
        client.Client(homes.Home.locate(home), {"SOFTLAUNCH_TOKEN": "t"})


def test_a_pinned_release_is_refused_with_who_why_and_the_command_that_lifts_it(run, machine, taken_back) -> None:
    for words in (["deploy"], ["retry"]):
        result = run(*words)
        assert result.code == 2
        for part in ("by softlaunch", "errors: ", f"softlaunch unpin {taken_back} --service demo --env production"):
            assert part in result.err


def test_pins_are_listed_and_lifted(run, machine, taken_back) -> None:
    listed = run("pins").out
    assert taken_back in listed
    assert "errors: " in listed

    assert run("unpin", taken_back).code == 2
    assert "may be launched" in run("unpin", taken_back, "--reason", "mended").out
    assert run("unpin", taken_back, "--reason", "mended").code == 2

    assert "Nothing of demo is pinned" in run("pins").out
    assert [] == run("pins", "--json").document
    assert "mended" in run("pins", "--all").out
    (pin,) = run("pins", "--all", "--json").document
    assert pin["lifted_reason"] == "mended"


def test_retry_lifts_the_pin_launches_again_and_exits_1_when_it_goes_wrong_again(run, machine, taken_back) -> None:
    result = run("retry", "--lift", "the feed was down")

    assert result.code == 1
    assert taken_back in result.out
    assert "rolled back" in result.out


def test_retry_of_what_was_promoted_means_nothing(run, stable) -> None:
    assert "not-now" in run("retry").err


def test_the_reason_of_a_rollback_is_kept_with_the_pin(run, machine, stable) -> None:
    new = machine.world.release("new")
    machine.world.end(machine.deploy(new))

    assert run("rollback", "--reason", "prices are wrong").code == 0

    assert "prices are wrong" in run("pins").out


def test_a_newer_release_takes_the_place_of_what_runs_and_is_followed_to_its_end(run, machine, running, built) -> None:
    built(machine.world.release("hotfix"))

    patient = run("deploy", "--no-replace")
    now = run("deploy", "--wait", "no", "--json").document
    result = run("deploy", "--wait", "ended")

    assert patient.code == 3
    assert (now["id"], now["successor"]["ref"]) == (running, "HEAD")
    assert result.code == 0
    assert "makes way" in result.out
    assert machine.world.serving().short in result.out


# ---------------------------------------------------------------------------------------------------------- complaints


def test_a_complaint_is_noted_for_the_release_that_made_the_prediction(run, machine, stable) -> None:
    machine.predictions["r-1:4"] = ("demo", "production", stable.value)

    told = run("report", "r-1:4", "negative price", "--ticket", "T-1")
    again = run("report", "r-1:4", "negative price", "--ticket", "T-1")

    assert (0, 0) == (told.code, again.code)
    assert stable.short in told.out
    assert "stays one complaint" in again.out
    listed = run("complaints").out
    for part in ("demo in production", stable.short, "live now", "negative price"):
        assert part in listed


def test_a_complaint_about_an_unknown_prediction_says_so(run, machine, stable) -> None:
    assert "not in the records" in run("report", "r-1", "late").out
    assert run("report", "no id", "late").code == 2
    assert run("report", "r-1", "late", "--env", "nowhere", "--json").document["code"] == "no-prediction"


def test_no_complaints_are_no_table(run, machine, stable) -> None:
    assert "No complaints in the last 7d." in run("complaints", "--since", "7d").out
    assert run("complaints", "--since", "yesterday").code == 2


def test_the_command_that_is_offered_goes_back_as_it_stands(run, machine, stable) -> None:
    new = machine.world.release("new")
    machine.world.clock.advance(20_000.0)
    machine.world.end(machine.deploy(new))
    machine.world.step(10)
    machine.predictions["r-1"] = ("demo", "production", new.value)
    for number in range(4):
        run("report", "r-1", f"wrong {number}")

    shown = run("complaints").out
    (place,) = run("complaints", "--json").document["places"]

    command = place["offer"]["command"]
    assert command in shown
    assert run(*shlex.split(command)[1:]).code == 0
    assert machine.world.serving() == stable
    assert "4 complaints" in run("pins").out


# ------------------------------------------------------------------------------------------------- tokens and webhooks


def test_a_token_is_shown_once_and_taken_away(run, machine, home) -> None:
    token = run("token", "add", "ann").out.splitlines()[0]
    assert machine.people.whose(token) == "ann"
    assert run("token", "add", "ann").code == 3
    assert run("token", "add", "a b").code == 2

    listed = run("token", "list").out
    assert "ann" in listed
    assert token not in listed + (home / "people.json").read_text()
    assert [entry["name"] for entry in run("token", "list", "--json").document] == ["ann"]

    assert "worth nothing" in run("token", "remove", "ann").out
    assert machine.people.whose(token) is None
    assert run("token", "remove", "ann").code == 2
    assert "Nobody" in run("token", "list").out


def test_the_webhooks_secret_is_shown_once_and_rotated(run, machine, home) -> None:
    first = run("webhook", "secret").out.splitlines()[0]
    assert first.encode() == machine.secret.read()
    assert run("webhook", "secret").code == 3
    second = json.loads(run("webhook", "secret", "--rotate", "--json").out)["secret"]

    assert second.encode() == machine.secret.read()
    assert first != second

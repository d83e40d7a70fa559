"""Fire drills on a real machine: every fault is caught, and a net with a hole in it is said to have one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import lab
import process_lab
import pytest

from softlaunch import errors
from softlaunch.core import drills, release, spec, verify_specs

Guardrail = spec.GuardrailName
pytestmark = pytest.mark.slow
WHOLE = (*spec.GUARDRAILS_DEFAULT, Guardrail.CPU, Guardrail.MEMORY)


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    """Production has a whole net, staging one with holes, and integration no traffic of its own."""
    with process_lab.laboratory() as found:
        stable = found.make("stable")
        usual = lab.strategy(guardrails=WHOLE)
        holed = lab.strategy(guardrails=(Guardrail.ERRORS, Guardrail.CPU))
        for environment in (
            usual,
            dataclasses.replace(holed, name="staging"),
            dataclasses.replace(usual, name="integration", verify=verify_specs.VerifySpec(request_count=10)),
        ):
            view = found.deploy(stable, environment)
            assert view["outcome"] == "promoted", view["reason"]
        yield found


def _drill(machine: process_lab.ProcessLab, *arguments: str, environment: str) -> tuple[int, dict[str, Any]]:
    done = machine.command("drill", *arguments, "--env", environment, timeout=280.0)
    assert done.out, done.err
    return done.code, done.document


@pytest.fixture
def drilled(machine: process_lab.ProcessLab) -> Iterator[tuple[int, release.Digest]]:
    """A drill that nothing catches while the test looks: it needs more requests than there are."""
    planted = {"fault": "crash_loop", "parameters": {"requests": 1e6}, "by": "test"}
    done = machine.client.post(f"/v1/services/{lab.SERVICE}/staging/drill", planted)
    view = machine.when(done["rollout_id"], lambda found: found["phase"] == "stepping")
    yield done["rollout_id"], release.Digest(view["candidate"])
    with contextlib.suppress(errors.ConflictError, errors.ConfigError):
        machine.client.post(f"/v1/services/{lab.SERVICE}/staging/abort", {"by": "test", "reason": "The test is over."})
    machine.finished(done["rollout_id"])


def test_a_whole_net_holds_against_every_fault_with_the_drills_own_load(machine) -> None:
    code, found = _drill(machine, "all", "--production", environment=lab.ENVIRONMENT)

    assert (0, True) == (code, found["held"]), found
    assert set(drills.FaultName) == {card["fault"] for card in found["drills"]}
    for card in found["drills"]:
        assert 0 == card["users"]["failed"] < card["users"]["sent"]
        assert card["caught_by"] in {*WHOLE, drills.READINESS}
        assert card["outcome"] in {"rolled_back", "aborted"}


@pytest.mark.parametrize("fault", ["errors_5xx", "wrong_schema"])
def test_a_drill_uses_the_traffic_that_is_there(machine, fault) -> None:
    with lab.load(machine.port, 100.0) as users:
        code, found = _drill(machine, fault, "--rate", "0", "--production", environment=lab.ENVIRONMENT)

    (card,) = found["drills"]
    assert (0, "rolled_back") == (code, card["outcome"]), found
    assert card["caught_by"] in card["expected"]
    assert 0 < card["seconds_to_stable"] < 10.0
    assert 0 == users["failed"]


def test_an_environment_without_traffic_is_drilled_with_the_drills_own(machine) -> None:
    code, found = _drill(machine, "nan", environment="integration")

    (card,) = found["drills"]
    assert (0, "invalid") == (code, card["caught_by"]), found
    assert 0 == card["users"]["failed"] < card["users"]["sent"]


def test_a_guardrail_that_only_observes_lets_the_drill_fail_and_enforce_shows_that_it_would_have_held(machine) -> None:
    observed, found = _drill(machine, "nan", "--patience", "30s", environment="staging")
    enforced, again = _drill(machine, "nan", "--enforce", environment="staging")

    (card,) = found["drills"]
    assert (1, False, "aborted", "") == (observed, found["held"], card["outcome"], card["caught_by"]), found
    assert "invalid saw it and only observes" in card["problems"][0]
    assert (0, "invalid") == (enforced, again["drills"][0]["caught_by"]), again


def test_a_burning_candidate_is_given_away_without_a_latency_guardrail(machine) -> None:
    code, found = _drill(
        machine, "cpu_burn", "--set", "ms=20", "--share", "30%", "--patience", "4m", environment="staging"
    )

    assert 0 == code, json.dumps(found, indent=1)
    # On a machine that is busy anyway, tries that come too late count as errors before enough of their cost was seen.
    assert found["drills"][0]["caught_by"] in {"cpu", "errors"}, found


def test_production_is_drilled_only_by_those_who_say_so(machine) -> None:
    before = len(machine.client.get("/v1/rollouts"))

    code, found = _drill(machine, "nan", environment=lab.ENVIRONMENT)

    assert (2, "drill-production") == (code, found["code"])
    assert before == len(machine.client.get("/v1/rollouts"))


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_a_drill_release_is_not_promoted_by_hand(machine, drilled, full) -> None:
    number, _ = drilled

    machine.command("promote", *full, "--env", "staging")
    view = machine.finished(number)

    assert "aborted" == view["outcome"], view
    assert "drill" in view["reason"] or "injected fault" in view["reason"]


def test_a_drill_release_is_launched_by_no_other_command(machine, drilled) -> None:
    number, digest = drilled
    machine.client.post(f"/v1/services/{lab.SERVICE}/staging/abort", {"by": "test", "reason": "Now by name."})
    machine.finished(number)
    environment = dataclasses.replace(lab.strategy(), name="staging")

    deployed = process_lab.refused(lambda: machine.start(digest, environment))
    rolled_back = machine.command("rollback", "--to", digest.value, "--env", "staging")
    retried = machine.command("retry", "--env", "staging")

    assert errors.Code.DRILL_RELEASE == deployed.code
    assert (2, "drill-release") == (rolled_back.code, rolled_back.document["code"])
    assert (2, "not-now") == (retried.code, retried.document["code"])


def test_whoever_drills_and_goes_away_leaves_no_fault_behind(machine) -> None:
    command = [*machine.verb("drill", "crash_loop", "--set", "requests=1000000"), "--env", "staging"]
    drill = subprocess.Popen(
        [*command, "--home", str(machine.home.root)],
        env=machine.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (running := [found for found in _rollouts(machine) if found["outcome"] is None]):
        assert drill.poll() is None, drill.communicate()
        time.sleep(process_lab.POLL_SECONDS)
    machine.when(running[0]["id"], lambda view: view["phase"] == "stepping")

    drill.send_signal(2)
    drill.communicate(timeout=30)

    assert "aborted" == machine.finished(running[0]["id"])["outcome"]


def _rollouts(machine: process_lab.ProcessLab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.client.get("/v1/rollouts", environment="staging")
    return found

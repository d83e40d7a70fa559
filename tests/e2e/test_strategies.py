"""Every strategy with a real gateway, real model servers and real traffic."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator

import httpx
import lab
import process_lab
import psutil
import pytest

from softlaunch.core import release, spec
from softlaunch.testing import releases

pytestmark = pytest.mark.slow
RATE = 80.0
BROKEN = releases.faulty('raise ValueError("planted")')
COHORTS = (spec.CohortSpec(name="internal", header="x-employee", values=("yes",)),)
ALL = spec.StepSpec(weight=spec.WEIGHT_FULL)


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    """A machine of its own: what is live changes from test to test."""
    with process_lab.laboratory() as found:
        assert found.deploy(found.make("first"), lab.strategy())["outcome"] == "promoted"
        yield found


@contextlib.contextmanager
def users(machine: process_lab.ProcessLab) -> Iterator[dict]:
    with lab.load(machine.port, RATE) as report:
        yield report


def _predict(machine: process_lab.ProcessLab, **headers: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{machine.port}/predict",
        json=releases.LIVE_ROW,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=10.0,
    )


def _shadow(weight: int, **changes) -> spec.StepSpec:
    return spec.StepSpec(kind=spec.StepKind.SHADOW, weight=weight, attempts_min=100, **changes)


def _steps(*steps: spec.StepSpec, **changes) -> spec.EnvironmentSpec:
    return lab.strategy(around={"cohorts": COHORTS}, steps=(*steps, ALL), **changes)


def test_a_shadow_that_agrees_is_promoted_and_every_copy_finds_its_original(machine) -> None:
    with users(machine) as seen:
        view = machine.deploy(
            machine.make("shadowed"), _steps(_shadow(5_000), acceptable_percent=5.0, disagreement_percent_max=10.0)
        )

    assert "promoted" == view["outcome"], view
    pairs = view["measured"]["shadow"]
    assert pairs["pair_count"] == pairs["joined_count"] >= 100
    assert 1.0 == pairs["agreement_rate"]
    assert 0 == seen["failed"]


def test_a_shadow_that_fails_is_taken_back_and_no_user_saw_it(machine) -> None:
    with users(machine) as seen:
        view = machine.deploy(machine.make("shadow-broken", BROKEN), _steps(_shadow(5_000)))

    assert "rolled_back" == view["outcome"], view
    assert 0 == seen["failed"]


def test_a_shadow_that_answers_otherwise_is_found_by_its_disagreement(machine) -> None:
    other = releases.faulty('return [{"label": 0, "probability": 0.123} for _ in rows]')
    guardrails = (*spec.GUARDRAILS_DEFAULT, spec.GuardrailName.DISAGREEMENT)
    with users(machine):
        view = machine.deploy(machine.make("shadow-other", other), _steps(_shadow(10_000), guardrails=guardrails))

    assert "rolled_back" == view["outcome"], view
    assert view["reason"].startswith("disagreement")


def test_a_cohort_meets_the_candidate_first_and_then_somebody_approves(machine) -> None:
    cohort = spec.StepSpec(kind=spec.StepKind.COHORT, cohort="internal", weight=10_000, attempts_min=5)
    approval = spec.StepSpec(kind=spec.StepKind.APPROVAL)
    new = machine.make("for-employees")
    environment = _steps(cohort, approval, spec.StepSpec(weight=5_000), acceptable_percent=5.0, holdback_percent=0.0)
    with users(machine) as seen:
        number = machine.start(new, environment)
        machine.when(number, lambda view: view["phase"] == "stepping")
        for _ in range(10):
            assert new.short == _predict(machine, x_employee="yes").json()["release"]
            assert new.short != _predict(machine).json()["release"]
        machine.when(number, lambda view: (view["hold"] or {}).get("kind") == "approval")
        assert 0 == machine.command("approve", "--reason", "Employees are content.").code
        view = machine.finished(number)

    assert "promoted" == view["outcome"], view
    assert 0 == seen["failed"]


def test_recreate_measures_its_downtime_and_the_fallback_answers_meanwhile(machine) -> None:
    environment = lab.strategy(kind=spec.StrategyKind.RECREATE, steps=(ALL,), watch_seconds=0.0)
    new = machine.make("recreated")
    with users(machine) as seen:
        view = machine.deploy(new, environment)

    assert "promoted" == view["outcome"], view
    assert 0.0 < view["measured"]["downtime_seconds"] < 30.0
    assert seen["planned"] == seen["outcomes"]["ok"] + seen["outcomes"]["fallback"]
    assert 0 < seen["outcomes"]["fallback"]


def test_blue_green_moves_everybody_and_a_warm_release_is_back_in_under_a_second(machine) -> None:
    environment = lab.strategy(
        kind=spec.StrategyKind.BLUE_GREEN, steps=(ALL,), holdback_percent=0.0, watch_seconds=0.0, warm_seconds=60.0
    )
    view = machine.deploy(machine.make("green"), environment)
    blue = view["stable"].removeprefix("sha256:")[:12]
    with users(machine) as seen:
        done = machine.command("rollback", "--to", "previous")
        assert 0 == done.code, done.err
        record = machine.finished(done.document["rollout_id"] if "rollout_id" in done.document else done.document["id"])

    assert blue == _predict(machine).json()["release"]
    assert 0 == seen["failed"]
    events = machine.client.get("/v1/events", rollout_id=record["id"])
    moved = next(event["at"] for event in events if event["kind"] == "finished")
    assert moved - events[0]["at"] < 1.0


def test_a_hotfix_takes_the_place_of_a_rollout_that_runs(machine) -> None:
    with users(machine) as seen:
        first = machine.start(machine.make("slow-plan"), lab.strategy(step_attempts_min=1_000_000))
        machine.when(first, lambda view: view["phase"] == "stepping")
        fix = machine.make("hotfix")
        second = machine.start(fix, lab.strategy(acceptable_percent=5.0))
        assert "aborted" == machine.finished(first)["outcome"]
        assert "promoted" == machine.when(second, lambda view: view["outcome"] is not None)["outcome"]

    assert 0 == seen["failed"]


def _table() -> str:
    text = io.StringIO()
    names = list(releases.LIVE_ROW)
    writer = csv.writer(text)
    writer.writerow([*names, "label", "probability"])
    writer.writerow(["" for _ in names] + [0, 0.25])
    return text.getvalue()


def test_a_table_answers_when_every_release_is_dead(machine) -> None:
    table = spec.FallbackSpec(
        kind=spec.FallbackKind.TABLE, target="prices.csv", keys=tuple(releases.LIVE_ROW), content=_table()
    )
    environment = lab.strategy(around={"fallbacks": (table,)}, acceptable_percent=5.0)
    with users(machine):
        assert "promoted" == machine.deploy(machine.make("with-a-table"), environment)["outcome"]
    before = _predict(machine)
    assert "x-softlaunch-fallback" not in before.headers
    dying = releases.faulty("import os; os.kill(os.getpid(), 9)")
    frozen = lab.strategy(
        around={"fallbacks": (table,)}, steps=(ALL,), watch_seconds=600.0, on_failure=spec.FailurePolicy.FREEZE
    )
    candidate = machine.make("dying", dying)
    number = machine.start(candidate, frozen)
    view = machine.when(number, lambda view: view["phase"] == "watching")
    for digest in (candidate, release.Digest(view["stable"])):
        for replica in machine.replicas(digest):
            with contextlib.suppress(psutil.NoSuchProcess):
                process_lab.kill(replica["pid"])

    answer = _predict(machine)

    assert 200 == answer.status_code
    assert "table" == answer.headers["x-softlaunch-fallback"]
    assert 0.25 == json.loads(answer.content)["prediction"]["probability"]
    assert 0 == machine.command("abort").code
    machine.finished(number)

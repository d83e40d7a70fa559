"""The live view in every phase a rollout can be in."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
import rich.console

from softlaunch.cli import live
from softlaunch.controller import views
from softlaunch.core import spec
from softlaunch.core.rollout import phases
from softlaunch.testing import virtual_traffic


def drawn(view: dict, events: list[dict], width: int = 120) -> str:
    console = rich.console.Console(file=io.StringIO(), width=width, record=True)
    console.print(live.render(view, events))
    return console.export_text()


@pytest.mark.parametrize("error_rate", [0.0, 0.3])
@pytest.mark.parametrize("width", [40, 120])
def test_every_phase_can_be_drawn(machine, stable, error_rate, width) -> None:
    new = machine.world.release("new", virtual_traffic.Behaviour(error_rate=error_rate))
    number = machine.deploy(new)
    seen = set()
    while not machine.world.store.rollout(number).finished_at:
        machine.world.step()
        view = machine.world.view(number)
        if view["phase"] not in seen:
            seen.add(view["phase"])
            text = drawn(view, views.events(list(machine.world.store.events(rollout_id=number))), width)
            assert new.short in text.replace("\n", "")

    assert len(seen) >= 4


def test_steps_evidence_and_history_are_there(machine, running) -> None:
    machine.world.step(5)
    text = drawn(machine.world.view(running), views.events(list(machine.world.store.events(rollout_id=running))))

    for words in ("demo in production", "stepping", "10 %", "100 %", "errors", "client_errors", "latency", "invalid"):
        assert words in text
    assert "smoke requests passed" in text
    assert "inconclusive" in text


def test_holds_and_pauses_are_seen(machine, running) -> None:
    machine.world.commands.pause(service="demo", environment="production", by="ada")
    machine.world.gateway.lose("[bold] lines were lost")
    machine.world.step()
    text = drawn(machine.world.view(running), [])

    assert "(paused)" in text
    assert "Held: [bold] lines were lost" in text


def test_a_bar_is_never_longer_than_its_place() -> None:
    for value in (None, -5.0, 0.0, 1.0, 4.0, 1e9, math.inf):
        bar = live.bar(value, 4.0, "red")
        assert bar.count("━") + bar.count("─") == 24


def test_odds_are_readable() -> None:
    assert [live.odds(value) for value in (None, -1.0, math.log(2.5), 1e9)] == [
        "-",
        "below 1 : 1",
        "2.5 : 1",
        "over 1,000,000 : 1",
    ]


def test_every_kind_of_step_is_seen_with_what_it_routes(machine, stable) -> None:
    steps = (
        spec.StepSpec(kind=spec.StepKind.SHADOW, weight=500, duration_seconds=600.0),
        spec.StepSpec(kind=spec.StepKind.COHORT, cohort="staff", weight=5_000),
        spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ada", "ann")),
        *spec.shares(1_000, 10_000),
    )
    strategy = dataclasses.replace(machine.environment.strategy, steps=steps)
    cohort = spec.CohortSpec(name="staff", header="x-staff")
    machine.environment = dataclasses.replace(machine.environment, strategy=strategy, cohorts=(cohort,))
    number = machine.deploy(machine.world.release("new"))
    machine.world.reach(number, "stepping")
    seen = [drawn(machine.world.view(number), [], 160)]
    for _ in range(3):
        machine.world.commands.promote(service="demo", environment="production", by="ada")
        seen.append(drawn(machine.world.view(number), [], 160))

    assert all(
        "shadow 5 % for 10m  >  staff 50 %  >  approval by ada or ann  >  10 %  >  100 %" in text for text in seen
    )
    gets = [text.partition("the candidate gets ")[2].partition("\n")[0].strip() for text in seen]
    assert gets == ["copies of 5 %", "50 % of staff", "50 % of staff", "10 %, 50 % of staff"]
    assert "(waits for approval)" in seen[2]
    assert "(waits for approval)" not in seen[3]


@pytest.mark.parametrize("kind", list(phases.HoldKind))
def test_every_hold_says_what_is_waited_for(machine, running, kind) -> None:
    view = machine.world.view(running) | {"hold": {"kind": kind.value, "reason": "because [bold]"}}

    text = drawn(view, [])

    assert "Held: because [bold]" in text
    assert f"({kind.value})" not in text or kind is phases.HoldKind.OUTAGE
    assert kind.value in live._HOLDS


def test_a_successor_and_a_drill_are_seen(machine, running) -> None:
    hotfix = machine.world.release("hotfix")
    machine.deploy(hotfix)
    view = machine.world.view(running)

    assert f"makes way for {hotfix.short} (main), asked by ada" in drawn(view, [])
    assert "drill" in drawn(view | {"drill": True}, [])


def test_a_shadow_s_agreement_is_seen(machine, running) -> None:
    view = machine.world.view(running)
    measured = view["measured"] | {"shadow": {"compared_count": 1_200, "agreed_count": 1_188}}

    assert "1,188 of 1,200 answers agree" in drawn(view | {"measured": measured}, [])

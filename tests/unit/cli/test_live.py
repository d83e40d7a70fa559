"""The live view in every phase a rollout can be in."""

from __future__ import annotations

import io
import math

import pytest
import rich.console

from softlaunch.cli import live
from softlaunch.controller import views
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

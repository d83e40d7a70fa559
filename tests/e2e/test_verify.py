"""Environments without traffic, passed by recorded requests and load tests: real gateway, model servers and senders."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import httpx
import lab
import process_lab
import psutil
import pytest

from softlaunch import errors
from softlaunch.core import spec, verify_specs
from softlaunch.core.rollout import plan
from softlaunch.testing import releases

pytestmark = pytest.mark.slow
SLOW = """
import time
class Predictor:
    def predict(self, rows):
        time.sleep(0.4)
        return [{"label": 1, "probability": 0.5} for _ in rows]
"""
BROKEN = releases.faulty('raise ValueError("planted")')
LOAD = verify_specs.LoadSpec(rate=40.0, duration_seconds=2.0, latency_ms_p99_max=250.0)


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory() as found:
        assert found.deploy(found.make("live"), lab.strategy())["outcome"] == "promoted"
        yield found


def integration(load: verify_specs.LoadSpec | None = LOAD, **changes: object) -> spec.EnvironmentSpec:
    return spec.EnvironmentSpec(
        name="integration",
        strategy=plan.without_traffic(),
        replica_count=1,
        request_timeout_seconds=2.0,
        verify=verify_specs.VerifySpec(request_count=2, load=load, **changes),
    )


def production() -> spec.EnvironmentSpec:
    return lab.strategy({"after": "integration"}, steps=spec.shares(10_000))


def senders(machine: process_lab.ProcessLab) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "softlaunch.adapters.local.load_sender" in process.cmdline() and process.cwd() == str(machine.home.logs):
                found.append(process)
    return found


def sending(machine: process_lab.ProcessLab, number: int) -> psutil.Process:
    """The sender of a rollout's load test, once it has told how far it is."""
    machine.when(number, lambda found: "so far" in found["progress"], timeout=60)
    (process,) = senders(machine)
    return process


def gone(machine: process_lab.ProcessLab, *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while senders(machine):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_fast_release_passes_its_load_test_and_the_slow_one_never_gets_to_production(machine) -> None:
    fast, slow = machine.make("fast"), machine.make("slow", SLOW)

    passed = machine.deploy(fast, integration())
    live = machine.deploy(fast, production())
    failed = machine.deploy(slow, integration())

    assert ("promoted", "promoted", "rolled_back") == (passed["outcome"], live["outcome"], failed["outcome"])
    found = passed["measured"]["verification"]["load"]
    assert ("pass", 80, 0) == (found["verdict"], found["planned"], found["dropped"])
    assert found["planned"] == found["sent"] + found["late"] + found["dropped"]
    assert "p99" in failed["reason"]
    assert failed["measured"]["verification"]["load"]["latency_ms"]["p99"] >= 400
    with pytest.raises(errors.ConfigError) as refusal:
        machine.start(slow, production())
    assert refusal.value.code in (errors.Code.NOT_PASSED, errors.Code.PINNED)
    assert fast.value == _live(machine, lab.ENVIRONMENT)
    told = machine.command("history", "--env", "integration").out
    assert '"load"' in told
    assert '"p99.9"' in told


def _live(machine: process_lab.ProcessLab, environment: str) -> str:
    services = machine.client.get("/v1/status")["services"]
    return next(found["stable"] for found in services if found["environment"] == environment)


def test_a_sender_that_had_no_time_holds_the_rollout_and_resuming_tests_again(machine) -> None:
    held = machine.start(machine.make("held"), integration())
    process = sending(machine, held)
    process.suspend()
    time.sleep(0.6)
    process.resume()

    view = machine.when(held, lambda found: found["hold"] is not None)

    assert "unmeasured" == view["hold"]["kind"]
    assert "behind its schedule" in view["hold"]["reason"]
    assert 0 == machine.command("resume", "--env", "integration").code
    assert "promoted" == machine.finished(held)["outcome"]


def test_a_pause_and_an_abort_stop_the_sender_at_once(machine) -> None:
    long = dataclasses.replace(LOAD, duration_seconds=60.0)
    number = machine.start(machine.make("stopped"), integration(long))
    sending(machine, number)

    assert 0 == machine.command("pause", "--env", "integration").code
    assert gone(machine, seconds=2)
    assert 0 == machine.command("resume", "--env", "integration").code
    sending(machine, number)
    machine.command("abort", "--env", "integration")

    assert gone(machine, seconds=2)
    assert "aborted" == machine.finished(number)["outcome"]


def test_the_sender_ends_with_its_control_plane_and_the_next_one_tests_from_the_start(machine) -> None:
    number = machine.start(machine.make("orphaned"), integration())
    sending(machine, number)

    machine.kill_control_plane()

    assert gone(machine, seconds=3)
    machine.up()
    view = machine.finished(number)
    assert ("promoted", 80) == (view["outcome"], view["measured"]["verification"]["load"]["planned"])


def test_what_production_was_asked_decides_what_passes_integration(machine) -> None:
    replayed = verify_specs.ReplaySpec(environment=lab.ENVIRONMENT, request_count=150, rate=100.0)
    _asked(machine, 200)
    both = integration(None, replay=replayed)

    equal, broken = machine.deploy(machine.make("equal"), both), machine.deploy(machine.make("broken", BROKEN), both)

    assert ("promoted", "rolled_back") == (equal["outcome"], broken["outcome"]), equal["reason"]
    found = equal["measured"]["verification"]["replay"]
    assert (150, 0, 150) == (found["sent"], found["failed"], found["agreed"])
    assert broken["measured"]["verification"]["replay"]["failed"] > 0


def _asked(machine: process_lab.ProcessLab, count: int) -> None:
    """Production answers so many requests, and has recorded them."""
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.port}") as users:
        for _ in range(count):
            assert 200 == users.post("/predict", json=releases.LIVE_ROW).status_code
    time.sleep(1.5)  # model servers write what they recorded once a second

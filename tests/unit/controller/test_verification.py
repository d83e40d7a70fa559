"""Replays and load tests as verifications, with the real loop in virtual time."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.controller import explain, verification
from softlaunch.core import release, spec, spool, verify_specs
from softlaunch.core.rollout import messages
from softlaunch.ports import loads
from softlaunch.testing import loads as load_tests
from softlaunch.testing import spool as spools

LOAD = verify_specs.LoadSpec(rate=200.0, duration_seconds=15.0, latency_ms_p99_max=20.0)
REPLAY = verify_specs.ReplaySpec(environment="production", request_count=300, rate=100.0)
BODY = b'{"x0": 1.0}'


def integration(production: spec.EnvironmentSpec, **how: Any) -> spec.EnvironmentSpec:
    return dataclasses.replace(production, name="integration", verify=verify_specs.VerifySpec(**how))


@pytest.fixture
def empty(world, production) -> spec.EnvironmentSpec:
    """An integration environment in which something is live, and that nobody asks anything."""
    world.rates["demo", "integration"] = 0.0
    found = integration(production, load=LOAD)
    assert world.launch(world.release("before"), found)["outcome"] == "promoted"
    return found


def record(world, stable: release.Digest, number: int, **changes: Any) -> None:
    kept = spool.Record(
        **{
            "request_id": f"r{number}",
            "at": world.clock.now() - 3_600 + number / 10,
            "release": stable.short,
            "instance": "one",
            "arm": spool.PRIMARY,
            "mirrored": False,
            "path": "/predict",
            "content_type": "application/json",
            "request": BODY,
            "status": 200,
            "answer": b'{"prediction": [{"label": 1}]}',
            "invalid": False,
            "shed": False,
            "service_us": 1_000,
            "cpu_us": 100,
            "key": "",
            "row_count": 1,
            "output": "c:1",
            "memory_kib": 1,
            "served_count": number,
            "dropped": 0,
            **changes,
        }
    )
    world.spool.write("demo", "production", kept)


def told(world, number: int) -> list[str]:
    return [event.text for event in world.store.events(rollout_id=number)]


def facts(world, number: int) -> list[Mapping[str, Any]]:
    found = [event.facts.get("verification") for event in world.store.events(rollout_id=number)]
    return [each for each in found if each]


# ------------------------------------------------------------------------------------------------------- load test


def test_a_release_that_is_fast_enough_passes_and_the_numbers_are_kept(world, production, empty) -> None:
    view = world.launch(world.release("fast"), empty)

    assert "promoted" == view["outcome"]
    found = view["measured"]["verification"]["load"]
    assert ("pass", 3_000, 3_000, 0, 0) == tuple(
        found[name] for name in ("verdict", "planned", "sent", "late", "dropped")
    )
    assert {"p50", "p90", "p99", "p99.9", "max"} == set(found["latency_ms"])
    assert [{"load": found}] == facts(world, view["id"])
    assert [20, view["id"]] == [found["wanted"]["latency_ms_p99_max"], found["wanted"]["seed"]]
    assert any("Of 3,000 requests 3,000 were sent when due" in text for text in told(world, view["id"]))
    assert found == world.load_reports[-1]
    assert any(line.startswith("Load test (200/s for 15 s, p99 allowed 20 ms): pass.") for line in explain.lines(view))


def test_a_slow_release_has_not_passed_and_production_refuses_it(world, production, empty) -> None:
    slow = world.release("slow")
    world.loads.latency = lambda _: 0.05

    view = world.launch(slow, empty)

    assert ("rolled_back", "fail") == (view["outcome"], view["measured"]["verification"]["load"]["verdict"])
    assert "Verification failed. Load test at 200/s for 15 s: p99 50" in view["reason"]
    assert "fail" == facts(world, view["id"])[0]["load"]["verdict"]
    with pytest.raises(errors.ConfigError) as refusal:
        world.deploy(slow, dataclasses.replace(production, after="integration"))
    assert refusal.value.code is errors.Code.NOT_PASSED


def test_a_sender_that_was_the_limit_passes_nobody_and_fails_nobody(world, production, empty) -> None:
    world.loads.lag = lambda offset: 0.3 if 3.0 < offset < 5.0 else 0.0
    reports = len(world.load_reports)
    new = world.release("new")
    number = world.deploy(new, empty).rollout_id
    world.run(lambda: world.view(number)["hold"] is not None)
    held = world.view(number)

    assert ("verifying", "unmeasured") == (held["phase"], held["hold"]["kind"])
    assert "the sender itself was behind its schedule" in held["hold"]["reason"]
    assert "`softlaunch resume` verifies again" in held["hold"]["reason"]
    assert reports == len(world.load_reports)
    tests = len(world.loads.jobs)
    world.step(200)
    assert tests == len(world.loads.jobs)
    with pytest.raises(errors.ConfigError):
        world.deploy(new, dataclasses.replace(production, after="integration"))

    world.loads.lag = lambda _: 0.0
    world.commands.resume(service="demo", environment="integration", by="ann")

    assert "promoted" == world.end(number)["outcome"]


def test_a_control_plane_that_is_killed_while_testing_tests_again(world, empty) -> None:
    number = world.deploy(world.release("new"), empty).rollout_id
    world.reach(number, "verifying")
    world.restart()

    assert "promoted" == world.end(number)["outcome"]


def test_smoke_requests_come_first_and_a_load_test_is_not_begun_after_they_failed(world, empty) -> None:
    from softlaunch.testing import virtual_traffic

    tests = len(world.loads.jobs)
    broken = world.release("broken", virtual_traffic.Behaviour(smoke_failure="500"))

    assert "rolled_back" == world.launch(broken, empty)["outcome"]
    assert tests == len(world.loads.jobs)


def test_a_rollback_into_an_environment_that_verifies_is_no_pass(world, production, empty) -> None:
    one, two, unseen = world.release("one"), world.release("two"), world.release("unseen")
    world.launch(one, empty)
    world.launch(two, empty)
    guarded = dataclasses.replace(production, after="integration")
    world.commands.rollback(service="demo", environment="integration", to=unseen.value, by="ann")
    world.step(400)
    assert unseen == world.loop.ledger.lives["demo", "integration"].stable

    with pytest.raises(errors.ConfigError) as refusal:
        world.deploy(unseen, guarded)

    assert refusal.value.code is errors.Code.NOT_PASSED
    assert "promoted" == world.launch(one, guarded)["outcome"]


def test_recorded_requests_are_sent_where_some_are_recorded(world, production, stable) -> None:
    world.rates["demo", "integration"] = 0.0
    recorded = integration(production, load=dataclasses.replace(LOAD, environment="production"))
    first = world.launch(world.release("first"), recorded)
    for number in range(40):
        record(world, stable, number, path="/v2/models/demo/versions/abc/infer")
    world.launch(world.release("second"), recorded)

    assert any("Nothing that could be sent is recorded in production yet" in text for text in told(world, first["id"]))
    rows, again = world.loads.jobs
    assert {"/predict"} == {request.path for request in rows.requests}
    assert {"/v2/models/demo/infer"} == {request.path for request in again.requests}
    assert 40 == len(again.requests)
    assert {spool.SHADOW} == {request.headers["x-softlaunch-arm"] for request in [*rows.requests, *again.requests]}


# ---------------------------------------------------------------------------------------------------------- replay


@pytest.fixture
def replayed(world, production) -> spec.EnvironmentSpec:
    world.rates["demo", "integration"] = 0.0
    return integration(production, replay=REPLAY)


def test_the_newest_recorded_requests_are_replayed_each_once(world, stable, replayed) -> None:
    for number in range(400):
        record(world, stable, number)
        record(world, stable, number)  # a retry
        record(world, stable, number, arm=spool.SHADOW)
        record(world, stable, number, request_id=f"other{number}", release="0" * 12)

    view = world.launch(world.release("equal"), replayed)

    assert "promoted" == view["outcome"]
    assert [f"r{number}" for number in range(100, 400)] == world.senders.asked
    found = view["measured"]["verification"]["replay"]
    assert ("pass", 300, 0, 300, 300) == tuple(
        found[name] for name in ("verdict", "sent", "failed", "compared", "agreed")
    )
    assert any("Of 300 requests recorded in production 0 failed" in text for text in told(world, view["id"]))
    assert any(line.startswith("Replay: 300 requests recorded in production") for line in explain.lines(view))


@pytest.mark.parametrize("count", [5, 300])
def test_a_candidate_that_fails_what_was_answered_has_not_passed(world, stable, replayed, count) -> None:
    for number in range(count):
        record(world, stable, number)
    world.senders.answer = lambda found: found._replace(status=500, answer=b"{}")

    view = world.launch(world.release("broken"), replayed)

    assert "rolled_back" == view["outcome"]
    assert "fail" == view["measured"]["verification"]["replay"]["verdict"]
    assert "requests recorded in production" in view["reason"]


def test_a_candidate_that_does_not_answer_has_not_passed(world, stable, replayed) -> None:
    for number in range(5):
        record(world, stable, number)
    world.senders.answer = lambda _: None

    assert "rolled_back" == world.launch(world.release("mute"), replayed)["outcome"]


def test_a_candidate_that_fails_where_stable_failed_is_not_worse(world, stable, replayed) -> None:
    for number in range(20):
        record(world, stable, number, status=500 if number < 2 else 200)

    assert "promoted" == world.launch(world.release("equal"), replayed)["outcome"]


@pytest.mark.parametrize(
    ("tolerance_share", "outcome"), [(0.0, "promoted"), (1.0, "rolled_back")], ids=["agrees", "disagrees"]
)
def test_the_guardrails_of_where_it_was_recorded_judge(world, production, tolerance_share, outcome) -> None:
    guarded = dataclasses.replace(
        production,
        strategy=dataclasses.replace(
            production.strategy, guardrails=(*spec.GUARDRAILS_DEFAULT, spec.GuardrailName.DISAGREEMENT)
        ),
    )
    live = world.release("live")
    world.launch(live, guarded)
    world.rates["demo", "integration"] = 0.0
    for number in range(300):
        record(world, live, number)
    world.senders.answer = lambda found: found._replace(
        answer=b'{"prediction": [{"label": 0}]}' if tolerance_share else found.answer
    )

    view = world.launch(world.release("new"), integration(production, replay=REPLAY))

    assert outcome == view["outcome"], view["reason"]


def test_where_nothing_is_recorded_yet_the_others_decide_and_the_history_says_so(world, production, replayed) -> None:
    first = world.launch(world.release("first"), replayed)
    live = world.release("live")
    world.launch(live, production)
    second = world.launch(world.release("second"), replayed)
    same = world.launch(live, replayed)

    assert ["promoted"] * 3 == [first["outcome"], second["outcome"], same["outcome"]]
    for view, text in (
        (first, "Nothing is live in production yet, so nothing was replayed."),
        (second, f"Nothing that {live.short} answered in production is recorded yet, so nothing was replayed."),
        (same, "It is what is live in production, so nothing was replayed."),
    ):
        assert any(text in said for said in told(world, view["id"])), told(world, view["id"])


def test_requests_that_are_all_redacted_hold_the_rollout(world, stable, replayed) -> None:
    for number in range(5):
        record(world, stable, number, redacted=True)
    number = world.deploy(world.release("new"), replayed).rollout_id
    world.run(lambda: world.view(number)["hold"] is not None)

    assert "All 5 requests recorded in production are redacted" in world.view(number)["hold"]["reason"]
    world.commands.abort(service="demo", environment="integration", by="ann")
    assert "aborted" == world.end(number)["outcome"]


def test_replay_comes_before_the_load_test_and_a_failed_one_saves_it(world, production, stable) -> None:
    world.rates["demo", "integration"] = 0.0
    for number in range(5):
        record(world, stable, number)
    both = integration(production, replay=REPLAY, load=LOAD)
    passed = world.launch(world.release("good"), both)
    world.senders.answer = lambda _: None
    world.launch(world.release("bad"), both)

    assert 1 == len(world.loads.jobs)
    assert ["load", "replay"] == sorted(passed["measured"]["verification"])


# ---------------------------------------------------------------------------------------------------------- stopping


class Endless:
    """A load test that goes on until it is stopped."""

    def __init__(self) -> None:
        self.stopped = False

    def start(self, job: loads.Job) -> Endless:
        return self

    def progress(self) -> Mapping[str, Any]:
        return {"seconds": 7.3, "p99_ms": 8.04}

    def result(self) -> Mapping[str, Any] | None:
        return None

    def stop(self) -> None:
        self.stopped = True


class Failing(Endless):
    def result(self) -> Mapping[str, Any] | None:
        raise errors.UnavailableError("The sender ended.", remedy="Look.", code=errors.Code.LOAD_TEST_FAILED)


class Sure:
    """A prober whose requests all pass."""

    def smoke(self, socket: str, rows: Any) -> Any:
        from softlaunch.ports import prober

        return prober.ProbeReport(sent=len(rows), failed=0)


def verifier(world, tests: loads.Loads) -> verification.Verifier:
    neighbours = verification.Neighbours(
        prober=Sure(),
        spool=spools.MemorySpool(),
        senders=load_tests.MemorySenders(world.clock),
        loads=tests,
        clock=world.clock,
        report=lambda *_: None,
    )
    return verification.Verifier(world.loop._shelf, neighbours, concurrent.futures.ThreadPoolExecutor(1))


@pytest.fixture
def verifying(world, empty) -> Any:
    """The record of a rollout that is verified."""
    number = world.deploy(world.release("new"), empty).rollout_id
    world.reach(number, "verifying")
    return world.loop.ledger.rollouts["demo", "integration"]


def until(condition: Any) -> None:
    import time

    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("how", ["paused", "stopped"])
def test_a_load_test_ends_with_what_it_was_for(world, verifying, how) -> None:
    endless = Endless()
    asked = verifier(world, endless)

    assert asked.event(verifying, ["one.sock"], {}) is None
    until(lambda: asked.progress(verifying.id) == "load test: 7 of 15 s, p99 8.04 ms so far")
    if how == "paused":
        paused = dataclasses.replace(verifying, state=dataclasses.replace(verifying.state, paused=True))
        assert asked.event(paused, ["one.sock"], {}) is None
    else:
        asked.stop_all()

    until(lambda: endless.stopped)
    assert "" == asked.progress(verifying.id)


def test_a_sender_that_ends_without_a_result_says_nothing_of_the_candidate(world, verifying) -> None:
    asked = verifier(world, Failing())
    found: list[messages.Event] = []

    def came() -> bool:
        event = asked.event(verifying, ["one.sock"], {})
        found.extend([event] if event is not None else [])
        return bool(found)

    until(came)

    assert isinstance(found[0], messages.VerifyInvalid)
    assert "The sender ended." in found[0].reason

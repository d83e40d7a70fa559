from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal

import pytest

from softlaunch import errors
from softlaunch.controller.pipeline import passed_tests, run_record, shipping, workshop
from softlaunch.core import release, spec
from softlaunch.core.rollout import plan
from softlaunch.ports import source
from softlaunch.testing import clock

DIGEST = release.Digest("sha256:" + "a" * 64)
STRATEGY = plan.strategy(spec.StrategyKind.RECREATE)
INTEGRATION = spec.EnvironmentSpec(name="integration", strategy=STRATEGY)
PRODUCTION = spec.EnvironmentSpec(name="production", strategy=STRATEGY, after="integration")
SERVICE = spec.ServiceSpec(
    service="delays",
    model=spec.ModelSpec(source=spec.ModelSource.PYTHON, python_target="p.py:P"),
    environments=(INTEGRATION, PRODUCTION),
)
COMMIT = source.Commit(id="c" * 40, author="a", committed_at="2026-01-01T00:00:00Z", branch="main", tags=())
ORDER = shipping.Order(service=SERVICE, environment=PRODUCTION, commit=COMMIT, ref="main", by="ana")


@dataclasses.dataclass
class World:
    """What a control plane would do, in memory."""

    live: dict[str, release.Digest] = dataclasses.field(default_factory=dict)
    bad: str = ""
    begun: list[str] = dataclasses.field(default_factory=list)
    dies_watching: bool = False

    def passed(self, service, environment, digest) -> bool:
        return self.live.get(environment) == digest

    def begin(self, launch) -> int | None:
        if self.live.get(launch.environment.name) == launch.release:
            return None
        self.begun.append(launch.environment.name)
        return len(self.begun)

    def watch(self, number, *, to_the_end) -> shipping.Seen:
        name = self.begun[number - 1]
        if self.dies_watching:
            raise KeyboardInterrupt
        if name == self.bad:
            return shipping.Seen(outcome="rolled_back", reason="errors")
        self.live[name] = DIGEST
        return shipping.Seen(outcome="promoted", reason="good")


def make(progress, reports) -> shipping.Made:
    for name in ("checkout", "tests", "release"):
        with workshop.step(progress, name):
            pass
    return shipping.Made(digest=DIGEST, reused=False)


def ship(runs, world, build=make) -> run_record.RunRecord:
    return shipping.ship(ORDER, runs, world, build=build, clock=clock.ManualClock())


@pytest.fixture
def runs(tmp_path) -> run_record.Runs:
    return run_record.Runs(tmp_path / "pipelines")


def test_new_content_goes_through_integration_first(runs) -> None:
    world = World()

    record = ship(runs, world)

    assert ["integration", "production"] == world.begun
    assert "promoted" == record.outcome
    assert record == runs.find(record.run)


def test_content_that_passed_integration_goes_straight_on(runs) -> None:
    world = World(live={"integration": DIGEST})

    ship(runs, world)

    assert ["production"] == world.begun


def test_what_integration_takes_back_never_reaches_production(runs) -> None:
    world = World(bad="integration")

    record = ship(runs, world)

    assert "rolled_back" == record.outcome
    assert ["integration"] == world.begun


def test_a_gate_that_fails_launches_nothing(runs) -> None:
    def fail(progress, reports):
        with workshop.step(progress, "tests"):
            raise errors.ConfigError("1 failed", remedy="Mend it.", code=errors.Code.TESTS_FAILED)

    world = World()

    record = ship(runs, world, fail)

    assert ("gates_failed", "1 failed") == (record.outcome, record.reason)
    assert [] == world.begun
    assert "failed" == record.steps[-1].state


def test_a_release_is_pushed_before_anything_is_launched(runs) -> None:
    world = World()
    seen = []

    def push(progress, digest):
        with workshop.step(progress, "push"):
            seen.append((digest, list(world.begun)))

    record = shipping.ship(ORDER, runs, world, build=make, push=push, clock=clock.ManualClock())

    assert [(DIGEST, [])] == seen
    names = [step.name for step in record.steps]
    assert names.index("release") < names.index("push") < names.index("launch integration")


def test_a_push_that_fails_launches_nothing_and_the_record_has_the_release(runs) -> None:
    world = World()

    def push(progress, digest):
        with workshop.step(progress, "push"):
            raise errors.UnavailableError("away", remedy="Again.", code=errors.Code.IMAGE_REGISTRY)

    with pytest.raises(errors.UnavailableError):
        shipping.ship(ORDER, runs, world, build=make, push=push, clock=clock.ManualClock())

    record = runs.find(1)
    assert ("unavailable", "away", DIGEST.value) == (record.outcome, record.reason, record.release)
    assert ("push", "failed") == (record.steps[-1].name, record.steps[-1].state)
    assert [] == world.begun


def test_a_run_that_died_while_watching_watches_the_same_rollout(runs) -> None:
    world = World(live={"integration": DIGEST}, dies_watching=True)
    with pytest.raises(KeyboardInterrupt):
        ship(runs, world)
    world.dies_watching = False

    record = ship(runs, world)

    assert ["production"] == world.begun
    assert (1, "promoted") == (record.run, record.outcome)


def test_a_finished_run_of_the_same_commit_is_another_run_and_changes_nothing(runs) -> None:
    world = World()
    ship(runs, world)

    record = ship(runs, world)

    assert (2, "unchanged") == (record.run, record.outcome)
    assert ["integration", "production"] == world.begun


def test_a_pinned_release_is_a_race(runs) -> None:
    class Pinned(World):
        def begin(self, launch):
            raise errors.ConfigError("pinned", remedy="unpin", code=errors.Code.PINNED)

    with pytest.raises(errors.ConflictError):
        ship(runs, Pinned())

    assert "refused" == runs.find(1).outcome


def test_the_second_of_two_is_refused_until_the_first_is_killed(runs) -> None:
    begun = runs.begin(
        run_record.RunRecord(
            run=0, service="delays", environment="production", commit="c" * 40, ref="main", by="a", started_at=0.0
        )
    )
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_hold, args=(runs, ready))
    other.start()
    assert ready.wait(20)

    with pytest.raises(errors.ConflictError, match=f"Run {begun.run} ships"):
        ship(runs, World())
    os.kill(other.pid, signal.SIGKILL)
    other.join()

    assert "promoted" == ship(runs, World()).outcome


def test_an_unreadable_record_is_left_out(runs) -> None:
    record = ship(runs, World())
    (runs.directory("delays", "production", record.run) / run_record.RUN_FILE).write_text("{")

    assert [] == list(runs.every())


def test_reports_of_tests_that_passed_come_back(tmp_path) -> None:
    made, reports = tmp_path / "made", tmp_path / "reports"
    made.mkdir()
    reports.mkdir()
    (made / passed_tests.JUNIT).write_text("<testsuites/>")

    passed_tests.save(tmp_path, "key", "3 tests passed", made)
    passed_tests.save(tmp_path, "key", "3 tests passed", made)

    assert "3 tests passed" == passed_tests.load(tmp_path, "key", reports)
    assert "<testsuites/>" == (reports / passed_tests.JUNIT).read_text()
    assert passed_tests.load(tmp_path, "other", reports) is None


def _hold(runs, ready) -> None:
    with runs.held("delays", "production"):
        ready.set()
        signal.pause()

"""Continuous replay in virtual time: nights pass in milliseconds, and replays end when the test says so."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.controller import replay_schedule
from softlaunch.core import release, spec
from softlaunch.ports import replays
from softlaunch.testing import simulator

DAY = 86_400.0
PASSED = {
    "verdict": "pass", "reason": "Every guardrail passes.", "stable": "a" * 12, "sent_count": 1_200,
    "pairs": {"compared_count": 1_200, "agreed_count": 1_190},
}  # fmt: skip
FAILED = {**PASSED, "verdict": "fail", "reason": "errors: 9 of 10."}
UNDECIDED = {**PASSED, "verdict": "inconclusive", "reason": "Too few."}


class MemoryReplays:
    """A ports.replays.Replays whose replays end when `results` has one for them."""

    def __init__(self) -> None:
        self.jobs: list[replays.Job] = []
        self.results: list[Mapping[str, Any]] = []
        self.refusing = False

    def start(self, job: replays.Job) -> None:
        if self.refusing:
            raise errors.UnavailableError("No room.", remedy="Make some.", code=errors.Code.REPLAY_UNREADY)
        self.jobs.append(job)

    def result(self) -> Mapping[str, Any] | None:
        return self.results.pop(0) if self.results else None

    def close(self) -> None:
        self.results.clear()


class Nights:
    """A machine on which `live` is live and replayed every day."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.world = simulator.Simulator(directory)
        self.environment = spec.EnvironmentSpec(
            name="production",
            strategy=spec.StrategySpec(
                kind=spec.StrategyKind.CANARY, steps=spec.shares(1_000, 10_000), watch_seconds=1.0
            ),
            replay=spec.ReplaySpec(every_seconds=DAY, since_seconds=7_200.0, rate=3.0),
        )
        self.old = self.world.release("old", commit="1" * 40)
        self.live = self.world.release("live", commit="2" * 40)
        self.world.launch(self.live, self.environment)
        self.process = MemoryReplays()
        self.restart()

    def restart(self) -> None:
        """Another control plane over the same store; a replay that ran is gone."""
        self.process.close()
        self.nightly = replay_schedule.Nightly(
            loop=self.world.loop, store=self.world.store, registry=self.world.registry, process=self.process
        )
        self.nightly.turn()

    def build(self, name: str, commit: str) -> release.Digest:
        return self.world.release(name, commit=commit * 40)

    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.nightly.turn()

    def end(self, result: Mapping[str, Any]) -> None:
        self.process.results.append(result)
        self.nightly.turn()

    @property
    def asked(self) -> list[release.Digest]:
        return [job.candidate for job in self.process.jobs]

    @property
    def told(self) -> list[str]:
        return [event.text for event in self.world.store.events(limit=10_000) if event.kind == "replayed"]


@pytest.fixture
def nights(tmp_path: pathlib.Path) -> Nights:
    return Nights(tmp_path)


def test_the_newest_build_is_replayed_a_day_after_the_place_was_first_seen(nights) -> None:
    nights.build("first", "3")
    newest = nights.build("second", "4")
    nights.pass_time(DAY - 10.0)
    assert [] == nights.asked

    nights.pass_time(20.0)

    expected = replays.Job(service="demo", environment="production", candidate=newest, since_seconds=7_200.0, rate=3.0)
    assert [expected] == nights.process.jobs


def test_what_came_of_it_is_told_with_its_reason(nights) -> None:
    newest = nights.build("new", "3")
    nights.pass_time(DAY)
    nights.end(PASSED)

    expected = (
        f"Replay of {newest.short} passed: 1,200 requests of the last 2h that aaaaaaaaaaaa answered, 1,190 of 1,200 "
        "answers the same. Every guardrail passes."
    )
    assert [expected] == nights.told


def test_a_replay_that_fails_says_so_and_pins_nothing(nights) -> None:
    nights.build("new", "3")
    nights.pass_time(DAY)
    nights.end(FAILED)

    assert "failed (nothing is pinned)" in nights.told[0]
    assert () == tuple(nights.world.store.pins())


@pytest.mark.parametrize("result", [PASSED, FAILED])
def test_what_was_decided_is_not_replayed_again_but_what_is_built_then_is(nights, result) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY)
    nights.end(result)
    nights.pass_time(DAY)
    assert [first] == nights.asked

    second = nights.build("second", "4")
    nights.pass_time(DAY)

    assert [first, second] == nights.asked


def test_what_was_not_decided_is_tried_again_the_next_night(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY)
    nights.end(UNDECIDED)
    nights.pass_time(DAY / 2)
    assert [first] == nights.asked
    nights.pass_time(DAY / 2)

    assert [first, first] == nights.asked


def test_builds_older_than_what_is_live_are_history(nights) -> None:
    nights.pass_time(DAY)

    assert [] == nights.asked


def test_a_pinned_release_is_left_alone(nights) -> None:
    older = nights.build("older", "3")
    number = nights.world.deploy(nights.build("pinned", "4"), nights.environment).rollout_id
    nights.world.reach(number, "stepping")
    nights.world.commands.rollback(service="demo", environment="production", to="previous", by="ann", reason="bad")
    nights.world.end(number)
    nights.pass_time(DAY)

    assert [older] == nights.asked


def test_a_restart_neither_forgets_nor_repeats(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY / 2)
    nights.restart()
    nights.pass_time(DAY / 2)
    assert [first] == nights.asked
    nights.end(PASSED)
    nights.restart()
    nights.pass_time(60.0)

    assert [first] == nights.asked
    assert 1 == len(nights.told)


def test_an_interrupted_replay_begins_anew_at_once(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY)

    nights.restart()

    assert [first, first] == nights.asked
    nights.end(PASSED)
    assert 1 == len(nights.told)


def test_many_missed_nights_are_one_replay(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(30 * DAY)
    nights.end(UNDECIDED)
    nights.pass_time(60.0)

    assert [first] == nights.asked


def test_a_replay_waits_for_a_launch_to_end(nights) -> None:
    new = nights.build("new", "3")
    nights.world.deploy(new, nights.environment)
    nights.world.step(3)
    nights.build("newer", "4")
    nights.pass_time(DAY)
    assert [] == nights.asked

    nights.world.run(lambda: not nights.world.loop.ledger.rollouts)
    nights.nightly.turn()

    assert 1 == len(nights.asked)


def test_a_person_s_own_replay_is_waited_for_in_silence(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY)
    nights.end({"error": "Another replay runs on this home.", "code": errors.Code.REPLAY_RUNS.value})
    assert [first] == nights.asked
    nights.pass_time(replay_schedule.BUSY_SECONDS)

    assert [first, first] == nights.asked
    assert [] == nights.told


def test_a_replay_that_cannot_be_done_says_why_and_is_tried_the_next_night(nights) -> None:
    first = nights.build("first", "3")
    nights.pass_time(DAY)
    nights.end({"error": "Nothing was recorded.", "code": errors.Code.NO_RECORDING.value})

    assert [f"Replay of {first.short} could not be done: Nothing was recorded."] == nights.told
    nights.pass_time(DAY)
    assert [first, first] == nights.asked


def test_a_process_that_does_not_start_is_tried_again_soon(nights) -> None:
    first = nights.build("first", "3")
    nights.process.refusing = True
    nights.pass_time(DAY)
    nights.process.refusing = False
    nights.pass_time(10.0)
    assert [] == nights.asked
    nights.pass_time(replay_schedule.BUSY_SECONDS)

    assert [first] == nights.asked


def test_an_environment_that_wants_no_replays_any_more_gets_none(nights) -> None:
    nights.build("first", "3")
    nights.environment = dataclasses.replace(nights.environment, replay=None)
    nights.world.deploy(nights.live, nights.environment)
    nights.pass_time(DAY)

    assert [] == nights.asked


def test_one_at_a_time_and_who_waits_longest_comes_first() -> None:
    wanted = {("a", "production"): spec.ReplaySpec(), ("b", "production"): spec.ReplaySpec(every_seconds=DAY / 2)}
    schedule = replay_schedule.Schedule()
    schedule.see(wanted, 0.0)

    assert [("b", "production")] == schedule.due(wanted, DAY / 2)
    assert [("b", "production"), ("a", "production")] == schedule.due(wanted, DAY)
    again = replay_schedule.Schedule(schedule.state())
    assert again.due(wanted, DAY) == schedule.due(wanted, DAY)

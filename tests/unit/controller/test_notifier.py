"""Every event is told to every target, at least once, whatever the other targets do."""

from __future__ import annotations

import concurrent.futures
import json
import logging
from collections.abc import Iterator, Mapping

import pytest

from softlaunch.controller import notifier
from softlaunch.ports import store as records
from softlaunch.testing import notify as memory
from softlaunch.testing import store as memory_store

CHAT, PAGER = "memory://chat", "memory://pager"


class Stage:
    """A history, a notifier in virtual time, and what arrived."""

    def __init__(self, threads: concurrent.futures.Executor) -> None:
        self.threads = threads
        self.history = memory_store.InMemoryStore()
        self.port = memory.MemoryNotify()
        self.targets: dict[tuple[str, str], Mapping[str, str]] = {("demo", "production"): {"chat": CHAT}}
        self.now = 1_000.0
        self.outbox = notifier.Outbox.begin(self.history)
        self.notifier = self.made()

    def made(self) -> notifier.Notifier:
        return notifier.Notifier(
            port=self.port,
            history=self.history,
            outbox=self.outbox,
            targets=lambda service, environment: self.targets.get((service, environment), {}),
            variables={"PAGER": PAGER},
            threads=self.threads,
        )

    def happens(self, text: str, *, environment: str = "production", kind: str = "step") -> None:
        event = records.HistoryEvent(
            id=0, at=self.now, service="demo", environment=environment, rollout_id=None, kind=kind, text=text
        )
        self.history.commit(records.Change(events=[event]))

    def run(self, seconds: float = 0.0) -> None:
        """Turns, waiting for messages on their way; then the time passes."""
        for _ in range(2):
            self.notifier.turn(self.now)
            self.threads.submit(int).result()  # one thread, in order: all before it is done
        self.now += seconds

    def restart(self) -> None:
        self.outbox = notifier.Outbox(json.loads(json.dumps(self.outbox.state(), allow_nan=False)))
        self.notifier = self.made()

    def told(self, url: str = CHAT) -> list[str]:
        """Texts of events that arrived, in order."""
        return [
            line.partition(": ")[2] for found, _, body in self.port.sent if found == url for line in body.split("\n")
        ]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        yield Stage(threads)


def test_each_event_is_told_once_with_its_place_and_time(stage: Stage) -> None:
    stage.happens("1 % of users.")
    stage.run()
    stage.happens("Nothing broke.", kind="rolling_back")
    stage.run()
    stage.run()

    assert [
        (CHAT, "demo in production: step", "1970-01-01 00:16:40 UTC  step: 1 % of users."),
        (CHAT, "demo in production: rolling back", "1970-01-01 00:16:40 UTC  rolling back: Nothing broke."),
    ] == stage.port.sent


def test_events_that_came_together_are_one_message(stage: Stage) -> None:
    for number in range(25):
        stage.happens(str(number))
    stage.run()
    stage.run()

    assert [str(number) for number in range(25)] == stage.told()
    assert [
        "demo in production: step, 19 before it",
        "demo in production: step, 4 before it",
    ] == [title for _, title, _ in stage.port.sent]


def test_a_message_names_the_rollout() -> None:
    event = records.HistoryEvent(
        id=9, at=0.0, service="demo", environment="production", rollout_id=3, kind="held", text="Held: no traffic."
    )

    title, body = notifier.message([event])

    assert "demo in production: held (rollout 3)" == title
    assert "1970-01-01 00:00:00 UTC  held: Held: no traffic." == body


def test_an_environment_without_targets_tells_nobody(stage: Stage) -> None:
    stage.happens("quiet", environment="staging")
    stage.run()

    assert [] == stage.port.sent


def test_a_broken_target_holds_no_other_and_gets_all_of_it_later(stage: Stage) -> None:
    stage.targets["demo", "production"] = {"chat": CHAT, "pager": "$PAGER"}
    stage.port.broken.add(PAGER)
    for text in ("one", "two", "three"):
        stage.happens(text)
        stage.run(60)
    assert ["one", "two", "three"] == stage.told()
    assert [] == stage.told(PAGER)
    assert ["pager"] == [found["name"] for found in stage.outbox.troubles()]
    stage.port.broken.clear()
    stage.run(60)

    assert ["one", "two", "three"] == stage.told(PAGER)
    assert [] == stage.outbox.troubles()


def test_retries_become_rarer(stage: Stage) -> None:
    stage.port.broken.add(CHAT)
    stage.happens("one")
    tried = []
    for _ in range(3_600):
        before = stage.outbox.state()["places"]
        stage.run()
        if stage.outbox.state()["places"] != before:
            tried.append(stage.now - 1_000)
        stage.now += 1

    assert [0, 5, 15, 35, 75, 155, 315, 635, 1275, 2175, 3075] == tried


def test_what_was_not_taken_for_a_day_is_given_up_and_confessed(stage: Stage) -> None:
    stage.port.broken.add(CHAT)
    stage.happens("old")
    stage.happens("old, too")
    for _ in range(24 * 4 + 2):
        stage.run(900)
    stage.port.broken.clear()
    stage.happens("new")
    stage.run(900)
    stage.run(900)

    (_, _, body) = stage.port.sent[0]
    assert body.startswith("2 earlier events could not be told")
    assert body.endswith("step: new")
    stage.happens("newer")
    stage.run()
    assert "earlier events" not in stage.port.sent[-1][2]


def test_after_a_crash_nothing_is_missing_and_at_most_the_last_is_told_twice(stage: Stage) -> None:
    stage.happens("one")
    stage.run()
    saved = stage.outbox.state()
    stage.happens("two")
    stage.run()
    stage.outbox = notifier.Outbox(saved)  # killed after sending, before writing
    stage.notifier = stage.made()
    stage.happens("three")
    stage.run()
    stage.restart()
    stage.run()

    assert ["one", "two", "two", "three"] == stage.told()


def test_what_happened_before_anybody_listened_stays_untold(stage: Stage) -> None:
    stage.happens("long ago")
    stage.outbox = notifier.Outbox.begin(stage.history)
    stage.notifier = stage.made()
    stage.run()
    stage.happens("now")
    stage.run()

    assert ["now"] == stage.told()


def test_a_target_that_was_taken_away_is_told_nothing_more(stage: Stage) -> None:
    stage.port.broken.add(CHAT)
    stage.happens("one")
    stage.run(60)
    stage.port.broken.clear()
    stage.targets["demo", "production"] = {"pager": "$PAGER"}
    stage.happens("two")
    stage.run(60)
    stage.run(60)

    assert [] == stage.told()
    assert ["two"] == stage.told(PAGER)
    assert ["pager"] == [found["address"]["name"] for found in stage.outbox.state()["places"]]


def test_a_variable_that_is_not_set_is_a_trouble_that_names_it(stage: Stage, caplog) -> None:
    stage.targets["demo", "production"] = {"chat": "$NOT_THERE"}
    with caplog.at_level(logging.DEBUG):
        stage.happens("one")
        stage.run()

    (trouble,) = stage.outbox.troubles()
    assert "$NOT_THERE" in trouble["reason"]
    assert 1 == trouble["failures"]


def test_no_url_is_in_what_is_kept(stage: Stage) -> None:
    stage.port.broken.add(CHAT)
    stage.happens("one")
    stage.run()

    assert "//chat" not in json.dumps(stage.outbox.state())
    assert "//chat" not in json.dumps(stage.outbox.troubles())

"""Files of labels, and labels that programs send, into the inbox and from there into the table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from softlaunch import errors
from softlaunch.controller.labels import pushing, receiving, taking
from softlaunch.core.labels import record
from softlaunch.ports import labels as ports
from softlaunch.testing import labels as memory

NOW = 1_763_000_000.0


class Kept:
    """Parts by name."""

    def __init__(self) -> None:
        self.parts: dict[str, list[record.Label]] = {}

    def keep(self, name: str, labels: Sequence[record.Label]) -> bool:
        if name in self.parts:
            return False
        self.parts[name] = list(labels)
        return True


def push(kept: Kept, rows: Sequence[object], *columns: str, **mapped: str | None) -> pushing.Outcome:
    found = pushing.Mapped.of(columns, **{"name": None, "event": None, "key_name": None, **mapped})
    return pushing.push(
        enumerate(rows, start=1), mapped=found, textual=False, unit="u", now=NOW, keep=kept.keep, tell=lambda _: None
    )


def test_columns_are_what_their_names_say_or_what_is_said_of_them() -> None:
    kept = Kept()
    found = push(
        kept,
        [
            {"order": 7, "value": "ignored", "late": True, "at": NOW - 5, "colour": "red"},
            b'{"order": "8", "late": 0.5}',
        ],
        "key=order",
        "value=late",
        name="was_late",
        key_name="order",
    )

    assert [("7", 1.0, NOW - 5), ("8", 0.5, None)] == [(each.key, each.value, each.at) for each in kept.parts["u-0000"]]
    assert {("was_late", "order")} == {(each.name, each.key_name) for each in kept.parts["u-0000"]}
    assert (2, {"colour", "value"}, ["u-0000"]) == (found.labels, found.unused, found.names)


def test_rows_that_do_not_fit_are_told_and_the_rest_goes_on() -> None:
    kept = Kept()
    rows = [b"nonsense", b"[1]", {"": "3 columns instead of 2"}, {"prediction_id": "a", "value": 1}]
    found = push(
        kept, [*rows, {"prediction_id": "b", "value": None}, {"prediction_id": "c", "value": 1, "version": -1}]
    )

    assert ["a:0"] == [each.prediction_id for each in kept.parts["u-0000"]]
    assert (1, 1, [1, 2, 3, 6]) == (found.labels, found.empty, [each.line for each in found.bad])
    assert {"no JSON", "no JSON object", "3 columns instead of 2", "version is no whole number from 0 on"} == set(
        found.reasons
    )


def test_a_file_of_which_no_row_is_a_label_is_refused_with_its_columns() -> None:
    kept = Kept()
    with pytest.raises(errors.ConfigError, match="line 1: neither prediction_id nor key") as caught:
        push(kept, [{"id": "a", "is_late": 1}])

    assert "id, is_late" in caught.value.remedy
    assert {} == kept.parts


def test_a_large_file_comes_in_parts_and_those_that_came_before_are_not_kept_again(monkeypatch) -> None:
    monkeypatch.setattr(pushing, "PART_LABELS", 2)
    rows = [{"key": f"k{number}", "event": "click"} for number in range(5)]
    kept = Kept()
    kept.parts["u-0001"] = []

    found = push(kept, rows)

    assert (3, 2, ["u-0000", "u-0002"]) == (found.labels, found.before, found.names)
    assert ["k4"] == [each.key for each in kept.parts["u-0002"]]


@pytest.mark.parametrize("column", ["value", "value=", "colour=x", "=x"])
def test_a_column_for_nothing_is_refused(column: str) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be used"):
        push(Kept(), [], column)


def test_name_and_event_do_not_go_together() -> None:
    with pytest.raises(errors.ConfigError, match="Both --name and --event"):
        push(Kept(), [], name="late", event="click")
    with pytest.raises(errors.ConfigError, match="'1x'"):
        push(Kept(), [], event="1x")


DOCUMENT = {"prediction_id": "a:0", "name": "late", "value": True}


def receiver(inbox: memory.MemoryInbox) -> receiving.Receiving:
    return receiving.Receiving(inbox=inbox, recorded=lambda service: service == "shop", now=lambda: NOW)


def test_what_a_program_sends_is_kept_whole_and_once_for_a_key() -> None:
    inbox = memory.MemoryInbox()
    for _ in range(2):
        assert 1 == receiver(inbox).receive("shop", [DOCUMENT], by="anna", idempotency_key="4711")
    receiver(inbox).receive("shop", [DOCUMENT], by="anna", idempotency_key=None)
    receiver(inbox).receive("shop", [DOCUMENT], by="anna", idempotency_key=None)

    waiting = inbox.waiting()["shop"]
    assert 3 == len(waiting)
    push = inbox.read("shop", waiting[0].name)
    assert push is not None
    assert ("api anna", False, "late") == (push.source, push.urgent, push.labels[0].name)


@pytest.mark.parametrize(
    ("service", "documents", "reason"),
    [
        ("pricing", [DOCUMENT], "No predictions of 'pricing'"),
        ("shop", [], "0 labels"),
        ("shop", [DOCUMENT] * 10_001, "10,001 labels"),
        ("shop", [DOCUMENT, {"value": 1}], r"labels\[1\] is no label: neither"),
        ("shop", [DOCUMENT, {"prediction_id": "a"}], r"labels\[1\] is no label: no value"),
        ("shop", ["a:0"], r"labels\[0\] is no label: no JSON object"),
    ],
)
def test_what_cannot_be_taken_whole_is_not_taken_at_all(service: str, documents: list[object], reason: str) -> None:
    inbox = memory.MemoryInbox()
    with pytest.raises(errors.ConfigError, match=reason):
        receiver(inbox).receive(service, documents, by="anna", idempotency_key=None)
    assert {} == inbox.waiting()


class Killed(memory.MemoryInbox):
    """A process that ends before it has forgotten what it added."""

    is_dead = True

    def drop(self, service: str, names: object) -> None:
        if self.is_dead:
            raise KeyboardInterrupt
        super().drop(service, names)


class Broken(memory.MemoryLabels):
    """A table on a full disk."""

    is_full = True

    def append(self, service: str, pushes: Sequence[ports.Push]) -> int:
        if self.is_full:
            raise errors.UnavailableError("No room.", remedy="Make some.", code=errors.Code.LOG_UNAVAILABLE)
        return super().append(service, pushes)


def waits(inbox: memory.MemoryInbox, name: str, *, since: float = NOW, urgent: bool = False, count: int = 1) -> None:
    label = record.parse(DOCUMENT, now=NOW)
    assert label is not None
    inbox.put("shop", ports.Push(name=name, source="x", urgent=urgent, labels=[label] * count), now=since)


def test_what_nobody_waits_for_is_taken_together_when_it_is_old_enough() -> None:
    inbox, table = memory.MemoryInbox(), memory.MemoryLabels()
    taker = taking.Taking(inbox=inbox, labels=table, every_seconds=30)
    waits(inbox, "a")
    waits(inbox, "b", since=NOW + 20)

    assert 0 == taker.turn(NOW + 29)
    assert 2 == taker.turn(NOW + 30)
    assert {} == inbox.waiting()
    waits(inbox, "c", since=NOW + 31, urgent=True)
    assert 1 == taker.turn(NOW + 31)


def test_killed_between_adding_and_forgetting_nothing_is_twice() -> None:
    inbox, table = Killed(), memory.MemoryLabels()
    taker = taking.Taking(inbox=inbox, labels=table, every_seconds=30)
    waits(inbox, "a", count=3)
    with pytest.raises(KeyboardInterrupt):
        taker.turn(NOW, drain=True)

    inbox.is_dead = False
    assert 0 == taking.Taking(inbox=inbox, labels=table, every_seconds=30).turn(NOW, drain=True)
    assert 3 == sum(len(push.labels) for push in table.pushes["shop"])
    assert {} == inbox.waiting()


def test_a_table_that_cannot_be_written_is_tried_again_later_and_nothing_is_lost() -> None:
    inbox, table = memory.MemoryInbox(), Broken()
    taker = taking.Taking(inbox=inbox, labels=table, every_seconds=30)
    waits(inbox, "a", urgent=True)

    assert 0 == taker.turn(NOW)
    table.is_full = False
    assert 0 == taker.turn(NOW + 29)
    assert 1 == taker.turn(NOW + 30)


def test_many_pushes_are_several_commits(monkeypatch) -> None:
    monkeypatch.setattr(taking, "LABELS_MAX", 4)
    inbox, table = memory.MemoryInbox(), memory.MemoryLabels()
    for number in range(3):
        waits(inbox, f"p{number}", since=NOW + number, count=3)

    assert 9 == taking.Taking(inbox=inbox, labels=table, every_seconds=30).turn(NOW, drain=True)
    assert ["p0", "p1", "p2"] == [push.name for push in table.pushes["shop"]]


def test_a_table_that_cannot_be_written_holds_up_no_other_service() -> None:
    class Partly(memory.MemoryLabels):
        def append(self, service: str, pushes: Sequence[ports.Push]) -> int:
            if service == "broken":
                raise errors.UnavailableError("No room.", remedy="Make some.", code=errors.Code.LOG_UNAVAILABLE)
            return super().append(service, pushes)

    inbox, table = memory.MemoryInbox(), Partly()
    inbox.put("broken", ports.Push(name="b", source="x", urgent=True, labels=[]), now=NOW - 1)
    waits(inbox, "a")

    with pytest.raises(errors.UnavailableError, match="No room"):
        taking.Taking(inbox=inbox, labels=table, every_seconds=30).turn(NOW, drain=True)

    assert ["broken"] == list(inbox.waiting())
    assert ["a"] == [push.name for push in table.pushes["shop"]]

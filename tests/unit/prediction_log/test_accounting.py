"""Answers against records, with shippers that are killed, records that are late, and commits that fail."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import random

import pytest

from softlaunch import errors
from softlaunch.adapters.envoy import attempt_log
from softlaunch.controller.prediction_log import accounting, joining, shipping
from softlaunch.core import attempts, spool
from softlaunch.ports import gateway, segments
from softlaunch.testing import lake as memory

NOW = 1_700_000_000.0
DIGITS = "0123456789ab"
PLACE = ("pricing", "production")


def answer(name: str, number: int, at: float, *, environment: str = "production", recorded: bool = True):
    return attempts.Attempt(
        at, name, "pricing", environment, 1, DIGITS, False, 1, 200, "-", 900, "", False, False,
        served_count=number, recorded=recorded,
    )  # fmt: skip


class Log:
    """The gateway's: lines, and what a reader holds."""

    def __init__(self) -> None:
        self.lines: list[attempts.Attempt] = []
        self.copies: set[int] = set()
        self.cursor: gateway.LogCursor | None = None

    def append(self, attempt: attempts.Attempt, *, is_copy: bool) -> None:
        if is_copy:
            self.copies.add(len(self.lines))
        self.lines.append(attempt)

    def read(self, cursor, *, line_count_max, until=None):
        end = min(cursor.offset + line_count_max, len(self.lines) if until is None else until.offset)
        lines = range(cursor.offset, max(end, cursor.offset))
        return gateway.LogBatch(
            attempts=tuple(self.lines[place] for place in lines if place not in self.copies),
            copies=tuple(self.lines[place] for place in lines if place in self.copies),
            cursor=gateway.LogCursor(file_id=1, offset=lines.stop),
        )

    def hold(self, cursor) -> None:
        self.cursor = cursor

    def held(self):
        return self.cursor


class FileLog:
    """The gateway's real one: it is rotated, and what nobody holds is deleted."""

    def __init__(self, folder: pathlib.Path, chance: random.Random) -> None:
        self._path = folder / "attempts.log"
        self._chance = chance
        self._writes = attempt_log.AttemptLog(self._path, reopen=lambda: None, free_bytes_min=0)
        self._reads = attempt_log.AttemptLog(self._path, reopen=lambda: None, only_reads=True, free_bytes_min=0)
        self._cursor = gateway.LogCursor()
        self._number = 0
        self.gaps: list[str] = []
        self.hold(self._cursor)

    def append(self, attempt: attempts.Attempt, *, is_copy: bool) -> None:
        role = "shadow" if is_copy else "stable"
        line = {
            "cluster": f"pricing/{attempt.environment}/{role}/{DIGITS}", "host": f"/tmp/{DIGITS}.0.x.sock",
            "id": attempt.request_id, "start": f"{attempt.started_at:.6f}", "status": 200, "us": 900,
            "served": f"{attempt.served_count}{'r' if attempt.recorded else ''}",
        }  # fmt: skip
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
        if self._chance.random() < 0.02:
            self._number += 1
            self._path.rename(f"{self._path}.{self._number:08d}")
        if self._chance.random() < 0.05:
            self.release()

    def release(self) -> None:
        """As the control plane does, who reads it first."""
        self._cursor = self._writes.read(self._cursor, line_count_max=10_000).cursor
        self._writes.release(self._cursor)

    def read(self, cursor, *, line_count_max, until=None):
        batch = self._reads.read(cursor, line_count_max=line_count_max, until=until)
        self.gaps += [batch.gap] if batch.gap else []
        return batch

    def hold(self, cursor) -> None:
        self._reads.hold(cursor)

    def held(self):
        return self._reads.held()


class Spool:
    """One segment that grows."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, float]] = []

    def places(self):
        return [PLACE] if self.records else []

    def read(self, service, environment, offsets, *, record_count_max):
        begin = offsets.get("s", 0)
        mine = self.records if (service, environment) == PLACE else []
        found = mine[begin : begin + record_count_max]
        header = spool.Header(
            service=service, environment=environment, release=DIGITS, instance="i", opened_at=NOW, seed=1
        )
        rows = [[name, at, 0, "/predict", "", b"{}", 200, b"{}", 1, 1, "", 1, "", number] for name, number, at in found]
        groups = ((header, spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)),) if rows else ()
        is_all = begin + len(found) == len(mine)
        return segments.Groups(
            groups=groups,
            record_count=len(found),
            offsets={"s": begin + len(found)},
            damaged=(),
            lost_bytes=0,
            read_until=None if is_all else found[-1][2],
        )


class Lake(memory.MemoryLake):
    """Fails before or after it has written, sometimes."""

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__()
        self._chance, self._share = chance, share

    def append(self, service, blocks, *, environment, progress):
        if self._chance.random() < self._share:
            raise errors.UnavailableError("no", remedy="", code=errors.Code.LOG_UNAVAILABLE)
        state = super().append(service, blocks, environment=environment, progress=progress)
        if self._chance.random() < self._share:
            raise errors.UnavailableError("written, but nobody heard", remedy="", code=errors.Code.LOG_UNAVAILABLE)
        return state


def shipper(log: Log, found: Spool, lake: memory.MemoryLake) -> shipping.Shipper:
    return shipping.Shipper(
        segments=found, lake=lake, attempts=joining.Attempts(log), content=lambda _service, _digits: None,
        every_seconds=5.0,
    )  # fmt: skip


def counted(lake: memory.MemoryLake) -> int:
    return lake.state("pricing").progress["production"].counts.get("unacknowledged", 0)


@dataclasses.dataclass(frozen=True)
class Story:
    seed: int
    kills: float = 0.0
    failures: float = 0.0
    batch: int = 50_000
    lines: int = 20_000
    files: bool = False


@pytest.mark.parametrize(
    "story",
    [
        *(Story(seed) for seed in range(3)),
        *(Story(seed, kills=0.1) for seed in range(10, 15)),
        *(Story(seed, kills=0.05, failures=0.2) for seed in range(30, 34)),
        *(Story(seed, kills=0.05, failures=0.1, batch=7, lines=5) for seed in range(50, 54)),
        *(Story(seed, kills=0.05, failures=0.1, batch=50, lines=30, files=True) for seed in range(80, 84)),
    ],
    ids=repr,
)
def test_spooled_and_unacknowledged_are_all_that_was_answered(story: Story, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(shipping, "RECORDS_MAX", story.batch)
    monkeypatch.setattr(joining, "_LINES", story.lines)
    monkeypatch.setattr(accounting, "_LINES", max(1, story.lines - 2))
    monkeypatch.setattr(joining, "GENERATION_COUNT", 40 if story.files else joining.GENERATION_COUNT)
    chance = random.Random(story.seed)
    log = FileLog(tmp_path, chance) if story.files else Log()
    found, lake = Spool(), Lake(chance, story.failures)
    moving = shipper(log, found, lake)
    late: list[tuple[float, tuple[str, int, float]]] = []
    lost = line_count = 0
    now = NOW
    for turn in range(400):
        now += chance.random()
        if turn < 300:
            for _ in range(chance.randrange(4)):
                line_count += 1
                name = f"r{chance.randrange(100)}"  # ids come again: only the number tells the answers apart
                log.append(answer(name, line_count, now), is_copy=chance.random() < 0.1)
                if chance.random() < 0.2:
                    lost += 1
                else:  # now and then before its line is read, now and then seconds later
                    late.append((now + chance.choice([0.0, 0.05, 3.0]), (name, line_count, now)))
            log.append(answer("unrecorded", turn, now, recorded=False), is_copy=False)
            log.append(answer("elsewhere", turn, now, environment="integration"), is_copy=False)
        due = [each for each in late if each[0] <= now]
        late = [each for each in late if each[0] > now]
        found.records += [record for _, record in due]
        if chance.random() < story.kills:
            moving = shipper(log, found, lake)
        moving.turn(now)
    for _ in range(200):
        now += 2.0
        moving.turn(now)

    rows = collections.Counter(row[1] for block in lake.blocks["pricing"] for row in block.rows)
    assert collections.Counter(name for name, _, _ in found.records) == rows
    assert lost == counted(lake)
    assert 300 == lake.state("pricing").progress["integration"].counts["unacknowledged"]
    if isinstance(log, FileLog):
        assert [] == log.gaps
        log.release()
        assert len(list(tmp_path.iterdir())) < 8


def test_nothing_is_missing_before_its_record_had_the_time_to_come() -> None:
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    log.lines = [answer("a", 0, NOW), answer("b", 1, NOW + 1.0)]
    found.records = [("b", 1, NOW + 1.0)]
    moving = shipper(log, found, lake)

    moving.turn(NOW + 2.0)
    moving.turn(NOW + 9.0, drain=True)
    assert 0 == counted(lake)
    moving.turn(NOW + 11.1, drain=True)
    assert 1 == counted(lake)


def test_a_record_that_comes_after_it_was_counted_is_subtracted() -> None:
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    log.lines = [answer("a", 0, NOW)]
    moving = shipper(log, found, lake)
    moving.turn(NOW + 60.0)  # nothing was spooled: only the gateway's log tells of the place
    moving.turn(NOW + 60.0, drain=True)
    assert 1 == counted(lake)
    found.records = [("a", 0, NOW)]

    moving.turn(NOW + 90.0, drain=True)

    assert (0, ["a:0"]) == (counted(lake), lake.ids("pricing"))


def test_in_a_backlog_only_what_was_read_past_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(shipping, "RECORDS_MAX", 10)
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    for number in range(100):
        log.lines.append(answer(f"n{number}", number, NOW + number))
    found.records = [(f"n{number}", number, NOW + number) for number in range(100) if number % 10]
    moving = shipper(log, found, lake)

    told = []
    for _ in range(10):
        moving.turn(NOW + 1e6, drain=True)
        told.append(counted(lake))

    assert sorted(told) == told
    assert told[0] <= 2
    assert 10 == told[-1]


def test_a_shipper_that_begins_anew_asks_for_all_that_it_might_have_moved_before() -> None:
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    for number in range(40):  # hours of little traffic, in one reading
        log.lines.append(answer(f"n{number}", number, NOW + 300.0 * number))
    found.records = [(f"n{number}", number, NOW + 300.0 * number) for number in range(39)]
    now = NOW + 300.0 * 39
    shipper(log, found, lake).turn(now + 5.0, drain=True)
    assert (39, 0) == (len(lake.ids("pricing")), counted(lake))

    moving = shipper(log, found, lake)
    for _ in range(4):
        moving.turn(now + 60.0, drain=True)

    assert 1 == counted(lake)


def test_a_log_that_was_begun_anew_is_read_from_its_beginning() -> None:
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    log.lines = [answer(f"n{number}", number, NOW) for number in range(5)]
    moving = shipper(log, found, lake)
    moving.turn(NOW + 60.0)
    moving.turn(NOW + 60.0, drain=True)
    assert 5 == counted(lake)
    again = Log()
    again.lines = [answer("m", 0, NOW + 100.0)]

    moving = shipper(again, found, lake)
    for _ in range(4):
        moving.turn(NOW + 200.0, drain=True)

    assert 6 == counted(lake)


def test_a_ledger_that_is_full_reads_on_later(monkeypatch) -> None:
    monkeypatch.setattr(accounting, "KEYS_MAX", 10)
    log, found, lake = Log(), Spool(), memory.MemoryLake()
    monkeypatch.setattr(joining, "_LINES", 4)
    monkeypatch.setattr(accounting, "_LINES", 3)
    log.lines = [answer(f"n{number}", number, NOW) for number in range(50)]
    moving = shipper(log, found, lake)

    for _ in range(20):
        moving.turn(NOW + 60.0, drain=True)

    assert 50 == counted(lake)

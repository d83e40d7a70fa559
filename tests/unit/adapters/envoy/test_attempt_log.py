"""The attempt log, with a writer that does what Envoy does: appends, and reopens the file when it next writes."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.adapters.envoy import attempt_log
from softlaunch.ports import gateway

START = gateway.LogCursor()


def line(number: int) -> bytes:
    fields = {
        "cluster": "flights/production/stable/aaaaaaaaaaaa",
        "epoch": "7",
        "flags": "-",
        "host": "/tmp/sl/aaaaaaaaaaaa.0.sock",
        "id": f"id-{number}",
        "invalid": None,
        "key": None,
        "number": "1",
        "out": None,
        "shed": None,
        "start": f"{1_700_000_000 + number}.000000",
        "status": 200,
        "us": 900,
    }
    return json.dumps(fields).encode() + b"\n"


class Writer:
    """Envoy's side: asked to reopen, it does so when it has something to write."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.descriptor = self._open()
        self.reopen_asked = False

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def reopen(self) -> None:
        self.reopen_asked = True

    def write(self, text: bytes, *, rest: bool = False) -> None:
        """`rest`: of a line already begun; Envoy reopens between flushes, and a flush ends with a whole line."""
        if self.reopen_asked and not rest:
            os.close(self.descriptor)
            self.descriptor = self._open()
            self.reopen_asked = False
        os.write(self.descriptor, text)

    def restart(self) -> None:
        os.close(self.descriptor)
        self.descriptor = self._open()


class Bench:
    def __init__(self, directory: pathlib.Path, *, budget_bytes: int = 10**9) -> None:
        self.path = directory / "attempts.log"
        self.writer = Writer(self.path)
        self.budget_bytes = budget_bytes
        self.log = self.reader()

    def reader(self) -> attempt_log.AttemptLog:
        return attempt_log.AttemptLog(
            self.path, reopen=self.writer.reopen, budget_bytes=self.budget_bytes, free_bytes_min=0
        )

    def write(self, *numbers: int) -> None:
        for number in numbers:
            self.writer.write(line(number))

    def read(self, cursor: gateway.LogCursor, count: int = 1_000_000) -> tuple[list[int], gateway.LogBatch]:
        batch = self.log.read(cursor, line_count_max=count)
        return [int(attempt.request_id.removeprefix("id-")) for attempt in batch.attempts], batch


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


def test_a_torn_last_line_is_read_when_it_is_whole(bench: Bench) -> None:
    bench.write(1)
    text = line(2)
    bench.writer.write(text[:40])
    seen, first = bench.read(START)
    bench.writer.write(text[40:])
    rest, second = bench.read(first.cursor)

    assert ([1], [2]) == (seen, rest)
    assert first.gap is None
    assert second.gap is None


def test_an_unreadable_line_is_a_gap_and_its_neighbours_are_read(bench: Bench) -> None:
    bench.write(1)
    bench.writer.write(b'{"start": "12", "status": \n')
    bench.write(2)
    seen, batch = bench.read(START)

    assert [1, 2] == seen
    assert batch.gap == "1 unreadable attempt log lines"


@pytest.mark.parametrize(
    "text", [b"null\n", b"[]\n", b"\xff\xfe\n", b"{}\n", b'{"status": "x"}\n', b"x" * 5000 + b"\n"]
)
def test_a_line_that_is_none_of_ours_is_a_gap(bench: Bench, text: bytes) -> None:
    bench.writer.write(text)
    bench.write(1)
    seen, batch = bench.read(START)

    assert [1] == seen
    assert batch.gap is not None


def test_a_torn_line_finished_by_another_process_is_a_gap(bench: Bench) -> None:
    bench.write(1)
    bench.writer.write(line(2)[:50])
    bench.log.mark_gap("Envoy died")
    bench.writer.restart()
    bench.write(3)
    seen, batch = bench.read(START)

    assert [1, 3] == seen
    assert batch.gap is not None
    assert "Envoy died" in batch.gap
    assert "unreadable" in batch.gap


def test_a_marked_gap_is_told_once_and_at_its_place(bench: Bench) -> None:
    bench.write(1)
    bench.log.mark_gap("Envoy died")
    bench.write(2)
    first, before = bench.read(START, 1)
    second, after = bench.read(before.cursor)
    _, last = bench.read(after.cursor)

    assert ([1], None) == (first, before.gap)
    assert ([2], "Envoy died") == (second, after.gap)
    assert last.gap is None


def test_a_truncated_file_is_a_gap(bench: Bench) -> None:
    bench.write(1, 2, 3)
    _, batch = bench.read(START)
    os.truncate(bench.path, len(line(1)))
    seen, shrunk = bench.read(batch.cursor)
    bench.write(4)
    rest, after = bench.read(shrunk.cursor)

    assert [] == seen
    assert shrunk.gap is not None
    assert "shrank" in shrunk.gap
    assert ([4], None) == (rest, after.gap)


def test_a_file_emptied_and_filled_again_is_a_gap_even_with_the_same_inode(bench: Bench) -> None:
    bench.write(1, 2)
    _, batch = bench.read(START)
    os.truncate(bench.path, 0)
    bench.write(3, 4, 5)
    seen, after = bench.read(batch.cursor)

    assert [3, 4, 5] == seen
    assert after.gap is not None


def test_a_deleted_log_is_a_gap(bench: Bench) -> None:
    bench.write(1)
    _, batch = bench.read(START)
    bench.path.unlink()
    bench.writer.restart()
    bench.write(2)
    seen, after = bench.read(batch.cursor)

    assert [2] == seen
    assert after.gap is not None


def test_what_is_over_the_budget_is_deleted_oldest_first_and_told(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path, budget_bytes=40 * len(line(100)))
    for number in range(100, 300):
        bench.write(number)
        bench.log.release(START)  # nobody reads, but the gateway looks after its files
    seen, batch = bench.read(START)

    assert batch.gap is not None
    assert "deleted before they were read" in batch.gap
    assert seen == list(range(seen[0], 300))
    assert 30 <= len(seen) <= 50


def test_lines_written_after_the_rename_are_read_from_the_old_file(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path, budget_bytes=8 * 3 * len(line(1)))
    bench.write(1, 2, 3, 4)
    seen, batch = bench.read(START)
    bench.writer.reopen_asked = False  # Envoy has not noticed yet
    bench.write(5)
    late, batch = bench.read(batch.cursor)
    bench.writer.reopen()
    bench.write(6)
    rest, batch = bench.read(batch.cursor)

    assert ([1, 2, 3, 4], [5], [6]) == (seen, late, rest)
    assert batch.gap is None
    assert (tmp_path / "attempts.log.00000001").exists()


def test_an_envoy_that_cannot_be_told_to_reopen_is_told_later(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path, budget_bytes=8 * len(line(1)))
    calls = []

    def reopen() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise errors.UnavailableError("gone", remedy="", code=errors.Code.GATEWAY_UNREACHABLE)
        bench.writer.reopen()

    bench.log = attempt_log.AttemptLog(bench.path, reopen=reopen, budget_bytes=bench.budget_bytes, free_bytes_min=0)
    bench.write(1)
    _, batch = bench.read(START)
    bench.write(2)
    first, batch = bench.read(batch.cursor)
    bench.write(3)
    second, batch = bench.read(batch.cursor)
    bench.write(4)
    third, batch = bench.read(batch.cursor)

    assert ([2], [3], [4]) == (first, second, third)
    assert batch.gap is None


def test_little_free_disk_is_a_gap(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path)
    bench.log = attempt_log.AttemptLog(bench.path, reopen=bench.writer.reopen, free_bytes_min=10**18)
    _, batch = bench.read(START)

    assert batch.gap is not None
    assert batch.gap.startswith("disk full")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_line_is_taken_exactly_once_wherever_reader_and_writer_are_killed(seed: int) -> None:
    """The reader saves its lines and its cursor together, as the store does, and dies before or after that."""
    chance = random.Random(seed)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sll-"))
    try:
        bench = Bench(directory, budget_bytes=8 * 20 * len(line(1)))
        taken: list[int] = []
        written, released, cursor, torn = 0, 0, START, b""
        for _ in range(chance.randrange(150)):
            act = chance.random()
            # Twice that fits into the budget: the file the cursor is in, read but not yet deleted, and what came since.
            if act < 0.45 and written - released < 60:
                for _ in range(chance.randrange(1, 12)):
                    bench.writer.write(torn or line(written), rest=bool(torn))
                    torn = b""
                    written += 1
            elif act < 0.5 and not torn:
                text = line(written)
                cut = chance.randrange(1, len(text))
                bench.writer.write(text[:cut])
                torn = text[cut:]
            elif act < 0.85:
                seen, batch = bench.read(cursor, chance.choice([1, 3, 50, 1000]))
                assert batch.gap is None
                if chance.random() < 0.2:
                    bench.log = bench.reader()  # killed before it had saved anything
                    continue
                taken.extend(seen)
                cursor = batch.cursor
                if chance.random() < 0.8:
                    bench.log.release(cursor)
                    released = len(taken)
            else:
                bench.log = bench.reader()
        while (found := bench.read(cursor, 7))[0] or found[1].cursor != cursor:
            taken.extend(found[0])
            cursor = found[1].cursor
            assert found[1].gap is None

        assert taken == list(range(written))
    finally:
        os.close(bench.writer.descriptor)
        shutil.rmtree(directory)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_slow_reader_never_gets_a_line_twice_and_hears_of_every_loss(seed: int) -> None:
    chance = random.Random(seed)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sll-"))
    try:
        bench = Bench(directory, budget_bytes=8 * 4 * len(line(1)))
        taken: list[int] = []
        written, cursor = 0, START
        for _ in range(60):
            for _ in range(chance.randrange(10)):
                bench.write(written)
                written += 1
                bench.log.release(START)
            if chance.random() < 0.3:
                seen, batch = bench.read(cursor, 10)
                expected = taken[-1] + 1 if taken else 0
                if seen and seen != list(range(expected, expected + len(seen))):
                    assert batch.gap is not None
                taken.extend(seen)
                cursor = batch.cursor
                if chance.random() < 0.5:
                    bench.log.release(cursor)

        assert taken == sorted(set(taken))
    finally:
        os.close(bench.writer.descriptor)
        shutil.rmtree(directory)


def test_reading_ends_where_it_is_told_to_end_also_in_an_earlier_file(bench: Bench) -> None:
    cursors = [START]
    for number in range(6):
        bench.write(number)
        cursors.append(bench.read(cursors[-1])[1].cursor)
        if number == 2:
            bench.path.rename(f"{bench.path}.00000001")
            bench.writer.reopen()
    assert sorted(cursors) == cursors

    for begin, first in enumerate(cursors):
        for end, last in enumerate(cursors[begin:], begin):
            batch = bench.log.read(first, line_count_max=1000, until=last)
            assert [f"id-{number}" for number in range(begin, end)] == [each.request_id for each in batch.attempts]
            assert last in (batch.cursor, first) or end == begin


def test_what_a_second_reader_holds_on_to_is_kept_until_it_lets_go(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "attempts.log"
    writer = Writer(path)
    log = attempt_log.AttemptLog(path, reopen=writer.reopen, budget_bytes=8_000, free_bytes_min=0)
    second = attempt_log.AttemptLog(path, reopen=writer.reopen, budget_bytes=8_000, free_bytes_min=0, only_reads=True)
    cursor = START
    writer.write(line(0))
    second.hold(second.read(START, line_count_max=1).cursor)
    for number in range(1, 10):
        writer.write(line(number))
        cursor = log.read(cursor, line_count_max=100).cursor
        log.release(cursor)

    held = second.held()
    assert held is not None
    left = second.read(held, line_count_max=100)
    assert [f"id-{number}" for number in range(1, 10)] == [attempt.request_id for attempt in left.attempts]
    assert left.gap is None

    files = len(list(tmp_path.glob("attempts.log*")))
    second.hold(left.cursor)
    log.release(cursor)
    assert len(list(tmp_path.glob("attempts.log*"))) < files

"""What only files can suffer: torn tails, damage, deletion, other people's names."""

from __future__ import annotations

import pathlib
import time

import msgspec
import pytest

from softlaunch.adapters.spool import local
from softlaunch.core import spool
from softlaunch.ports import spool as port
from softlaunch.serving import segments

NOW = time.time()


def record(name: str, *, size: int = 10) -> spool.Record:
    return spool.Record(
        request_id=name, at=NOW, release="a" * 12, instance="one", arm=spool.PRIMARY, mirrored=True, path="/predict",
        content_type="application/json", request=b"x" * size, status=200, answer=b"{}", invalid=False, shed=False,
        service_us=700, cpu_us=50, key="", row_count=1, output="n:1", memory_kib=1, served_count=0, dropped=0,
    )  # fmt: skip


def writer(directory: pathlib.Path, *, instance: str = "one", budget: int = 2**30) -> segments.SegmentWriter:
    return segments.SegmentWriter(
        directory, service="svc", environment="env", release="a" * 12, instance=instance, disk_bytes_max=budget
    )


def put(to: segments.SegmentWriter, *found: spool.Record) -> None:
    for each in found:
        to.append(msgspec.msgpack.encode(spool.group_of(each)))


def ids(batch: port.SpoolBatch) -> list[str]:
    return [each.request_id for each in batch.records]


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "spool" / "svc" / "env"


@pytest.fixture
def reader(tmp_path: pathlib.Path) -> local.LocalSpool:
    return local.LocalSpool(tmp_path / "spool")


def only_segment(directory: pathlib.Path) -> pathlib.Path:
    (path,) = directory.iterdir()
    return path


def test_files_and_directories_are_their_owners_alone(directory) -> None:
    put(writer(directory), record("a"))

    assert 0o600 == only_segment(directory).stat().st_mode & 0o777
    assert 0o700 == directory.stat().st_mode & 0o777


def test_a_segment_is_read_as_it_grows_byte_by_byte(directory, reader) -> None:
    put(writer(directory), *(record(f"r{number}") for number in range(4)))
    path = only_segment(directory)
    whole = path.read_bytes()
    cursor, found = port.Cursor(), []

    for length in range(0, len(whole) + 1, 13):
        path.write_bytes(whole[:length])
        batch = reader.read("svc", "env", cursor)
        assert batch.damage_count == 0
        cursor = batch.cursor
        found += ids(batch)
    path.write_bytes(whole)
    found += ids(reader.read("svc", "env", cursor))

    assert ["r0", "r1", "r2", "r3"] == found


def test_damage_is_counted_once_and_the_rest_is_read(directory, reader) -> None:
    put(writer(directory), *(record(f"r{number}") for number in range(4)))
    path = only_segment(directory)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"r1") + 5] ^= 0xFF
    path.write_bytes(bytes(raw))

    batch = reader.read("svc", "env", port.Cursor())

    assert (["r0", "r2", "r3"], 1) == (ids(batch), batch.damage_count)
    assert ([], 0) == (ids(again := reader.read("svc", "env", batch.cursor)), again.damage_count)


def test_damage_longer_than_any_frame_is_passed_over(directory, reader) -> None:
    put(writer(directory), record("before"))
    path = only_segment(directory)
    seed = spool.load_header(path.read_bytes())[0].seed
    with path.open("ab") as file:
        file.write(b"\xff" * (3 * spool.FRAME_BYTES_MAX))
        file.write(spool.frame(msgspec.msgpack.encode(spool.group_of(record("after"))), seed))

    batch = reader.read("svc", "env", port.Cursor())

    assert ["before", "after"] == ids(batch)
    assert batch.damage_count >= 1
    scanned = reader.scan("svc", "env", since=NOW, until=time.time() + 1)  # the suite may be much older than NOW
    assert ["before", "after"] == [each.request_id for each in scanned]


def test_large_records_are_read_in_pieces(directory, reader) -> None:
    put(writer(directory), *(record(f"r{number}", size=spool.BODY_BYTES_MAX) for number in range(20)))

    assert [f"r{number}" for number in range(20)] == ids(reader.read("svc", "env", port.Cursor()))


def test_deleted_segments_leave_the_cursor(directory, reader) -> None:
    put(writer(directory), record("a"))
    cursor = reader.read("svc", "env", port.Cursor()).cursor
    only_segment(directory).unlink()
    put(writer(directory, instance="two"), record("b"))

    batch = reader.read("svc", "env", cursor)

    assert ["b"] == ids(batch)
    assert 1 == len(batch.cursor.offsets)


def test_names_that_are_paths_are_refused(reader) -> None:
    for name in ("..", "a/b", ""):
        with pytest.raises(ValueError, match="names no service"):
            reader.read(name, "env", port.Cursor())


def test_the_oldest_closed_segments_are_deleted_for_the_newest(directory, reader) -> None:
    budget = 64 * 65_536
    to = writer(directory, budget=budget)
    for number in range(300):
        put(to, record(f"r{number}", size=30_000))

    found = ids(reader.read("svc", "env", port.Cursor()))
    assert sum(path.stat().st_size for path in directory.iterdir()) <= budget
    assert "r299" == found[-1]
    assert found == [f"r{number}" for number in range(300 - len(found), 300)]
    assert len(found) > 100


def test_segments_being_written_are_never_deleted(directory, reader) -> None:
    budget = 64 * 65_536
    idle = writer(directory, instance="idle", budget=budget)
    put(idle, record("kept"))
    busy = writer(directory, instance="busy", budget=budget)
    for number in range(300):
        put(busy, record(f"r{number}", size=30_000))
    put(idle, record("later"))

    assert {"kept", "later"} <= set(ids(reader.read("svc", "env", port.Cursor())))


def test_more_writers_than_the_budget_has_room_for_write_nothing(directory) -> None:
    writers = [writer(directory, instance=f"w{number}", budget=4 * 65_536) for number in range(5)]
    for each in writers[:4]:
        put(each, record("a"))

    with pytest.raises(OSError, match="budget"):
        put(writers[4], record("b"))
    writers[0].close()
    put(writers[4], record("b"))

    assert sum(path.stat().st_size for path in directory.iterdir()) <= 4 * 65_536


def test_segments_of_the_first_format_are_still_read(directory, reader) -> None:
    directory.mkdir(parents=True)
    header = spool.Header(
        service="svc", environment="env", release="a" * 12, instance="one", opened_at=NOW, seed=7,
        version=spool.VERSION_OF_RECORDS,
    )  # fmt: skip
    written = [record("a"), record("b")]
    older_fields = len(spool.Record._fields) - 3
    frames = [spool.frame(msgspec.msgpack.encode(tuple(each)[:older_fields]), header.seed) for each in written]
    (directory / spool.segment_name(header, 0)).write_bytes(spool.dump_header(header) + b"".join(frames))

    assert tuple(written) == reader.read("svc", "env", port.Cursor()).records
    assert (written[1],) == reader.find("b")


def test_a_group_is_read_whole_and_once(directory, reader) -> None:
    to = writer(directory)
    for start in (0, 5):
        to.append(msgspec.msgpack.encode(spool.group_of(*(record(f"r{start + number}") for number in range(5)))))

    first = reader.read("svc", "env", port.Cursor(), record_count_max=2)
    second = reader.read("svc", "env", first.cursor)

    assert [f"r{number}" for number in range(5)] == ids(first)
    assert [f"r{number}" for number in range(5, 10)] == ids(second)

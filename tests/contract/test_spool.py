"""What every spool keeps to: what was written comes back, once, in order, whatever happens to the files meanwhile."""

from __future__ import annotations

import pathlib
import time

import msgspec
import pytest

from softlaunch.adapters.spool import local
from softlaunch.core import spool
from softlaunch.ports import spool as port
from softlaunch.serving import segments
from softlaunch.testing import spool as memory

SERVICE, ENVIRONMENT = "flights", "production"
NOW = float(int(time.time())) - 30.0
"""Just past: a segment is opened and written at some time, and holds no requests from after it."""


def record(name: str, *, at: float = NOW, arm: str = spool.PRIMARY, instance: str = "one") -> spool.Record:
    return spool.Record(
        request_id=name, at=at, release="a" * 12, instance=instance, arm=arm, mirrored=True, path="/predict",
        content_type="application/json", request=b'{"x":1}', status=200, answer=b"{}", invalid=False, shed=False,
        service_us=700, cpu_us=50, key="user", row_count=1, output="n:1", memory_kib=1, served_count=0, dropped=0,
    )  # fmt: skip


class Files:
    """Writes as model servers do: every process its own segments."""

    def __init__(self, root: pathlib.Path) -> None:
        self.spool = local.LocalSpool(root)
        self._root = root
        self._writers: dict[tuple[str, ...], segments.SegmentWriter] = {}

    def write(self, found: spool.Record, *, service: str = SERVICE, environment: str = ENVIRONMENT) -> None:
        who = (service, environment, found.release, found.instance)
        if who not in self._writers:
            self._writers[who] = segments.SegmentWriter(
                self._root / service / environment,
                service=service,
                environment=environment,
                release=found.release,
                instance=found.instance,
                disk_bytes_max=2**30,
            )
        self._writers[who].append(msgspec.msgpack.encode(spool.group_of(found)))


class Memory:
    def __init__(self) -> None:
        self.spool = memory.MemorySpool()

    def write(self, found: spool.Record, *, service: str = SERVICE, environment: str = ENVIRONMENT) -> None:
        self.spool.write(service, environment, found)


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    return Files(tmp_path / "spool") if request.param == "local" else Memory()


def test_a_spool_nobody_wrote_is_empty(place) -> None:
    batch = place.spool.read(SERVICE, ENVIRONMENT, port.Cursor())

    assert ((), 0) == (batch.records, batch.damage_count)
    assert [] == list(place.spool.scan(SERVICE, ENVIRONMENT, since=0, until=1e10))
    assert () == place.spool.find("nobody")


def test_every_record_is_read_once_while_several_processes_write(place) -> None:
    cursor = port.Cursor()
    written, found = [], []
    for number in range(30):
        written.append(record(f"r{number}", instance=f"process{number % 3}"))
        place.write(written[-1])
        if number % 4 == 0:
            batch = place.spool.read(SERVICE, ENVIRONMENT, port.Cursor.from_json(cursor.to_json()))
            cursor = batch.cursor
            found += batch.records
    found += place.spool.read(SERVICE, ENVIRONMENT, cursor).records

    assert sorted(written) == sorted(found)


def test_a_small_batch_is_gone_on_from(place) -> None:
    written = [record(f"r{number}", instance=f"process{number % 2}") for number in range(9)]
    for each in written:
        place.write(each)
    cursor, found = port.Cursor(), []
    for _ in range(9):
        batch = place.spool.read(SERVICE, ENVIRONMENT, cursor, record_count_max=2)
        assert len(batch.records) <= 2
        cursor = batch.cursor
        found += batch.records

    assert sorted(written) == sorted(found)


def test_from_the_end_only_what_comes_later_is_read(place) -> None:
    place.write(record("before"))
    cursor = place.spool.end(SERVICE, ENVIRONMENT)
    place.write(record("after"))
    place.write(record("another", instance="two"))

    found = place.spool.read(SERVICE, ENVIRONMENT, cursor).records

    assert {"after", "another"} == {each.request_id for each in found}


def test_services_and_environments_are_apart(place) -> None:
    place.write(record("mine"))
    place.write(record("staged"), environment="staging")
    place.write(record("foreign"), service="prices")

    found = place.spool.read(SERVICE, ENVIRONMENT, port.Cursor()).records

    assert ["mine"] == [each.request_id for each in found]
    assert ["foreign"] == [each.request_id for each in place.spool.find("foreign")]


def test_a_scan_is_a_span_of_time_in_its_order(place) -> None:
    begun = time.time() - 30.0  # not NOW: a segment is opened before what it records, and the suite may be old by now
    for number in range(12):
        place.write(record(f"r{number}", at=begun + number, instance=f"process{number % 3}"))

    found = list(place.spool.scan(SERVICE, ENVIRONMENT, since=begun + 3, until=begun + 7))

    assert ["r3", "r4", "r5", "r6"] == [each.request_id for each in found]


def test_a_request_is_found_with_its_copy_the_primary_first(place) -> None:
    place.write(record("pair", arm=spool.SHADOW, instance="candidate"))
    place.write(record("pair2"))
    place.write(record("pair"))

    assert [spool.PRIMARY, spool.SHADOW] == [each.arm for each in place.spool.find("pair")]

"""What whoever reads groups for the log promises, be it from the spool or from a stream of it."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import msgspec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import broker_lab

from softlaunch.adapters.local import leases
from softlaunch.adapters.spool import forwarded, tail
from softlaunch.adapters.streams import broker, outlet, parts
from softlaunch.controller.prediction_log import forwarding
from softlaunch.core import spool
from softlaunch.ports import segments as port
from softlaunch.serving import segments

NOW = 1_700_000_000.0
SERVICE, ENVIRONMENT = "pricing", "production"


class Spool:
    """Groups in files, read from there."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.segments: port.Segments = tail.SegmentTail(root)

    def write(self, *names: str, instance: str = "one") -> pathlib.Path:
        folder = self.root / SERVICE / ENVIRONMENT
        writer = segments.SegmentWriter(
            folder, service=SERVICE, environment=ENVIRONMENT, release="0" * 12, instance=instance,
            disk_bytes_max=1 << 30,
        )  # fmt: skip
        for name in names:
            row = [name, NOW, 0, "/predict", "", b"{}", 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
            writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
        writer.close()
        return max(folder.glob(f"*-{instance}-*"))

    def settle(self) -> None:
        """What was written can be read."""

    def restarted(self) -> port.Segments:
        """Another reader, when this one has ended."""
        return tail.SegmentTail(self.root)

    def close(self) -> None:
        pass


class Stream(Spool):
    """Groups in files, and from there on a topic."""

    def __init__(self, root: pathlib.Path, servers: str) -> None:
        super().__init__(root / "spool")
        self._leases = root / "leases"
        self._broker = broker.Broker(servers, root.name)  # a prefix of its own
        self._forwarder = forwarding.Forwarder(
            segments=tail.SegmentTail(self.root),
            outlet=outlet.KafkaOutlet(self._broker),
            places=forwarded.ForwardedFiles(self.root),
            began=lambda *_: {},
        )
        self.segments = self._opened()

    def settle(self) -> None:
        self._forwarder.turn(NOW)

    def restarted(self) -> port.Segments:
        self.close()
        self.segments = self._opened()
        return self.segments

    def close(self) -> None:
        assert isinstance(self.segments, parts.KafkaSegments)
        self.segments.close()

    def _opened(self) -> parts.KafkaSegments:
        return parts.KafkaSegments(self._broker, leases.FileLeases(self._leases), outlet.KafkaOutlet(self._broker))


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with broker_lab.running(tmp_path_factory.mktemp("broker")) as found:
        yield found.servers


@pytest.fixture(params=["spool", pytest.param("stream", marks=pytest.mark.slow)])
def found(request, tmp_path):
    made = Spool(tmp_path) if request.param == "spool" else Stream(tmp_path, request.getfixturevalue("servers"))
    yield made
    made.close()


def source(reading: port.Segments) -> str:
    ((service, name),) = reading.places()
    assert (SERVICE, ENVIRONMENT) == (service, port.environment_of(name))
    return name


def read(reading: port.Segments, offsets: dict[str, int], count: int = 1_000) -> tuple[list[str], port.Groups]:
    groups = reading.read(SERVICE, source(reading), offsets, record_count_max=count)
    assert sum(len(group.rows) for _, group in groups.groups) == groups.record_count
    return [row[0] for _, group in groups.groups for row in group.rows], groups


def soon(reading: port.Segments, offsets: dict[str, int]) -> list[str]:
    """As `read`, of what was added while it was read to the end."""
    deadline = time.monotonic() + 20.0
    while not (names := read(reading, offsets)[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return names


def test_groups_come_with_their_header_in_their_order(found) -> None:
    found.write("a", "b", "c")
    found.settle()

    names, groups = read(found.segments, {})

    assert ["a", "b", "c"] == names
    assert {(SERVICE, ENVIRONMENT, "one")} == {
        (header.service, header.environment, header.instance) for header, _ in groups.groups
    }
    assert ((), 0, 0) == (groups.damaged, groups.lost_bytes, groups.duplicate_count)


def test_a_reader_goes_on_behind_the_offsets_whoever_has_read_them(found) -> None:
    found.write("a", "b")
    found.settle()
    _, groups = read(found.segments, {})
    assert [] == read(found.segments, groups.offsets)[0]
    found.write("c", instance="two")
    found.settle()

    assert ["c"] == soon(found.segments, groups.offsets)
    assert ["c"] == read(found.restarted(), groups.offsets)[0]
    assert ["a", "b", "c"] == read(found.restarted(), {})[0]


def test_a_reader_can_go_back(found) -> None:
    found.write("a", "b", "c")
    found.settle()
    _, first = read(found.segments, {}, 1)
    assert ["b", "c"] == read(found.segments, first.offsets)[0]

    assert ["b", "c"] == read(found.segments, first.offsets)[0]


def test_no_more_groups_come_than_were_asked_for(found) -> None:
    found.write(*"abcdef")
    found.settle()
    names, offsets = [], {}
    for _ in range(3):
        some, groups = read(found.segments, offsets, 2)
        assert 2 == len(some)
        names += some
        offsets = groups.offsets

    assert list("abcdef") == names


def test_damage_is_told_with_its_reason_and_the_rest_comes(found) -> None:
    broken = found.write("first", "bitten", "last")
    data = bytearray(broken.read_bytes())
    data[data.find(b"bitten")] ^= 1
    del data[-4:]
    broken.write_bytes(data)
    os.utime(broken, (NOW, NOW))
    found.write("whole", instance="two")
    found.settle()

    names, groups = read(found.segments, {})

    assert ["first", "whole"] == names
    assert [port.Reason.TORN] == [damage.reason for damage in groups.damaged]
    assert [] == read(found.segments, groups.offsets)[0]


def test_a_group_that_is_none_costs_itself_alone(found) -> None:
    folder = found.root / SERVICE / ENVIRONMENT
    writer = segments.SegmentWriter(
        folder, service=SERVICE, environment=ENVIRONMENT, release="0" * 12, instance="odd", disk_bytes_max=1 << 30
    )
    writer.append(b"no group")
    writer.close()
    found.write("whole", instance="two")
    found.settle()

    names, groups = read(found.segments, {})

    assert ["whole"] == names
    assert [port.Reason.CONTENT] == [damage.reason for damage in groups.damaged]


def test_what_waits_is_told(found) -> None:
    found.write("a", "b")
    found.settle()
    name = source(found.segments)
    waiting = found.segments.waiting(SERVICE, name, {})
    assert waiting.byte_count or 2 == waiting.message_count
    _, groups = read(found.segments, {})

    after = found.segments.waiting(SERVICE, name, groups.offsets)
    assert (0, 0) == (after.byte_count, after.message_count)

from __future__ import annotations

import pathlib

import msgspec
import pytest

from softlaunch import errors
from softlaunch.adapters.spool import tail
from softlaunch.controller.prediction_log import forwarding
from softlaunch.core import spool
from softlaunch.core.prediction_log import stream
from softlaunch.serving import segments
from softlaunch.testing import streams as memory

NOW = 1_700_000_000.0
PLACE = ("pricing", "production")


def write(root: pathlib.Path, names: list[str], *, instance: str = "one", body: bytes = b"{}") -> pathlib.Path:
    folder = root / "pricing" / "production"
    writer = segments.SegmentWriter(
        folder, service="pricing", environment="production", release="0" * 12, instance=instance,
        disk_bytes_max=1 << 30,
    )  # fmt: skip
    for name in names:
        row = [name, NOW, 0, "/predict", "", body, 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
        writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()
    return max(folder.glob(f"*-{instance}-*"))


@pytest.fixture
def outlet():
    return memory.MemoryOutlet()


def forwarder(root: pathlib.Path, outlet, places=None, began=lambda *_: {}) -> forwarding.Forwarder:
    return forwarding.Forwarder(
        segments=tail.SegmentTail(root), outlet=outlet, places=places or memory.MemoryPlaces(), began=began
    )


def names(outlet) -> list[str]:
    """Of the records that were sent, in their order."""
    decode = msgspec.msgpack.Decoder(spool.Group).decode
    return [
        row[0]
        for message in outlet.taken.get(PLACE, ())
        if isinstance(message, stream.Frame)
        for row in decode(message.payload).rows
    ]


def test_groups_are_sent_in_their_order_and_once(tmp_path, outlet) -> None:
    write(tmp_path, ["a", "b"])
    moving = forwarder(tmp_path, outlet)

    assert [2, 0] == [moving.turn(NOW), moving.turn(NOW)]
    write(tmp_path, ["c"], instance="two")
    assert 1 == moving.turn(NOW)
    assert ["a", "b", "c"] == names(outlet)


def test_a_new_forwarder_goes_on_where_the_last_one_was(tmp_path, outlet) -> None:
    places = memory.MemoryPlaces()
    write(tmp_path, ["a"])
    forwarder(tmp_path, outlet, places).turn(NOW)
    write(tmp_path, ["b"], instance="two")

    assert 1 == forwarder(tmp_path, outlet, places).turn(NOW)
    assert ["a", "b"] == names(outlet)


def test_what_is_in_the_log_already_is_not_sent(tmp_path, outlet) -> None:
    first, second = write(tmp_path, ["a"]), write(tmp_path, ["b"], instance="two")
    places = memory.MemoryPlaces()
    places.save(*PLACE, stream.Place(offsets={second.name: 1 << 20, first.name: 0}))

    moving = forwarder(tmp_path, outlet, places, began=lambda *_: {first.name: first.stat().st_size})

    assert 0 == moving.turn(NOW)


def test_without_the_streams_word_all_of_it_is_sent_again(tmp_path, outlet) -> None:
    write(tmp_path, ["a", "b"])
    moving = forwarder(tmp_path, outlet)
    outlet.is_down = True
    for _ in range(2):
        with pytest.raises(errors.UnavailableError):
            moving.turn(NOW)
    outlet.is_down = False

    assert 2 == moving.turn(NOW)
    assert ["a", "b"] * 3 == names(outlet)


def test_one_spool_that_cannot_be_sent_holds_no_other_up(tmp_path, outlet) -> None:
    write(tmp_path, ["a"])
    (tmp_path / "another").mkdir()
    (tmp_path / "pricing").rename(tmp_path / "another" / "x")
    (tmp_path / "another" / "x" / "production").rename(tmp_path / "another" / "production")
    write(tmp_path, ["b"])

    class Half(memory.MemoryOutlet):
        def send(self, service, environment, messages) -> None:
            self.is_down = service == "another"
            super().send(service, environment, messages)

    half = Half()
    with pytest.raises(errors.UnavailableError):
        forwarder(tmp_path, half).turn(NOW)

    assert ["b"] == names(half)


def test_damage_is_told_in_its_place_and_the_rest_is_sent(tmp_path, outlet) -> None:
    broken = write(tmp_path, ["first", "bitten", "last"])
    data = bytearray(broken.read_bytes())
    data[data.find(b"bitten")] ^= 1
    broken.write_bytes(data)

    forwarder(tmp_path, outlet).turn(NOW)

    before, hole, after = outlet.taken[PLACE]
    assert isinstance(hole, stream.Hole)
    assert ("checksum", before.end, after.start) == (hole.reason, hole.start, hole.end)
    assert ["first", "last"] == names(outlet)


def test_a_group_that_the_stream_does_not_take_is_a_hole_and_the_rest_is_sent(tmp_path) -> None:
    outlet = memory.MemoryOutlet(bytes_max=1 << 20)
    write(tmp_path, ["small"])
    write(tmp_path, ["large"], instance="two", body=b"x" * (1 << 20))
    write(tmp_path, ["last"], instance="zzz")
    moving = forwarder(tmp_path, outlet)

    moving.turn(NOW)

    assert ["small", "last"] == names(outlet)
    assert ["size"] == [message.reason for message in outlet.taken[PLACE] if isinstance(message, stream.Hole)]
    assert 0 == moving.turn(NOW)


def test_small_groups_beside_one_that_is_refused_are_sent_once_more_one_by_one(tmp_path) -> None:
    outlet = memory.MemoryOutlet(bytes_max=2_000)
    write(tmp_path, ["a"])
    write(tmp_path, ["b"], instance="two", body=b"x" * 3_000)
    write(tmp_path, ["c"], instance="zzz")

    forwarder(tmp_path, outlet).turn(NOW)

    assert {"a", "c"} == set(names(outlet))
    assert ["size"] == [message.reason for message in outlet.taken[PLACE] if isinstance(message, stream.Hole)]


def test_a_segment_that_is_gone_is_told_of_once_and_only_when_nothing_of_it_can_come(tmp_path, outlet) -> None:
    places = memory.MemoryPlaces()
    segment = write(tmp_path, ["a"])
    moving = forwarder(tmp_path, outlet, places)
    moving.turn(NOW)
    segment.unlink()
    write(tmp_path, ["b"], instance="two")
    for later in (1.0, stream.GONE_SECONDS):
        forwarder(tmp_path, outlet, places).turn(NOW + later)
    assert segment.name in places.load(*PLACE).offsets
    assert not any(isinstance(message, stream.Gone) for message in outlet.taken[PLACE])

    moving = forwarder(tmp_path, outlet, places)
    moving.turn(NOW + 2.0 + stream.GONE_SECONDS)
    moving.turn(NOW + 3.0 + stream.GONE_SECONDS)

    assert [stream.Gone(segment=segment.name)] == [
        message for message in outlet.taken[PLACE] if isinstance(message, stream.Gone)
    ]
    assert segment.name not in places.load(*PLACE).offsets


def test_what_was_deleted_before_it_was_sent_is_told(tmp_path, outlet) -> None:
    segment = write(tmp_path, ["a"])
    moving = forwarder(tmp_path, outlet)
    moving.turn(NOW)
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"x" * 50)
    moving.turn(NOW)
    segment.unlink()
    write(tmp_path, ["b"], instance="two")
    moving.turn(NOW)

    holes = [message for message in outlet.taken[PLACE] if isinstance(message, stream.Hole)]
    assert [stream.Hole(segment=segment.name, start=size, end=size + 50, reason=stream.LOST)] == holes

"""From the spool through a real broker into a real table."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import pathlib
import sys
import time

import confluent_kafka
import confluent_kafka.admin
import msgspec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "contract"))

import broker_lab

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.spool import tail
from softlaunch.cli import log
from softlaunch.config import home as homes
from softlaunch.config import settings
from softlaunch.controller.prediction_log import outages
from softlaunch.core import spool
from softlaunch.core.prediction_log import stream as streams
from softlaunch.serving import segments
from softlaunch.wiring import prediction_log, stream

TOPIC = f"{broker_lab.PREFIX}.pricing.production"
pytestmark = pytest.mark.slow
SERVICE, ENVIRONMENT = "pricing", "production"


@pytest.fixture
def broker(tmp_path):
    with broker_lab.running(tmp_path) as found:
        yield found


@pytest.fixture
def home(tmp_path):
    found = homes.Home(tmp_path / "home", run_root=tmp_path)
    found.root.mkdir()
    return found


def spooled(home: homes.Home, names: list[str], *, instance: str = "writer", body: bytes = b"{}") -> pathlib.Path:
    """The segment they are in."""
    folder = home.spool / SERVICE / ENVIRONMENT
    writer = segments.SegmentWriter(
        folder, service=SERVICE, environment=ENVIRONMENT, release="0123456789ab", instance=instance,
        disk_bytes_max=1 << 30,
    )  # fmt: skip
    for name in names:
        row = [name, time.time() - 60.0, 0, "/predict", "", body, 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
        writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()
    return max(folder.glob(f"*-{instance}-*"))


def found(url: str, **more: str) -> settings.Settings:
    return settings.read({"SOFTLAUNCH_STREAM": url, **more})


def forward(home: homes.Home, broker: broker_lab.Broker) -> int:
    return stream.forward(home, found(broker.url), once=True, going_on=lambda: True)


def consume(home: homes.Home, broker: broker_lab.Broker) -> int:
    return stream.consume(home, found(broker.url), once=True, part_count_max=None, going_on=lambda: True)


def rows(home: homes.Home) -> list[str]:
    path = delta.DeltaLake(home.log).place(SERVICE)
    told = asking.ask(path, "SELECT request_id, environment FROM predictions ORDER BY ALL", row_count_max=1_000_000)
    assert {ENVIRONMENT} == {environment for _, environment in told.rows}
    return [name for name, _ in told.rows]


def put(broker: broker_lab.Broker, topic: str, *values: bytes | None, partition: int = 0) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.servers})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert 0 == producer.flush(10.0)


def taken(broker: broker_lab.Broker, topic: str) -> list[tuple[bytes, dict[str, str]]]:
    """Values and headers of all messages of the first partition."""
    reader = confluent_kafka.Consumer(
        {"bootstrap.servers": broker.servers, "group.id": "test", "enable.partition.eof": True}
    )
    reader.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    found = []
    while (message := reader.poll(10.0)) is not None and message.error() is None:
        found.append((message.value(), {name: value.decode() for name, value in message.headers() or ()}))
    reader.close()
    return found


def counted(home: homes.Home):
    (done,) = [each.progress for each in prediction_log.status(home) if each.part is not None]
    return done


def test_what_is_spooled_goes_through_kafka_into_the_log_once(broker, home) -> None:
    spooled(home, ["a", "b"])
    assert (2, 0) == (forward(home, broker), forward(home, broker))
    spooled(home, ["c"], instance="another")

    assert 1 == forward(home, broker)
    assert (3, 0) == (consume(home, broker), consume(home, broker))
    assert ["a", "b", "c"] == rows(home)
    assert 0 == counted(home).counts["duplicates"]


def test_status_tells_what_waits_in_the_spool_and_on_the_stream(broker, home, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SOFTLAUNCH_STREAM", broker.url)
    spooled(home, ["a"])
    forward(home, broker)
    consume(home, broker)
    spooled(home, ["b", "c"], instance="second")
    forward(home, broker)
    spooled(home, ["d"], instance="third")

    def told() -> list[tuple[object, ...]]:
        log.status(home=str(home.root), as_json=True)
        found = json.loads(capsys.readouterr().out)["logs"]
        return [
            (each["environment"], each["part"], each["waiting_segments"], each["waiting_messages"]) for each in found
        ]

    assert [(ENVIRONMENT, None, 1, None), (ENVIRONMENT, f"{TOPIC}/0", 0, 2)] == told()
    log.status(home=str(home.root), as_json=False)
    assert "2 messages wait" in capsys.readouterr().out
    broker.stop()
    assert [(ENVIRONMENT, None, 1, None), (ENVIRONMENT, f"{TOPIC}/0", 0, None)] == told()


def test_what_is_sent_twice_is_in_the_log_once_and_counted(broker, home) -> None:
    spooled(home, ["a", "b"])
    forward(home, broker)
    (home.spool / SERVICE / ENVIRONMENT / "forwarded.json").unlink()  # its forwarder was killed before it wrote that

    assert 2 == forward(home, broker)
    assert 2 == consume(home, broker)
    spooled(home, ["c"], instance="another")
    forward(home, broker)
    assert 1 == consume(home, broker)
    assert ["a", "b", "c"] == rows(home)
    assert 2 == counted(home).counts["duplicates"]


def test_a_message_that_comes_after_later_ones_is_not_taken_for_one_that_came_twice(broker, home) -> None:
    segment = spooled(home, ["a", "b", "c"])
    found = tail.SegmentTail(home.spool).pieces(SERVICE, ENVIRONMENT, {}, byte_count_max=1 << 20).pieces
    first, second, third = map(streams.dump, found)
    assert segment.name == found[0].segment
    put(broker, TOPIC, second, first, first, second)
    assert 2 == consume(home, broker)
    put(broker, TOPIC, third, second)

    assert 1 == consume(home, broker)
    assert ["a", "b", "c"] == rows(home)
    assert 2 <= counted(home).counts["duplicates"]


def poison(message: streams.Frame) -> dict[bytes, str]:
    """Messages that cannot be used, and why."""
    good = streams.dump(message)
    bitten = bytearray(good)
    bitten[-3] ^= 1
    header = bytearray(good)
    header[len(streams.MAGIC) + 20] ^= 1
    newer = bytearray(good)
    newer[len(streams.MAGIC)] = 99
    elsewhere = dataclasses.replace(message, header=dataclasses.replace(message.header, service="another"))
    no_group = dataclasses.replace(message, payload=msgspec.msgpack.encode({"no": "group"}))
    return {
        b"": "header",
        b"hello": "header",
        good[:-5]: "torn",
        good[:30]: "torn",
        bytes(bitten): "checksum",
        bytes(header): "header",
        bytes(newer): "version",
        streams.dump(elsewhere): "content",
        streams.dump(no_group): "content",
    }


def test_messages_that_cannot_be_used_go_to_a_topic_of_their_own_and_the_rest_flows_on(broker, home) -> None:
    spooled(home, ["a"])
    forward(home, broker)
    header = spool.Header(
        service=SERVICE, environment=ENVIRONMENT, release="0" * 12, instance="i", opened_at=1e9, seed=7
    )
    name = spool.segment_name(header, 1)
    row = ["odd", time.time() - 60.0, 0, "/predict", "", b"{}", 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
    payload = msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row]))
    bad = poison(streams.Frame(segment=name, start=300, header=header, payload=payload))
    put(broker, TOPIC, *bad, None)
    spooled(home, ["b"], instance="another")
    forward(home, broker)

    assert 2 == consume(home, broker)

    assert ["a", "b"] == rows(home)
    reasons = [*bad.values(), "header"]
    done = counted(home)
    assert dict(collections.Counter(reasons)) == done.damage
    assert len(reasons) == done.counts["damaged_places"]
    dead = taken(broker, f"{TOPIC}.dlq")
    assert reasons == [headers["reason"] for _, headers in dead]
    assert [*bad, b""] == [value or b"" for value, _ in dead]
    assert {(TOPIC, "0")} == {(headers["topic"], headers["partition"]) for _, headers in dead}
    assert list(range(1, len(reasons) + 1)) == [int(headers["offset"]) for _, headers in dead]
    assert 0 == consume(home, broker)
    assert done == counted(home)


def test_a_broker_that_is_not_there_is_an_error_with_a_remedy_and_nothing_is_lost(tmp_path, home) -> None:
    broker = broker_lab.Broker(tmp_path / "broker.log")
    spooled(home, ["a"])

    for moving in (forward, consume):
        with pytest.raises(errors.UnavailableError) as raised:
            moving(home, broker)
        assert errors.Code.STREAM_UNAVAILABLE == raised.value.code
        assert broker.url in raised.value.message
        assert "SOFTLAUNCH_STREAM" in raised.value.remedy

    broker.start()
    try:
        assert (1, 1) == (forward(home, broker), consume(home, broker))
    finally:
        broker.stop()


def test_from_spool_to_stream_and_back_nothing_is_lost_and_nothing_twice(broker, home) -> None:
    direct = functools.partial(prediction_log.ship, home, settings.read({}), once=True, going_on=lambda: True)
    spooled(home, ["a"])
    assert 1 == direct()
    spooled(home, ["b"], instance="second")
    assert (1, 1) == (forward(home, broker), consume(home, broker))
    spooled(home, ["c"], instance="third")
    assert 1 == direct()
    spooled(home, ["d"], instance="fourth")
    assert (1, 1) == (forward(home, broker), consume(home, broker))

    assert ["a", "b", "c", "d"] == rows(home)
    assert (0, 0) == (direct(), forward(home, broker))


def test_two_consumers_share_the_parts_and_each_record_is_there_once(broker, home) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.servers})
    admin.create_topics([confluent_kafka.admin.NewTopic(TOPIC, num_partitions=4)])[TOPIC].result()
    names = [f"n{number:02d}" for number in range(40)]
    for number, name in enumerate(names):
        spooled(home, [name], instance=f"i{number}")
    forward(home, broker)
    with stream.parts_of(home, found(broker.url), 2) as first, stream.parts_of(home, found(broker.url), None) as second:
        taken_first, taken_second = first.places(), second.places()
        assert (2, 2) == (len(taken_first), len(taken_second))
        assert not set(taken_first) & set(taken_second)
        movers = [
            prediction_log.shipper_of(home, found(broker.url), each, failures=outages.Outages(), accounts=False)
            for each in (first, second)
        ]
        while not (first.at_end and second.at_end):
            for mover in movers:
                mover.turn(time.time(), drain=True)

    assert 0 == consume(home, broker)
    assert names == rows(home)
    assert 4 == len(delta.DeltaLake(home.log).state(SERVICE).progress)


def test_what_was_deleted_for_room_before_it_was_sent_is_counted_in_the_log(broker, home) -> None:
    kept = spooled(home, ["a"])
    lost = spooled(home, ["b"], instance="second")
    forwarder = stream.forwarder_of(home, found(broker.url))
    assert 2 == forwarder.turn(time.time())
    with lost.open("ab") as file:
        file.write(b"x" * 100)
    forwarder.turn(time.time())
    lost.unlink()
    forwarder.turn(time.time())
    consume(home, broker)
    spooled(home, ["c"], instance="third")
    forwarder.turn(time.time())
    assert 1 == consume(home, broker)

    assert 100 == counted(home).counts["lost_bytes"]
    forwarder.turn(time.time() + streams.GONE_SECONDS + 1)
    spooled(home, ["d"], instance="fourth")
    forwarder.turn(time.time())
    consume(home, broker)
    assert lost.name not in counted(home).offsets
    assert kept.name in counted(home).offsets


def test_a_topic_that_was_made_again_is_read_from_its_beginning(tmp_path, home) -> None:
    with broker_lab.running(tmp_path) as broker:
        spooled(home, ["a", "b", "c"])
        assert (3, 3) == (forward(home, broker), consume(home, broker))
        broker.stop()
        broker.start()
        spooled(home, ["d"], instance="second")

        assert (1, 1) == (forward(home, broker), consume(home, broker))

    assert ["a", "b", "c", "d"] == rows(home)


@pytest.mark.slow
def test_while_the_broker_is_frozen_the_spool_waits_and_everything_arrives_later(broker, home) -> None:
    spooled(home, ["a"])
    forward(home, broker)
    with broker.frozen():
        spooled(home, [f"b{number:03d}" for number in range(200)], instance="second")
        with pytest.raises(errors.UnavailableError):
            forward(home, broker)
    forward(home, broker)

    consume(home, broker)
    assert ["a", *(f"b{number:03d}" for number in range(200))] == rows(home)

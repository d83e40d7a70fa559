"""What a broker in memory cannot be brought to: messages it has deleted, refusals, going away and coming back."""

from __future__ import annotations

import datetime
import pathlib
import tempfile

import confluent_kafka
import hypothesis
import msgspec
import pytest
import structlog
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.adapters.lake import delta
from softlaunch.adapters.streams import parts
from softlaunch.controller.prediction_log import joining, shipping
from softlaunch.core import release, spool
from softlaunch.core.prediction_log import stream
from softlaunch.ports import gateway
from softlaunch.ports import segments as port
from softlaunch.testing import streams as memory

KINDS = confluent_kafka.KafkaError
HEADER = spool.Header(
    service="pricing", environment="production", release="0" * 12, instance="i", opened_at=1e9, seed=77
)
SOURCE = "production@softlaunch.pricing.production/0"
KEY = "softlaunch.pricing.production/0#id"
FIRST = len(spool.dump_header(HEADER))


class Message:
    def __init__(self, *, offset: int = 0, value: bytes | None = None, error: int | None = None) -> None:
        self._offset, self._value, self._error = offset, value, error

    def error(self):
        return None if self._error is None else confluent_kafka.KafkaError(self._error)

    def offset(self) -> int:
        return self._offset

    def value(self):
        return self._value


def group(offset: int, name: str, start: int = FIRST) -> Message:
    row = [name, 1e9, 0, "/predict", "", b"{}", 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
    payload = msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row]))
    segment = spool.segment_name(HEADER, offset)
    return Message(
        offset=offset,
        value=stream.dump(stream.Frame(segment=segment, start=start, header=HEADER, payload=payload)),
    )


END = Message(error=KINDS._PARTITION_EOF)


class Consumer:
    """Gives what its cluster has for it: after each `assign` the next list of messages."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._left: list[Message] = []

    def assign(self, places) -> None:
        self._cluster.assigned.append(places[0].offset)
        self._left = list(self._cluster.answers.pop(0))

    def poll(self, _seconds):
        return self._left.pop(0) if self._left else None

    def consume(self, count, _seconds):
        found, self._left = self._left[:count], self._left[count:]
        return found

    def close(self) -> None:
        self._cluster.closed += 1


class Cluster:
    """An adapters.streams.broker.Broker."""

    kafka = confluent_kafka
    url = "kafka://here:1/softlaunch"

    def __init__(self, *answers: list[Message], partitions: int = 1) -> None:
        self.answers = list(answers)
        self.assigned: list[int] = []
        self.closed = 0
        self.is_down = False
        self.partitions = partitions

    def client(self, _kind, _more):
        return Consumer(self)

    def topics(self):
        if self.is_down:
            raise errors.UnavailableError("It is away.", remedy="Wait.", code=errors.Code.STREAM_UNAVAILABLE)
        return {("pricing", "production"): ("softlaunch.pricing.production", "id", list(range(self.partitions)))}


@pytest.fixture
def now(monkeypatch):
    """Moved on by hand: topics are listed every five seconds."""
    moment = [1_000.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: moment[0])
    return moment


def reading(cluster: Cluster, held: dict | None = None, **more) -> parts.KafkaSegments:
    leases = memory.MemoryLeases({} if held is None else held)
    found = parts.KafkaSegments(cluster, leases, None, **more)
    found.places()
    return found


def names(groups: port.Groups) -> list[str]:
    return [row[0] for _, each in groups.groups for row in each.rows]


def test_what_was_deleted_before_it_was_read_is_told_and_reading_goes_on_with_the_first_there_is() -> None:
    cluster = Cluster([Message(error=KINDS._AUTO_OFFSET_RESET)], [group(90, "a"), group(91, "b"), END])
    found = reading(cluster)

    groups = found.read("pricing", SOURCE, {KEY: 7}, record_count_max=100)

    assert ["a", "b"] == names(groups)
    assert [(port.Reason.EXPIRED, 7, 0)] == [(each.reason, each.offset, each.byte_count) for each in groups.damaged]
    assert [7, confluent_kafka.OFFSET_BEGINNING] == cluster.assigned
    assert 92 == groups.offsets[KEY]
    assert found.at_end


def test_the_place_in_a_topic_that_is_no_more_is_forgotten() -> None:
    cluster = Cluster([group(0, "a"), END])

    groups = reading(cluster).read("pricing", SOURCE, {KEY.replace("id", "other"): 7}, record_count_max=100)

    assert [confluent_kafka.OFFSET_BEGINNING] == cluster.assigned
    assert {KEY} == {name for name in groups.offsets if "#" in name}


def test_what_the_broker_refuses_is_told_once_and_again_after_it_went_well() -> None:
    refusals = [Message(error=KINDS.TOPIC_AUTHORIZATION_FAILED)] * 3
    cluster = Cluster([*refusals, group(0, "a"), END, *refusals])
    found = reading(cluster)

    with structlog.testing.capture_logs() as told:
        groups = found.read("pricing", SOURCE, {}, record_count_max=100)
        found.read("pricing", SOURCE, groups.offsets, record_count_max=100)

    assert ["stream_part_unreadable"] * 2 == [line["event"] for line in told]
    assert ["a"] == names(groups)


def test_a_cluster_that_goes_away_is_told_once_and_what_was_read_is_still_moved(now) -> None:
    cluster = Cluster([group(0, "a"), END])
    found = reading(cluster)
    found.read("pricing", SOURCE, {}, record_count_max=100)
    cluster.is_down = True
    with structlog.testing.capture_logs() as told:
        for _ in range(3):
            now[0] += 6.0
            assert [("pricing", SOURCE)] == found.places()
        assert not found.at_end
        cluster.is_down = False
        now[0] += 6.0
        found.places()

    assert ["stream_unavailable", "stream_available"] == [line["event"] for line in told]
    assert found.at_end


def test_a_cluster_that_never_answered_is_an_error() -> None:
    cluster = Cluster()
    cluster.is_down = True

    with pytest.raises(errors.UnavailableError):
        reading(cluster)


def test_no_more_parts_are_taken_than_may_be_and_another_gets_the_rest_when_one_ends(now) -> None:
    held: dict[str, object] = {}
    cluster = Cluster(partitions=3)
    first, second = reading(cluster, held, part_count_max=2), reading(cluster, held)
    assert (2, 1) == (len(first.places()), len(second.places()))

    first.close()
    now[0] += 6.0

    assert 3 == len(second.places())


def test_a_part_that_is_no_more_is_left(now) -> None:
    held: dict[str, object] = {}
    cluster = Cluster([group(0, "a"), END], partitions=2)
    found = reading(cluster, held)
    found.read("pricing", SOURCE.replace("/0", "/1"), {}, record_count_max=100)
    cluster.partitions = 1
    now[0] += 6.0

    assert [("pricing", SOURCE)] == found.places()
    assert ({"softlaunch.pricing.production/0"}, 1) == (set(held), cluster.closed)


SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="x", datatype=release.Datatype.FP64),
        release.Column(name="n", datatype=release.Datatype.INT64, nullable=True),
        release.Column(name="s", datatype=release.Datatype.BYTES, nullable=True),
    ),
    outputs=(release.Column(name="label", datatype=release.Datatype.INT64),),
)
CONTENT = release.ReleaseContent(
    service="pricing", runtime=release.Runtime.PYTHON, model_file=None, python_target=None, signature=SIGNATURE,
    lock_file=None, profile_file=None, smoke_file=None,
)  # fmt: skip
GOOD = [
    "r1", 1e9, 0, "/predict", "", b'{"x":1}', 200, b'{"prediction":{"label":1}}', 5, 4, "u1", 1, "", 0,
    {"k": ["a"]}, {"s": [["b", "how"]]},
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.datetimes(timezones=st.just(datetime.UTC)),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
COLUMNS = st.dictionaries(st.sampled_from(["k", "x", "n", "s"]), st.lists(ANYTHING, max_size=3), max_size=3)


class Silent:
    """A gateway that has said nothing."""

    def read(self, cursor, *, line_count_max):
        return gateway.LogBatch(attempts=(), cursor=cursor)

    def hold(self, cursor) -> None:
        pass

    def held(self):
        return None


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.dictionaries(st.integers(0, 15), ANYTHING | COLUMNS, max_size=3), st.integers(0, 17), st.floats())
def test_whatever_values_somebody_puts_into_a_group_the_log_goes_on(changes, length, offset) -> None:
    row = [changes.get(place, value) for place, value in enumerate(GOOD)][:length]
    payload = msgspec.msgpack.encode([offset if 0 in changes else 0.0, 1, 0, [row]])
    odd = Message(
        offset=0,
        value=stream.dump(
            stream.Frame(segment=spool.segment_name(HEADER, 9), start=FIRST, header=HEADER, payload=payload)
        ),
    )
    buried: list[str] = []

    class Outlet:
        def bury(self, _topic, letters) -> None:
            buried.extend(reason for _, reason in letters)

    source = parts.KafkaSegments(Cluster([odd, group(1, "good"), END]), memory.MemoryLeases({}), Outlet())
    with tempfile.TemporaryDirectory() as folder:
        lake = delta.DeltaLake(pathlib.Path(folder))
        moving = shipping.Shipper(
            segments=source, lake=lake, attempts=joining.Attempts(Silent()), content=lambda *_: CONTENT
        )

        moving.turn(3e11, drain=True)

        done = lake.state("pricing").progress[SOURCE]
    assert 2 == done.counts["records"] + done.counts["damaged_places"]
    assert done.damage == ({"content": 1} if buried else {})

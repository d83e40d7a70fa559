"""
A stream as the shipper reads it: partitions of Kafka topics, from the place that the table tells.

Kafka is asked for no place of its own: `assign()` begins where the log's last commit has ended, so rows and place agree
whatever was killed. The place of a part is kept under `TOPIC/PARTITION#ID`; a topic that was deleted and made again has
another id, and is read from its beginning. Beside it stand the places in the spool's segments up to which messages
came: what is before them came twice, and is left out (see core.prediction_log.stream).

Who reads a part has its lease. That saves work, it is not what keeps rows from being doubled: of two who read the same
part the table takes the first one's commit and leaves the second's out.

A message that cannot be used goes to `TOPIC.dlq` before anything after it is in the log, and is counted in the commit.
"""

from __future__ import annotations

import collections
import time
from typing import Any

import msgspec
import structlog

from softlaunch import errors
from softlaunch.adapters.streams import broker as brokers
from softlaunch.adapters.streams import outlet as outlets
from softlaunch.core import spool
from softlaunch.core.prediction_log import stream
from softlaunch.ports import segments as port
from softlaunch.ports import stream as stream_port

LOG = structlog.get_logger()
_LIST_SECONDS = 5.0
"""Topics that are new are seen so late."""
_QUIET_SECONDS = 1.0
"""Waited for what is known, or not known not, to be there."""
_MESSAGES = 200
_END_SECONDS = 10.0
_RECORD = msgspec.msgpack.Decoder(spool.Record)
_GROUP = msgspec.msgpack.Decoder(spool.Group)
_CONSUMER = {
    "group.id": "softlaunch",  # the library wants one; there is no group
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "queued.max.messages.kbytes": 16_384,
    "fetch.message.max.bytes": brokers.MESSAGE_BYTES_MAX,
}


class KafkaSegments:
    """
    A ports.segments.Segments; its places are parts of topics of which this process has the lease.

    Args:
        broker: The cluster.
        leases: Of parts.
        outlet: Where what cannot be used goes.
        part_count_max: No more parts are taken.
    """

    def __init__(
        self,
        broker: brokers.Broker,
        leases: stream_port.Leases,
        outlet: outlets.KafkaOutlet,
        *,
        part_count_max: int | None = None,
    ) -> None:
        self._broker = broker
        self._leases = leases
        self._outlet = outlet
        self._part_count_max = part_count_max
        self._parts: dict[tuple[str, str], _Part] = {}
        self._list_at = 0.0
        self._is_down = False

    def places(self) -> list[tuple[str, str]]:
        """
        See ports.segments.Segments.places.

        Raises:
            UnavailableError: the cluster does not answer, and never did.
        """
        if time.monotonic() >= self._list_at:
            try:
                self._list()
            except errors.UnavailableError as error:
                if not self._parts:
                    raise
                if not self._is_down:
                    LOG.warning("stream_unavailable", detail=str(error))
                self._is_down = True
            else:
                if self._is_down:
                    LOG.info("stream_available", stream=self._broker.url)
                self._is_down = False
            self._list_at = time.monotonic() + _LIST_SECONDS
        return sorted(self._parts)

    @property
    def at_end(self) -> bool:
        """Of all parts everything was read that was there."""
        return not self._is_down and all(part.at_end for part in self._parts.values())

    def read(self, service: str, source: str, offsets: dict[str, int], *, record_count_max: int) -> port.Groups:
        """See ports.segments.Segments.read."""
        part = self._parts[service, source]
        found = _Found(part, service, port.environment_of(source), offsets)
        part.go_to(offsets.get(part.key))
        quiet_until = time.monotonic() + _QUIET_SECONDS
        while found.record_count < record_count_max:
            message = part.next(0.0 if part.at_end else max(0.0, quiet_until - time.monotonic()))
            if message is None:
                break
            if (error := message.error()) is None:
                found.take(message)
                part.position = message.offset() + 1
                quiet_until = time.monotonic() + _QUIET_SECONDS
            elif error.code() == self._broker.kafka.KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its name
                found.expired()
                part.go_to(None)
        if found.dead:
            try:
                self._outlet.bury(part.topic, found.dead)
            except errors.UnavailableError:
                part.is_placed = False
                raise
        return found.groups()

    def waiting(self, service: str, source: str, offsets: dict[str, int]) -> port.Waiting:
        """
        See ports.segments.Segments.waiting.

        Raises:
            UnavailableError: the cluster does not answer.
        """
        found = self._broker.topics().get((service, port.environment_of(source)))
        if found is None:
            return port.Waiting(segment_count=0, byte_count=0)
        part = _Part(self._broker, found[0], found[1], int(source.rpartition("/")[2]))
        part.go_to(offsets.get(part.key))
        try:
            return port.Waiting(segment_count=0, byte_count=0, message_count=part.behind(_END_SECONDS))
        finally:
            part.close()

    def close(self) -> None:
        for part in self._parts.values():
            part.close()
            self._leases.drop(part.name)
        self._parts.clear()

    def _list(self) -> None:
        there: dict[tuple[str, str], tuple[str, str, int]] = {}
        for (service, environment), (topic, topic_id, numbers) in self._broker.topics().items():
            for number in numbers:
                there[service, f"{environment}@{topic}/{number}"] = (topic, topic_id, number)
        for place in [place for place, part in self._parts.items() if there.get(place) != part.names]:
            part = self._parts.pop(place)
            part.close()
            self._leases.drop(part.name)
        for place, names in there.items():
            part = self._parts.get(place) or _Part(self._broker, *names)
            is_room = self._part_count_max is None or len(self._parts) < self._part_count_max
            if (place in self._parts or is_room) and self._leases.take(part.name):
                self._parts[place] = part
            elif self._parts.pop(place, None) is not None:
                part.close()


class _Part:
    """One partition, and the consumer that reads it: made when it is first read."""

    def __init__(self, broker: brokers.Broker, topic: str, topic_id: str, number: int) -> None:
        self._broker = broker
        self._consumer: Any = None
        self._ahead: collections.deque[Any] = collections.deque()
        self.topic = topic
        self.number = number
        self.names = (topic, topic_id, number)
        self.name = f"{topic}/{number}"
        self.key = f"{self.name}#{topic_id}"
        self.position: int | None = None
        """Of the message that `next` will give; None: the first there is."""
        self.is_placed = False
        """`position` is true."""
        self.at_end = False
        self._failure: Any = None
        """Code of the error told last."""

    def go_to(self, offset: int | None) -> None:
        """The next message is that one, or the first there is."""
        if self._consumer is None:
            self._consumer = self._broker.client(self._broker.kafka.Consumer, _CONSUMER)
        elif self.is_placed and offset == self.position:
            return
        kafka = self._broker.kafka
        first = kafka.OFFSET_BEGINNING if offset is None else offset
        self._ahead.clear()
        self._consumer.assign([kafka.TopicPartition(self.topic, self.number, first)])
        self.position, self.is_placed, self.at_end = offset, True, False

    def next(self, timeout_seconds: float) -> Any:
        """The next message or error; None when none comes."""
        if not self._ahead:
            first = self._consumer.poll(timeout_seconds)  # `consume` would wait until there are as many as it may give
            if first is not None:
                self._ahead.append(first)
                self._ahead.extend(self._consumer.consume(_MESSAGES, 0.0))
        while self._ahead:
            message = self._ahead.popleft()
            error = message.error()
            if error is None or error.code() == self._broker.kafka.KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                self.at_end, self._failure = False, None
                return message
            if error.code() == self._broker.kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001
                self.at_end, self._failure = not self._ahead, None
            elif error.code() != self._failure:  # the library tries again by itself, and says so again and again
                self._failure = error.code()
                LOG.warning("stream_part_unreadable", part=self.name, detail=error.str())
        return None

    def behind(self, timeout_seconds: float) -> int:
        """Messages from here to the end."""
        deadline = time.monotonic() + timeout_seconds
        message = None
        while message is None and not self.at_end and time.monotonic() < deadline:
            message = self.next(0.1)
        if message is None and not self.at_end:
            raise self._broker.unavailable(self._broker.kafka.KafkaError(self._broker.kafka.KafkaError._TIMED_OUT))  # noqa: SLF001
        if message is None or message.error() is not None:
            return 0
        part = self._broker.kafka.TopicPartition(self.topic, self.number)
        _, end = self._consumer.get_watermark_offsets(part, cached=True)  # as the last answer told: no question
        return max(1, int(end) - int(message.offset()))

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class _Found:
    """What messages say, one after the other."""

    def __init__(self, part: _Part, service: str, environment: str, offsets: dict[str, int]) -> None:
        self._part = part
        self._place = (service, environment)
        # What stands under another id is of a topic that is no more.
        self._offsets = {name: at for name, at in offsets.items() if "#" not in name or name == part.key}
        self._groups: list[tuple[spool.Header, spool.Group]] = []
        self._damaged: list[port.Damage] = []
        self._lost_bytes = self._duplicate_count = 0
        self.dead: list[tuple[Any, str]] = []
        self.record_count = 0

    def take(self, message: Any) -> None:
        self._offsets[self._part.key] = message.offset() + 1
        try:
            self._take(stream.load(message.value() or b""))
        except stream.UnfitError as unfit:
            flaw = unfit.flaw.value
        except (msgspec.MsgspecError, UnicodeError):
            flaw = stream.Flaw.CONTENT.value
        else:
            return
        self.dead.append((message, flaw))
        self._damaged.append(
            port.Damage(
                segment=self._part.name,
                offset=message.offset(),
                byte_count=len(message.value() or b""),
                reason=port.Reason(flaw),
            )
        )

    def expired(self) -> None:
        """What was wanted next is not there any more."""
        offset = self._offsets.pop(self._part.key, 0)
        self._damaged.append(
            port.Damage(segment=self._part.name, offset=offset, byte_count=0, reason=port.Reason.EXPIRED)
        )

    def groups(self) -> port.Groups:
        return port.Groups(
            groups=tuple(self._groups),
            record_count=self.record_count,
            offsets=self._offsets,
            damaged=tuple(self._damaged),
            lost_bytes=self._lost_bytes,
            duplicate_count=self._duplicate_count,
        )

    def _take(self, found: stream.Message) -> None:
        if isinstance(found, stream.Gone):
            stream.forget(self._offsets, found)
            return
        if isinstance(found, stream.Frame) and (found.header.service, found.header.environment) != self._place:
            raise stream.UnfitError(stream.Flaw.CONTENT)
        if not stream.accept(self._offsets, found):
            self._duplicate_count += 1
            return
        if isinstance(found, stream.Hole):
            if found.reason == stream.LOST:
                self._lost_bytes += found.end - found.start
            else:
                known = found.reason in set(port.Reason)
                reason = port.Reason(found.reason) if known else port.Reason.CONTENT
                self._damaged.append(
                    port.Damage(
                        segment=found.segment, offset=found.start, byte_count=found.end - found.start, reason=reason
                    )
                )
            return
        if found.header.version == spool.VERSION_OF_RECORDS:
            group = spool.group_of(_RECORD.decode(found.payload))
        else:
            group = _GROUP.decode(found.payload)
        if not spool.is_sound(group):
            raise stream.UnfitError(stream.Flaw.CONTENT)
        self._groups.append((found.header, group))
        self.record_count += len(group.rows)

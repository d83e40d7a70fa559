"""What is put on a Kafka topic: messages of the forwarder, and those that nobody can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from softlaunch.adapters.streams import broker as brokers
from softlaunch.core import spool
from softlaunch.core.prediction_log import stream
from softlaunch.ports import stream as port

DELIVERY_SECONDS = 10.0
"""For the brokers' word on a message; then it is sent again, from the place that was saved."""
_GRACE_SECONDS = 2.0
_FULL_SECONDS = 0.1


class KafkaOutlet:
    """
    A ports.stream.Outlet.

    Args:
        broker: The cluster.
        delivery_seconds: See DELIVERY_SECONDS.
    """

    def __init__(self, broker: brokers.Broker, *, delivery_seconds: float = DELIVERY_SECONDS) -> None:
        self._broker = broker
        self._delivery_seconds = delivery_seconds
        self._producer: Any = None

    def send(self, service: str, environment: str, messages: Sequence[stream.Message]) -> None:
        """See ports.stream.Outlet.send."""
        made = [
            {"value": stream.dump(message), "key": spool.writer_of(message.segment).encode()} for message in messages
        ]
        self._deliver(self._broker.topic(service, environment), made)

    def bury(self, topic: str, letters: Sequence[tuple[Any, str]]) -> None:
        """
        Puts messages that cannot be read on the topic of such, each with why.

        Raises:
            UnavailableError: they may not be there; the same ones may be buried again.
        """
        at = str(time.time())
        made = [
            {
                "value": letter.value(),
                "key": letter.key(),
                "headers": {
                    "reason": reason,
                    "topic": letter.topic(),
                    "partition": str(letter.partition()),
                    "offset": str(letter.offset()),
                    "at": at,
                },
            }
            for letter, reason in letters
        ]
        self._deliver(f"{topic}.{brokers.DEAD}", made)

    def _deliver(self, topic: str, messages: Sequence[dict[str, Any]]) -> None:
        self._broker.make(topic)
        if self._producer is None:
            self._producer = self._broker.producer(self._delivery_seconds)
        kafka, producer = self._broker.kafka, self._producer
        failed: list[Any] = []

        def told(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error)

        for message in messages:
            try:
                _produce(producer, topic, message, told)
            except kafka.KafkaException as error:
                failed.append(error.args[0])
                break
        left = producer.flush(self._delivery_seconds + _GRACE_SECONDS)
        if not left and not failed:
            return
        # Nobody knows what of it has arrived. Another producer begins anew; what comes twice is left out when read.
        self._broker.forget(topic)
        producer.purge()
        self._producer = None
        if failed and all(error.code() == kafka.KafkaError.MSG_SIZE_TOO_LARGE for error in failed):
            raise port.TooLargeError
        unclear = failed[0] if failed else kafka.KafkaError(kafka.KafkaError._TIMED_OUT)  # noqa: SLF001 - its name
        raise self._broker.unavailable(unclear)


def _produce(producer: Any, topic: str, message: dict[str, Any], told: Callable[[Any, Any], None]) -> None:
    while True:
        try:
            producer.produce(topic, on_delivery=told, **message)
        except BufferError:  # its queue is full
            producer.poll(_FULL_SECONDS)
        else:
            return

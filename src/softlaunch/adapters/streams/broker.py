"""
What every client of a Kafka cluster needs: its configuration, topics by our names, and errors of ours.

confluent-kafka is an extra: it is imported when a stream is opened. Nothing of librdkafka's own log is printed; what it
has to say of a neighbour comes back in `UnavailableError`, once for each failure.

Tried with confluent-kafka 2.16 and not used: questions for watermarks (tansu tells the beginning of the last batch for
the end), consumer groups (a group hands a partition over without a word to the table).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch import errors

MESSAGE_BYTES_MAX = 6 * 2**20
"""Topics that are made here take messages so long: a frame of the spool has 4 MiB at most."""
DEAD = "dlq"
_ANSWER_SECONDS = 5.0
_OURS = ("bootstrap.servers", "acks", "enable.idempotence", "group.id", "enable.auto.commit", "enable.partition.eof")


class Broker:
    """
    A cluster, and the topics of one prefix in it. Not connected before something is asked.

    Args:
        servers: HOST:PORT, several with commas.
        prefix: What names of topics begin with.
        options: Further properties of librdkafka: how to sign in, certificates.

    Raises:
        ConfigError: confluent-kafka is not installed, or an option is none.
    """

    def __init__(self, servers: str, prefix: str, options: Mapping[str, str] | None = None) -> None:
        self.url = f"kafka://{servers}/{prefix}"
        self._prefix = prefix
        self._said = ""
        wrong = sorted(set(options or ()) & set(_OURS))
        if wrong:
            raise errors.ConfigError(
                f"{', '.join(wrong)} cannot be chosen: that nothing is lost depends on it.",
                remedy="Take it out of the file that SOFTLAUNCH_STREAM_OPTIONS names.",
                code=errors.Code.STREAM_OPTIONS,
            )
        self._configuration = {
            "bootstrap.servers": servers,
            "client.id": "softlaunch",
            "log_level": 0,
            "error_cb": self._told,
            **(options or {}),
        }
        self.kafka = library()
        self._admin = self.client(self.kafka.admin.AdminClient, {})
        self._made: set[str] = set()

    def client(self, kind: Any, more: Mapping[str, Any]) -> Any:
        """A client of the library for this cluster."""
        try:
            return kind({**self._configuration, **more})
        except self.kafka.KafkaException as error:
            raise errors.ConfigError(
                f"The stream {self.url} cannot be opened: {error.args[0].str()}",
                remedy="Correct the file that SOFTLAUNCH_STREAM_OPTIONS names; it has librdkafka's properties.",
                code=errors.Code.STREAM_OPTIONS,
            ) from error

    def topic(self, service: str, environment: str) -> str:
        """Where the predictions of a service in an environment go."""
        return f"{self._prefix}.{service}.{environment}"

    def topics(self) -> dict[tuple[str, str], tuple[str, str, list[int]]]:
        """
        By service and environment: the topic, its id ("" when the cluster gives none), and its partitions.

        Raises:
            UnavailableError: the cluster does not answer.
        """
        # Names of services and environments have no dots: `PREFIX.SERVICE.ENVIRONMENT` is read in one way only.
        name = re.compile(rf"{re.escape(self._prefix)}\.([a-z0-9-]+)\.([a-z0-9-]+)")
        found = {}
        listed = self._listed()
        for topic in sorted(listed):
            if match := name.fullmatch(topic):
                found[match[1], match[2]] = topic
        ids = self._ids(sorted(found.values()))
        return {place: (topic, ids.get(topic, ""), sorted(listed[topic].partitions)) for place, topic in found.items()}

    def make(self, topic: str) -> None:
        """
        Makes the topic if there is none: one partition, and as many copies as the cluster makes by default.

        Raises:
            UnavailableError: the cluster does not answer, or allows it not.
        """
        if topic in self._made:
            return
        if topic not in self._listed():
            new = self.kafka.admin.NewTopic(topic, num_partitions=1, config={"max.message.bytes": MESSAGE_BYTES_MAX})
            try:
                self._admin.create_topics([new], request_timeout=_ANSWER_SECONDS)[topic].result()
            except self.kafka.KafkaException as error:
                if error.args[0].code() != self.kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self.unavailable(error.args[0]) from error
        self._made.add(topic)

    def forget(self, topic: str) -> None:
        """`make` looks again: it may have been deleted."""
        self._made.discard(topic)

    def unavailable(self, error: Any) -> errors.UnavailableError:
        """Of an error of the library."""
        said = self._said if error.code() in self._unclear() and self._said else error.str()
        return errors.UnavailableError(
            f"The stream {self.url} cannot be used: {said.strip().rstrip('.')}.",
            remedy="Check that the broker runs and that SOFTLAUNCH_STREAM names it. "
            "Serving is not touched: what is recorded waits in the spool, and goes on by itself.",
            code=errors.Code.STREAM_UNAVAILABLE,
        )

    def producer(self, delivery_seconds: float) -> Any:
        """A producer that neither doubles nor turns round what it repeats by itself."""
        options = {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": 900_000,  # below what brokers take by default
            "compression.type": "zstd",
            "compression.level": 1,
            "message.max.bytes": MESSAGE_BYTES_MAX,
            "partitioner": "murmur2_random",  # as Java's clients: a segment's messages are in one partition
            "delivery.timeout.ms": round(delivery_seconds * 1e3),
        }
        return self.client(self.kafka.Producer, options)

    def _listed(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._admin.list_topics(timeout=_ANSWER_SECONDS).topics
        except self.kafka.KafkaException as error:
            raise self.unavailable(error.args[0]) from error
        self._said = ""
        return found

    def _ids(self, topics: Sequence[str]) -> dict[str, str]:
        if not topics:
            return {}
        asked = self._admin.describe_topics(self.kafka.TopicCollection(list(topics)), request_timeout=_ANSWER_SECONDS)
        found = {}
        for topic, told in asked.items():
            try:
                found[topic] = str(told.result().topic_id)
            except self.kafka.KafkaException as error:
                raise self.unavailable(error.args[0]) from error
        return found

    def _told(self, error: Any) -> None:
        self._said = error.str()

    def _unclear(self) -> tuple[int, ...]:
        kinds = self.kafka.KafkaError
        return kinds._TRANSPORT, kinds._TIMED_OUT, kinds._MSG_TIMED_OUT, kinds._ALL_BROKERS_DOWN  # noqa: SLF001 - their names


def library() -> Any:
    """
    The module confluent_kafka, with its admin.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra
        import confluent_kafka.admin  # noqa: PLC0415
    except ImportError as error:
        raise errors.ConfigError(
            "SOFTLAUNCH_STREAM names a Kafka cluster, and this softlaunch was installed without what speaks to one.",
            remedy="Install softlaunch[kafka].",
            code=errors.Code.NO_KAFKA,
        ) from error
    return confluent_kafka

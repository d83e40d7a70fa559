"""Predictions through Kafka: who puts them on the stream, and who takes them from it into the log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import structlog

from softlaunch import errors
from softlaunch.adapters.lake import delta
from softlaunch.adapters.local import leases
from softlaunch.adapters.spool import forwarded, tail
from softlaunch.adapters.streams import outlet, parts
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller.prediction_log import forwarding, outages
from softlaunch.wiring import labels as labelling
from softlaunch.wiring import log_keeping, log_lock, log_outages, log_place, prediction_log, stream_broker

LOG = structlog.get_logger()
_TURN_SECONDS = 0.25
_AGAIN_SECONDS = 2.0
_AGAIN_SECONDS_MAX = 30.0
_END_SECONDS = 60.0
"""For everything that was on the stream when it was asked to be moved once; counted anew with every row."""


def forward(home: homes.Home, settings: setting.Settings, *, once: bool, going_on: Callable[[], bool]) -> int:
    """
    Puts recorded predictions on the stream; groups that it took.

    Args:
        home: Whose.
        settings: SOFTLAUNCH_STREAM and what belongs to it.
        once: Until nothing waits; otherwise for as long as `going_on`, whatever becomes of the brokers.
        going_on: Asked at every turn.

    Raises:
        ConfigError: no stream is set, or its options cannot be used.
        ConflictError: another process does it for this home.
        UnavailableError: with `once`: the brokers do not answer.
    """
    home.prepare()
    with log_lock.alone(home), contextlib.closing(log_outages.Note(home)):
        forwarder = forwarder_of(home, settings)
        taker = labelling.taker(home, every_seconds=settings.log_every_seconds)
        count = 0
        pause = _AGAIN_SECONDS
        while going_on():
            taker.turn(time.time(), drain=once)
            try:
                moved = forwarder.turn(time.time())
            except errors.UnavailableError as error:
                if once:
                    raise
                LOG.warning("stream_not_written", detail=str(error), again_seconds=pause)
                _sleep(pause, going_on)
                pause = min(2 * pause, _AGAIN_SECONDS_MAX)
                continue
            pause = _AGAIN_SECONDS
            count += moved
            if once and not moved:
                break
            if not moved:
                time.sleep(_TURN_SECONDS)
        return count


def consume(
    home: homes.Home,
    settings: setting.Settings,
    *,
    once: bool,
    part_count_max: int | None,
    going_on: Callable[[], bool],
) -> int:
    """
    Moves predictions from the stream into the log; rows moved. Several processes share the parts among them.

    Args:
        home: Whose log, releases and gateway.
        settings: SOFTLAUNCH_STREAM and what belongs to it, SOFTLAUNCH_LOG_EVERY, SOFTLAUNCH_LOG_KEEP.
        once: Until everything was moved that is on the stream; otherwise for as long as `going_on`.
        part_count_max: Partitions that this process takes at most.
        going_on: Asked at every turn.

    Raises:
        ConfigError: no stream is set, or its options cannot be used.
        UnavailableError: with `once`: the brokers do not answer.
    """
    home.prepare()
    with parts_of(home, settings, part_count_max) as found:
        shipper = prediction_log.shipper_of(home, settings, found, failures=outages.Outages(), accounts=False)
        rounds = log_keeping.Rounds(home, settings)
        count = 0
        pause = _AGAIN_SECONDS
        end_at = time.monotonic() + _END_SECONDS
        while going_on():
            try:
                moved = shipper.turn(time.time(), drain=once)
            except errors.UnavailableError as error:
                if once:
                    raise
                LOG.warning("stream_not_read", detail=str(error), again_seconds=pause)
                _sleep(pause, going_on)
                pause = min(2 * pause, _AGAIN_SECONDS_MAX)
                continue
            pause = _AGAIN_SECONDS
            count += moved
            if moved:
                end_at = time.monotonic() + _END_SECONDS
            elif once:
                if found.at_end and not shipper.busy:
                    break
                if time.monotonic() > end_at:
                    raise errors.UnavailableError(
                        f"The end of the stream was not reached: nothing came in {_END_SECONDS:.0f} seconds.",
                        remedy="Check the brokers; what was moved is in the log, and the rest is when this runs again.",
                        code=errors.Code.STREAM_UNAVAILABLE,
                    )
            else:
                rounds.turn()
            if not moved:
                time.sleep(_TURN_SECONDS)
        return count


def forwarder_of(home: homes.Home, settings: setting.Settings) -> forwarding.Forwarder:
    """What puts the home's spool on the stream."""
    return forwarding.Forwarder(
        segments=tail.SegmentTail(home.spool),
        outlet=outlet.KafkaOutlet(stream_broker.broker_of(settings)),
        places=forwarded.ForwardedFiles(home.spool),
        began=_in_the_log(home),
    )


@contextlib.contextmanager
def parts_of(home: homes.Home, settings: setting.Settings, part_count_max: int | None) -> Iterator[parts.KafkaSegments]:
    """The stream, as far as this process has leases."""
    cluster = stream_broker.broker_of(settings)
    found = parts.KafkaSegments(
        cluster,
        leases.FileLeases(home.log / "leases"),
        outlet.KafkaOutlet(cluster),
        part_count_max=part_count_max,
    )
    with contextlib.closing(found):
        yield found


def behind(home: homes.Home, settings: setting.Settings) -> prediction_log.Behind:
    """Tells how many messages wait in a part; None when the brokers do not answer."""
    cluster = stream_broker.broker_of(settings)
    found = parts.KafkaSegments(cluster, leases.FileLeases(home.log / "leases"), outlet.KafkaOutlet(cluster))
    is_down = False

    def count(service: str, source: str, offsets: dict[str, int]) -> int | None:
        nonlocal is_down
        if is_down:
            return None
        try:
            return found.waiting(service, source, offsets).message_count
        except errors.UnavailableError:
            is_down = True
            return None

    return count


def _in_the_log(home: homes.Home) -> forwarding.Began:
    lake = delta.DeltaLake(log_place.root(home))

    def began(service: str, environment: str) -> dict[str, int]:
        done = lake.state(service).progress.get(environment)
        return {} if done is None else dict(done.offsets)

    return began


def _sleep(seconds: float, going_on: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while going_on() and time.monotonic() < deadline:
        time.sleep(_TURN_SECONDS)

"""
The forwarder: what model servers spooled is put on a stream as it is, instead of into the log.

    spool segments ──► pieces in their order ──► stream takes all of them ──► place saved beside the spool

The place follows the stream: a forwarder that is killed, or did not hear from the stream, sends again from the place
that was saved. What comes twice is known by its place in the segment to whoever reads (see core.prediction_log.stream),
so nothing is asked of the stream but to keep the order of one sender. While the stream is down the spool waits, within
its budget; serving knows nothing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from softlaunch import errors
from softlaunch.core.prediction_log import stream
from softlaunch.ports import segments
from softlaunch.ports import stream as port

LOG = structlog.get_logger()
ROUND_BYTES = 8 * 2**20
"""Sent before the place is saved: what comes twice after a kill."""
LARGE_BYTES = 900_000
"""Larger messages go alone: by default brokers refuse more than 1 MiB, and say so of all that came with it."""


Began = Callable[[str, str], dict[str, int]]
"""Service and environment to offsets by segment."""


class Forwarder:
    """
    Forwards the spools of one home. Not for several threads; one at a time for a home (wiring holds a lock).

    Args:
        segments: The spool.
        outlet: The stream.
        places: Where it is kept how far it has come.
        began: What the log has of a spool already: it was moved there before there was a stream.
    """

    def __init__(
        self,
        *,
        segments: segments.Raw,
        outlet: port.Outlet,
        places: port.Places,
        began: Began,
    ) -> None:
        self._segments = segments
        self._outlet = outlet
        self._places = places
        self._began = began
        self._known: dict[tuple[str, str], stream.Place] = {}

    def turn(self, now: float) -> int:
        """
        Forwards what is there; the number of frames that were taken.

        Args:
            now: Unix seconds.

        Raises:
            UnavailableError: of the last spool that could not be forwarded; the others were.
        """
        count = 0
        failed: errors.UnavailableError | None = None
        for service, environment in self._segments.places():
            try:
                count += self._forward(service, environment, now)
            except errors.UnavailableError as error:
                self._known.pop((service, environment), None)
                failed = error
        if failed is not None:
            raise failed
        return count

    def _forward(self, service: str, environment: str, now: float) -> int:
        place = self._known.get((service, environment)) or self._first(service, environment)
        found = self._segments.pieces(service, environment, dict(place.offsets), byte_count_max=ROUND_BYTES)
        after, gone = _after(place, found, now)
        for messages in _rounds([*found.pieces, *gone]):
            self._send(service, environment, messages)
        if after != place:
            self._places.save(service, environment, after)
        self._known[service, environment] = after
        for piece in found.pieces:
            if isinstance(piece, stream.Hole):
                LOG.warning("spool_damaged", service=service, environment=environment, **dataclasses.asdict(piece))
        return sum(isinstance(piece, stream.Frame) for piece in found.pieces)

    def _first(self, service: str, environment: str) -> stream.Place:
        saved = self._places.load(service, environment) or stream.Place()
        began = self._began(service, environment)
        offsets = {name: max(saved.offsets.get(name, 0), began.get(name, 0)) for name in {**saved.offsets, **began}}
        return dataclasses.replace(saved, offsets=offsets)

    def _send(self, service: str, environment: str, messages: Sequence[stream.Message]) -> None:
        try:
            self._outlet.send(service, environment, messages)
        except port.TooLargeError:
            for message in messages:
                try:
                    self._outlet.send(service, environment, [message])
                except port.TooLargeError:
                    assert isinstance(message, stream.Frame)
                    refused = stream.Hole(
                        segment=message.segment, start=message.start, end=message.end, reason=segments.Reason.SIZE
                    )
                    LOG.warning(
                        "stream_refused", service=service, environment=environment, **dataclasses.asdict(refused)
                    )
                    self._outlet.send(service, environment, [refused])


def _after(place: stream.Place, found: segments.Pieces, now: float) -> tuple[stream.Place, list[stream.Gone]]:
    """The place behind what was found, and which segments are to be forgotten."""
    gone = {name: place.gone.get(name, now) for name in place.offsets if name not in found.offsets}
    lost = {piece.segment: piece.end for piece in found.pieces if piece.segment not in found.offsets}
    gone = {**dict.fromkeys(lost, now), **gone}
    over = sorted(name for name, since in gone.items() if now - since >= stream.GONE_SECONDS)
    kept = {name: place.offsets[name] for name in gone if name in place.offsets} | lost | found.offsets
    after = stream.Place(
        offsets={name: offset for name, offset in kept.items() if name not in over},
        gone={name: since for name, since in gone.items() if name not in over},
    )
    return after, [stream.Gone(segment=name) for name in over]


def _rounds(messages: Iterable[stream.Message]) -> Iterator[list[stream.Message]]:
    """Messages that may be sent together."""
    small: list[stream.Message] = []
    for message in messages:
        if isinstance(message, stream.Frame) and len(message.payload) > LARGE_BYTES:
            if small:
                yield small
            yield [message]
            small = []
        else:
            small.append(message)
    if small:
        yield small

"""A stream in memory."""

from __future__ import annotations

from collections.abc import Sequence

from softlaunch import errors
from softlaunch.core.prediction_log import stream
from softlaunch.ports import stream as port


class MemoryOutlet:
    """
    A ports.stream.Outlet whose messages tests can look at.

    Args:
        bytes_max: Longer messages are refused.
    """

    def __init__(self, *, bytes_max: int = 6 * 2**20) -> None:
        self.taken: dict[tuple[str, str], list[stream.Message]] = {}
        self.is_down = False
        """It takes what comes, and does not say so."""
        self._bytes_max = bytes_max

    def send(self, service: str, environment: str, messages: Sequence[stream.Message]) -> None:
        """See ports.stream.Outlet.send."""
        taken = self.taken.setdefault((service, environment), [])
        for message in messages:
            if len(stream.dump(message)) > self._bytes_max:
                raise port.TooLargeError
            taken.append(stream.load(stream.dump(message)))
        if self.is_down:
            raise errors.UnavailableError(
                "The stream does not answer.", remedy="Wait.", code=errors.Code.STREAM_UNAVAILABLE
            )


class MemoryPlaces:
    """A ports.stream.Places."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], stream.Place] = {}

    def load(self, service: str, environment: str) -> stream.Place | None:
        """See ports.stream.Places.load."""
        return self._places.get((service, environment))

    def save(self, service: str, environment: str, place: stream.Place) -> None:
        """See ports.stream.Places.save."""
        self._places[service, environment] = place


class MemoryLeases:
    """
    A ports.stream.Leases.

    Args:
        held: By whoever shares this: name to holder.
    """

    def __init__(self, held: dict[str, object]) -> None:
        self._held = held

    def take(self, name: str) -> bool:
        """See ports.stream.Leases.take."""
        return self._held.setdefault(name, self) is self

    def drop(self, name: str) -> None:
        """See ports.stream.Leases.drop."""
        if self._held.get(name) is self:
            del self._held[name]

"""A stream: takes what would otherwise go from the spool straight into the log, and keeps it until it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from softlaunch.core.prediction_log import stream


class TooLargeError(Exception):
    """The stream does not take a message of this length, now or later."""


class Outlet(Protocol):
    def send(self, service: str, environment: str, messages: Sequence[stream.Message]) -> None:
        """
        Returns when the stream has taken all of them, those of a segment in this order.

        Raises:
            UnavailableError: it has not, or it is not known of which. They may be sent again, from any of them on.
            TooLargeError: a message is too large. Of several, which of them were taken is not known.
        """
        ...


class Places(Protocol):
    def load(self, service: str, environment: str) -> stream.Place | None:
        """What was saved last, or None."""
        ...

    def save(self, service: str, environment: str, place: stream.Place) -> None:
        """
        It is found by `load` from now on, whoever is killed.

        Raises:
            UnavailableError: it could not be saved; what was there is there.
        """
        ...


class Leases(Protocol):
    def take(self, name: str) -> bool:
        """This process has it now, until it ends or drops it; False when another one has."""
        ...

    def drop(self, name: str) -> None:
        """Others may take it; nothing happens when it is not held."""
        ...

"""Which airports hold their departures right now, asked of the operations desk (one datagram there, one back)."""

from __future__ import annotations

import os
import socket

TIMEOUT_SECONDS = 1.0


class GroundStops:
    def __init__(self, address: tuple[str, int] | None) -> None:
        self._address = address

    @classmethod
    def from_environment(cls) -> GroundStops:
        """The desk at $GROUND_STOPS (host:port); without it nothing is ever held."""
        place = os.environ.get("GROUND_STOPS", "")
        if not place:
            return cls(None)
        host, _, port = place.rpartition(":")
        return cls((host, int(port)))

    def held(self, airport: str) -> bool:
        """Whether departures are held. No answer means no."""
        if self._address is None:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(TIMEOUT_SECONDS)
            line.sendto(airport.encode(), self._address)
            try:
                answer, _ = line.recvfrom(16)
            except TimeoutError:
                return False
        return answer == b"held"

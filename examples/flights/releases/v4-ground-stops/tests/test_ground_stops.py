from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

import ground_stops


@pytest.fixture
def desk() -> Iterator[str]:
    """An operations desk that holds JFK."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", 0))
        line.settimeout(5.0)

        def answer() -> None:
            airport, asked_by = line.recvfrom(16)
            line.sendto(b"held" if airport == b"JFK" else b"open", asked_by)

        thread = threading.Thread(target=answer)
        thread.start()
        yield "127.0.0.1:{}".format(line.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(("airport", "held"), [("JFK", True), ("EWR", False)])
def test_the_desk_is_asked(desk: str, monkeypatch, airport: str, held: bool) -> None:
    monkeypatch.setenv("GROUND_STOPS", desk)

    assert held is ground_stops.GroundStops.from_environment().held(airport)


def test_without_a_desk_nothing_is_held(monkeypatch) -> None:
    monkeypatch.delenv("GROUND_STOPS", raising=False)

    assert not ground_stops.GroundStops.from_environment().held("JFK")

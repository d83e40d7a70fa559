"""A day of real flights: what is asked when, and when it is known whether they were late."""

from __future__ import annotations

import importlib
import pathlib
import sys
import types
from collections.abc import Iterator

import pytest

FLIGHTS = pathlib.Path(__file__).parents[3] / "examples" / "flights"


@pytest.fixture(scope="module")
def landings() -> Iterator[types.ModuleType]:
    sys.path.insert(0, str(FLIGHTS))
    try:
        yield importlib.import_module("landings")
    finally:
        sys.path.remove(str(FLIGHTS))
        for name in ("landings", "story", "prepare"):
            sys.modules.pop(name, None)


def test_each_flight_is_asked_about_once_and_labelled_when_it_has_landed(landings) -> None:
    day = landings.flights("2013-07-10")

    landed = [each for each in day if each.lands is not None]
    hours = sorted((each.lands - each.departs) / 3_600 for each in landed)
    assert (1_004, 158) == (len(day), len(day) - len(landed))
    assert 0.4 < hours[0] < 1.5
    assert 10 < hours[-1] < 15  # Honolulu
    assert 0.2 < sum(each.late for each in landed) / len(landed) < 0.6
    times = [moment for moment, _, _ in landings.events(day)]
    assert times == sorted(times)
    assert len(day) + len(landed) == len(times)
    for flight in day[:5]:
        assert {"carrier", "origin", "dest", "distance", "temp"} <= set(flight.features)

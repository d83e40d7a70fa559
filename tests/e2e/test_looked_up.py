"""The example that looks features up: launched, asked, its source stopped, and a candidate whose lookup is broken."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import pathlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator

import bring_lab
import flights_lab
import httpx
import process_lab
import pytest

pytestmark = pytest.mark.slow
sys.path.insert(0, str(bring_lab.EXAMPLES / "features"))

import weather  # noqa: E402  # the example, found by the line above

CALM = {"origin": "EWR", "distance": 500}
STORMY = {"origin": "JFK", "distance": 500}
MINUTES_OF_DEFAULTS = 2 + 1 + 0.5 * 10


@dataclasses.dataclass(kw_only=True)
class Place:
    service: bring_lab.Service
    database: pathlib.Path

    def minutes(self, row: dict) -> float:
        (answer,) = self.service.answers(row)
        return answer["minutes"]

    def counted(self) -> list[str]:
        """What the attempts so far said of their features."""
        log = self.service.machine.home.gateway / "attempts.log"
        lines = [json.loads(line) for line in log.read_bytes().splitlines()]
        return [line["features"] for line in lines if line.get("features")]

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """Different users, a hundred a second or as many as this machine can."""
        stop = threading.Event()
        numbers = itertools.count()

        def ask() -> None:
            with httpx.Client(timeout=10.0, trust_env=False) as caller:
                while not stop.wait(0.02):
                    headers = {"host": "delays.localhost", "x-user-id": f"u{next(numbers)}"}
                    url = f"http://127.0.0.1:{self.service.machine.port}/predict"
                    assert 200 == caller.post(url, json={"rows": [STORMY]}, headers=headers).status_code

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def until(look: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if look():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    database = tmp_path_factory.mktemp("weather") / "weather.db"
    weather.write(database)
    with process_lab.laboratory(WEATHER_URL=f"sqlite:///{database}") as machine:
        service = bring_lab.brought(machine, "features", name="delays")
        service.deploy()
        yield Place(service=service, database=database)


@pytest.fixture(autouse=True)
def good_weather(place: Place) -> Iterator[None]:
    yield
    weather.write(place.database)


def test_clients_need_not_send_what_is_looked_up_and_may(place: Place) -> None:
    # A busy machine may be late at times: each is asked until it was not.
    assert until(lambda: place.minutes(STORMY) == 2 + 1 + 0.5 * 20 + 3 * 1.5)
    assert until(lambda: place.minutes(CALM) == 2 + 1 + 0.5 * 8)
    assert until(lambda: place.minutes({**STORMY, "wind": 1.0}) == 2 + 1 + 0.5 * 1 + 3 * 1.5)
    assert "x-softlaunch-features" not in place.service.ask(STORMY).headers
    assert until(lambda: "missing=0,late=0,stale=0" in place.counted())


def test_a_source_that_is_stopped_or_too_old_leaves_the_defaults_and_is_counted(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.database)) as database:
        database.execute("begin exclusive")  # nobody else can read: the lookup hangs
        assert until(lambda: place.minutes(STORMY) == MINUTES_OF_DEFAULTS)
        assert until(lambda: "missing=0,late=2,stale=0" in place.counted())
        database.rollback()
        database.execute("drop table weather")
        assert until(
            lambda: place.minutes(STORMY) == MINUTES_OF_DEFAULTS and "missing=2,late=0,stale=0" in place.counted()
        )
    weather.write(place.database, made_at=time.time() - 4 * 3_600)
    assert until(lambda: place.minutes(STORMY) == MINUTES_OF_DEFAULTS and "missing=0,late=0,stale=2" in place.counted())
    weather.write(place.database)
    assert until(lambda: place.minutes(STORMY) != MINUTES_OF_DEFAULTS)


def test_a_candidate_whose_lookup_is_broken_is_taken_back_by_its_features(place: Place) -> None:
    described = (place.service.folder / "softlaunch.yaml").read_text()
    place.service.write("softlaunch.yaml", described.replace("from weather", "from wether"))
    flights_lab.git(place.service.folder, "commit", "-q", "-a", "-m", "Misspell a table")
    with place.load():
        done = place.service.machine.command("deploy", "--wait", "ended", timeout=200.0)

    assert 0 != done.code
    assert "features" in done.out
    said = place.service.machine.command("explain", "--service", "delays").out
    assert "went on with default features" in said
    assert until(lambda: place.minutes(STORMY) == 2 + 1 + 0.5 * 20 + 3 * 1.5)

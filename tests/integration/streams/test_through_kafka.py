"""From the spool through a real broker into a real table."""

from __future__ import annotations

import pathlib
import sys
import time

import msgspec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import broker_lab

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta
from softlaunch.config import home as homes
from softlaunch.config import settings
from softlaunch.core import spool
from softlaunch.serving import segments
from softlaunch.wiring import prediction_log, stream

SERVICE, ENVIRONMENT = "pricing", "production"


@pytest.fixture
def broker(tmp_path):
    with broker_lab.running(tmp_path) as found:
        yield found


@pytest.fixture
def home(tmp_path):
    found = homes.Home(tmp_path / "home", run_root=tmp_path)
    found.root.mkdir()
    return found


def spooled(home: homes.Home, names: list[str], *, instance: str = "writer", body: bytes = b"{}") -> pathlib.Path:
    """The segment they are in."""
    folder = home.spool / SERVICE / ENVIRONMENT
    writer = segments.SegmentWriter(
        folder, service=SERVICE, environment=ENVIRONMENT, release="0123456789ab", instance=instance,
        disk_bytes_max=1 << 30,
    )  # fmt: skip
    for name in names:
        row = [name, time.time() - 60.0, 0, "/predict", "", body, 200, b"{}", 5, 4, "u1", 1, "", 0, None, None]
        writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()
    return max(folder.glob(f"*-{instance}-*"))


def found(url: str, **more: str) -> settings.Settings:
    return settings.read({"SOFTLAUNCH_STREAM": url, **more})


def forward(home: homes.Home, broker: broker_lab.Broker) -> int:
    return stream.forward(home, found(broker.url), once=True, going_on=lambda: True)


def consume(home: homes.Home, broker: broker_lab.Broker) -> int:
    return stream.consume(home, found(broker.url), once=True, part_count_max=None, going_on=lambda: True)


def rows(home: homes.Home) -> list[str]:
    path = delta.DeltaLake(home.log).path(SERVICE)
    told = asking.ask(path, "SELECT request_id, environment FROM predictions ORDER BY ALL", row_count_max=1_000_000)
    assert {ENVIRONMENT} == {environment for _, environment in told.rows}
    return [name for name, _ in told.rows]


def counted(home: homes.Home):
    (done,) = [each.progress for each in prediction_log.status(home) if "@" in each.environment]
    return done


def test_what_is_spooled_goes_through_kafka_into_the_log_once(broker, home) -> None:
    spooled(home, ["a", "b"])
    assert (2, 0) == (forward(home, broker), forward(home, broker))
    spooled(home, ["c"], instance="another")

    assert 1 == forward(home, broker)
    assert (3, 0) == (consume(home, broker), consume(home, broker))
    assert ["a", "b", "c"] == rows(home)
    assert 0 == counted(home).counts["duplicates"]

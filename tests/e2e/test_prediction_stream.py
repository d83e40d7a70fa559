"""From requests through the gateway, the spool and a Kafka broker to rows of the prediction log, by `softlaunch up`."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import httpx
import lab
import process_lab
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "contract"))

import broker_lab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[broker_lab.Broker]:
    with broker_lab.running(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture(scope="module")
def machine(broker) -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory(SOFTLAUNCH_LOG_EVERY="500ms", SOFTLAUNCH_STREAM=broker.url) as found:
        assert found.deploy(found.make("live"), lab.strategy())["outcome"] == "promoted"
        yield found


def sent(machine: process_lab.ProcessLab, count: int) -> set[str]:
    """Prediction ids."""
    found = set()
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.port}") as client:
        for number in range(count):
            answered = client.post("/predict", json={"x0": float(number), "x1": 0.25, "x2": 0.5})
            assert 200 == answered.status_code, answered.text
            found.add(answered.headers["x-softlaunch-prediction-id"])
    return found


def slowest(machine: process_lab.ProcessLab, names: set[str]) -> int:
    """Microseconds at the 99th percentile, as the gateway saw them."""
    rows = sorted(row["latency_us"] for row in moved(machine, names))
    return rows[len(rows) * 99 // 100]


def moved(machine: process_lab.ProcessLab, names: set[str]) -> list[dict]:
    """The rows of these predictions, once all of them are there."""
    deadline = time.monotonic() + 60.0
    while True:
        done = machine.command("log", "query", "SELECT * FROM predictions", "--rows", "100000")
        rows = [row for row in done.document["rows"] if row["id"] in names] if done.code == 0 else []
        if len(rows) >= len(names) or time.monotonic() > deadline:
            return rows
        time.sleep(0.3)


def test_every_answer_is_in_the_log_once_and_came_through_kafka(machine) -> None:
    names = sent(machine, 150)

    rows = moved(machine, names)

    assert sorted(names) == sorted(row["id"] for row in rows)
    assert {("stable", 1, True, 200, lab.ENVIRONMENT)} == {
        (row["arm"], row["attempt"], row["served"], row["status"], row["environment"]) for row in rows
    }
    assert set(map(float, range(150))) == {row["features"]["x0"] for row in rows}
    logs = machine.command("log", "status").document["logs"]
    by_part = {each["part"]: each["rows"] for each in logs}
    assert 0 == by_part[None]
    assert by_part[f"{broker_lab.PREFIX}.{lab.SERVICE}.{lab.ENVIRONMENT}/0"] >= 150


@pytest.mark.parametrize("verb", ["ship", "consume"])
def test_a_killed_process_is_started_again_and_doubles_nothing(machine, verb) -> None:
    before = sent(machine, 50)
    moved(machine, before)
    (pid,) = [pid for pid, words in machine.processes().items() if f" log {verb} " in words]
    os.kill(pid, signal.SIGKILL)
    names = before | sent(machine, 50)

    assert sorted(names) == sorted(row["id"] for row in moved(machine, names))


def test_while_the_broker_stands_still_answers_go_on_and_their_rows_come_later(machine, broker) -> None:
    """TEST_OUTAGE_SECONDS=600 for ten minutes of it, with the slowest answers before and meanwhile printed."""
    names = sent(machine, 100)
    moved(machine, names)
    before = slowest(machine, names)
    with broker.frozen():
        deadline = time.monotonic() + float(os.environ.get("TEST_OUTAGE_SECONDS", "10"))
        meanwhile: set[str] = set()
        while time.monotonic() < deadline:
            meanwhile |= sent(machine, 10)
            time.sleep(0.5)

    rows = moved(machine, meanwhile)

    assert sorted(meanwhile) == sorted(row["id"] for row in rows)
    assert all(row["served"] for row in rows)
    print(f"{len(meanwhile)} answers, slowest {before} us before and {slowest(machine, meanwhile)} us meanwhile")

"""From requests through the gateway to rows of the prediction log, with `softlaunch up`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import lab
import process_lab
import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory(SOFTLAUNCH_LOG_EVERY="500ms") as found:
        assert found.deploy(found.make("live"), lab.strategy())["outcome"] == "promoted"
        yield found


def ask(machine: process_lab.ProcessLab, sql: str) -> list[dict]:
    done = machine.command("log", "query", sql, "--rows", "100000")
    assert 0 == done.code, done.out + done.err
    return done.document["rows"]


def sent(machine: process_lab.ProcessLab, count: int) -> dict[str, float]:
    """Requests through the gateway: the answered probability by prediction id."""
    found = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.port}") as client:
        for number in range(count):
            answered = client.post("/predict", json={"x0": float(number), "x1": 0.25, "x2": 0.5})
            assert 200 == answered.status_code, answered.text
            found[answered.headers["x-softlaunch-prediction-id"]] = answered.json()["prediction"]["probability"]
    return found


def moved(machine: process_lab.ProcessLab, names: set[str]) -> list[dict]:
    """The rows of these predictions, once all of them are there."""
    deadline = time.monotonic() + 40.0
    while True:
        try:
            rows = ask(machine, "SELECT * FROM predictions")
        except AssertionError:  # there is no log before the first rows
            rows = []
        rows = [row for row in rows if row["id"] in names]
        if len(rows) >= len(names) or time.monotonic() > deadline:
            return rows
        time.sleep(0.3)


def shippers(machine: process_lab.ProcessLab) -> list[int]:
    return [pid for pid, words in machine.processes().items() if " log ship " in words]


def test_every_answer_is_in_the_log_once_with_release_and_answer(machine) -> None:
    answers = sent(machine, 150)

    rows = moved(machine, set(answers))

    assert answers == {row["id"]: row["answer"]["probability"] for row in rows}
    assert len(answers) == len(rows)
    live = machine.client.get("/v1/status")["services"][0]["stable"]
    assert all(row["release"] in live for row in rows)
    assert {("stable", 1, True, 200)} == {(row["arm"], row["attempt"], row["served"], row["status"]) for row in rows}
    assert set(map(float, range(150))) == {row["features"]["x0"] for row in rows}


def test_a_killed_shipper_is_started_again_and_doubles_nothing(machine) -> None:
    before = sent(machine, 50)
    moved(machine, set(before))  # so it runs
    (pid,) = shippers(machine)
    os.kill(pid, signal.SIGKILL)
    answers = before | sent(machine, 50)

    rows = moved(machine, set(answers))

    assert sorted(answers) == sorted(row["id"] for row in rows)
    (again,) = shippers(machine)
    assert pid != again
    assert psutil.Process(again).nice() == 10


def test_status_tells_that_nothing_waits_and_nothing_was_lost(machine) -> None:
    moved(machine, set(sent(machine, 1)))

    (found,) = machine.command("log", "status").document["logs"]

    assert (lab.SERVICE, lab.ENVIRONMENT, 0) == (found["service"], found["environment"], found["waiting_bytes"])
    assert (found["rows"], 0, {}) == (found["records"], found["unmatched"], found["damage"])
    assert 3 == machine.command("log", "ship", "--once").code


def test_a_query_that_is_none_says_what_to_do(machine) -> None:
    moved(machine, set(sent(machine, 1)))

    done = machine.command("log", "query", "SELECT nothing FROM predictions")

    assert (2, "log-query") == (done.code, done.document["code"])


def test_why_tells_one_prediction_from_the_request_to_the_commit(machine, tmp_path) -> None:
    (name,) = sent(machine, 1)
    moved(machine, {name})
    page = tmp_path / "why.html"

    done = machine.command("why", name, "--html", str(page))

    assert 0 == done.code, done.out + done.err
    found = done.document
    assert ({"x0": 0.0, "x1": 0.25, "x2": 0.5}, True, []) == (
        found["answers"][0]["features"],
        found["answers"][0]["served"],
        found["notes"],
    )
    arm = found["answers"][0]["release"]
    (moment,) = found["moments"]
    assert ([100.0], arm) == (list(moment["serves"].values()), moment["live"]["arm"])
    told = subprocess.run(
        [*machine.verb("why", name), "--home", str(machine.home.root)],
        env=machine.environment(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "The answer that the user got" in told
    assert f"release {arm}" in told
    assert found["lineage"]["release"].startswith(f"sha256:{arm}")
    assert "<td>0.25</td>" in page.read_text()
    unknown = machine.command("why", "nobody:0")
    assert (2, "not-in-log") == (unknown.code, unknown.document["code"])

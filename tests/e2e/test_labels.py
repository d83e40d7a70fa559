"""Labels of a running service: sent by programs, pushed as files, killed on the way, joined with what was answered."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections.abc import Iterator

import httpx
import lab
import process_lab
import pytest

from softlaunch import errors

pytestmark = pytest.mark.slow
SEED = 20261124
KILLS = 12


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory(SOFTLAUNCH_LOG_EVERY="300ms") as found:
        assert found.deploy(found.make("live"), lab.strategy())["outcome"] == "promoted"
        yield found


def asked(machine: process_lab.ProcessLab, count: int, **headers: str) -> list[str]:
    """Requests through the gateway; ids of their predictions."""
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.port}", headers=headers) as client:
        return [
            client.post("/predict", json={"x0": float(number), "x1": 0.25, "x2": 0.5}).headers[
                "x-softlaunch-prediction-id"
            ]
            for number in range(count)
        ]


def rows(machine: process_lab.ProcessLab, sql: str, *, count: int) -> list[dict]:
    """A query's rows, once there are that many; what there is after 40 s."""
    deadline = time.monotonic() + 40.0
    while True:
        done = machine.command("log", "query", sql, "--rows", "100000")
        found = done.document["rows"] if done.code == 0 else []
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def test_a_program_sends_the_truth_and_why_tells_it(machine) -> None:
    first, second = asked(machine, 2)
    rows(machine, f"SELECT id FROM predictions WHERE id IN ('{first}', '{second}')", count=2)

    told = machine.client.post(
        "/v1/labels",
        {
            "service": lab.SERVICE,
            "labels": [
                {"prediction_id": first, "name": "late", "value": True},
                {"prediction_id": second, "name": "late", "value": 0.25, "rater": "anna"},
                {"prediction_id": second, "name": "late", "value": 0.75, "rater": "ben"},
            ],
        },
    )

    assert {"accepted": 3} == told
    known = rows(machine, f"SELECT id, value, disagree FROM labelled WHERE id IN ('{first}', '{second}')", count=2)
    assert {first: (1.0, False), second: (0.5, True)} == {row["id"]: (row["value"], row["disagree"]) for row in known}
    why = machine.command("why", second)
    assert 0 == why.code, why.out + why.err
    (label,) = why.document["labels"]
    assert ["anna", "ben"] == [vote["rater"] for vote in label["votes"]]


def test_what_is_no_label_is_refused_with_its_place(machine) -> None:
    with pytest.raises(errors.ConfigError, match=r"labels\[0\] is no label: neither"):
        machine.client.post("/v1/labels", {"service": lab.SERVICE, "labels": [{"value": 1}]})
    with pytest.raises(errors.ConfigError, match="No predictions of 'nobody'"):
        machine.client.post("/v1/labels", {"service": "nobody", "labels": [{"prediction_id": "a", "value": 1}]})


def test_a_file_is_added_once_beside_the_shipper_and_corrected_by_a_second_one(machine, tmp_path) -> None:
    names = asked(machine, 40)
    rows(machine, "SELECT id FROM predictions", count=40)
    truth = tmp_path / "truth.csv"
    with truth.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["prediction_id", "was_late"])
        writer.writerows([name, number % 2] for number, name in enumerate(names))
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text(json.dumps({"prediction_id": names[0], "value": 1, "version": 1}) + "\n")

    push = ("labels", "push", str(truth), "--name", "was_late", "--column", "value=was_late")
    found = [machine.command(*push).document for _ in range(2)]
    machine.command("labels", "push", str(corrected), "--name", "was_late")

    assert [(40, 0), (0, 40)] == [(each["added"], each["before"]) for each in found]
    listed = ", ".join(f"'{name}'" for name in names)
    known = rows(machine, f"SELECT id, value FROM labelled WHERE name = 'was_late' AND id IN ({listed})", count=40)
    assert {name: float(number % 2 or not number) for number, name in enumerate(names)} == {
        row["id"]: row["value"] for row in known
    }
    status = machine.command("labels", "status").document["labels"]["was_late"]
    assert (40, 41, 0) == (status["labelled"], status["received"], status["orphans"])


def test_whoever_is_killed_every_acknowledged_label_is_there_once(machine) -> None:
    chance = random.Random(SEED)
    names = [f"killed-{number}" for number in range(KILLS * 15)]
    acknowledged: list[str] = []
    for place, name in enumerate(names):
        if place % 15 == 7:
            if chance.random() < 0.4:
                machine.kill_control_plane()
                machine.up()
            else:
                for pid, words in machine.processes().items():
                    if " log ship " in words:
                        os.kill(pid, signal.SIGKILL)
        document = {"service": lab.SERVICE, "labels": [{"prediction_id": name, "name": "killed", "value": 1}]}
        assert {"accepted": 1} == machine.client.post("/v1/labels", document)
        acknowledged.append(f"{name}:0")
        time.sleep(chance.random() * 0.08)

    found = rows(machine, "SELECT prediction_id FROM labels WHERE name = 'killed'", count=len(acknowledged))

    assert sorted(acknowledged) == sorted(row["prediction_id"] for row in found)


def test_a_forgotten_persons_labels_are_gone_too(machine) -> None:
    (name,) = asked(machine, 1, **{"x-user-id": "person-4711"})
    rows(machine, "SELECT id FROM predictions WHERE key = 'person-4711'", count=1)
    documents = [
        {"prediction_id": name, "name": "late", "value": 1},
        {"key": "person-4711", "name": "clicked", "value": 1},
        {"key": "somebody", "name": "clicked", "value": 1},
    ]
    machine.client.post("/v1/labels", {"service": lab.SERVICE, "labels": documents})
    mine = f"SELECT name FROM labels WHERE prediction_id = '{name}' OR key IN ('person-4711', 'somebody')"
    rows(machine, mine, count=3)

    done = machine.command("log", "forget", "person-4711", "--yes")

    assert (1, 2) == (done.document["rows"], done.document["labels"]), done.out + done.err
    assert ["clicked"] == [row["name"] for row in rows(machine, mine, count=1)]
    for table in ("predictions", "labels"):
        for path in (machine.home.log / lab.SERVICE / table).rglob("*"):
            assert not path.is_file() or b"person-4711" not in path.read_bytes()

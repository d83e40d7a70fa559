"""What a model server records, and what is left of it when the process is killed."""

from __future__ import annotations

import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from softlaunch.adapters.spool import local
from softlaunch.core import spool
from softlaunch.ports import spool as port

PROGRAM = pathlib.Path(__file__).with_name("spool_writer_program.py")
KILLS = 20


def test_nothing_acknowledged_is_lost_by_kill_nine(tmp_path: pathlib.Path) -> None:
    chance = random.Random(7)
    reader = local.LocalSpool(tmp_path)
    acknowledged: set[str] = set()
    cursor, found = port.Cursor(), []
    for number in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(tmp_path / "svc" / "env"), f"writer{number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        until = time.monotonic() + chance.uniform(0.001, 0.05)
        while time.monotonic() < until:
            lines.append(process.stdout.readline())
        process.kill()
        lines += process.stdout.readlines()
        process.wait(10)
        acknowledged |= {line.strip() for line in lines if line.endswith("\n")}
        batch = reader.read("svc", "env", cursor, record_count_max=10**6)
        assert 0 == batch.damage_count
        cursor = batch.cursor
        found += [record.request_id for record in batch.records]

    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(acknowledged) > KILLS


def test_a_server_records_what_it_answered_and_a_kill_leaves_it(
    serve: Callable[..., Any], releases: Any, tmp_path: pathlib.Path
) -> None:
    directory = tmp_path / "toy" / "production"
    server = serve(releases.onnx(), "--spool", str(directory), "--capture-percent", "0").wait_ready()

    with server.client() as client:
        for number in range(50):
            headers = {"x-request-id": f"r{number}", "x-softlaunch-arm": "mirrored", "x-softlaunch-key": "ada"}
            body = {"x": number, "y": 0} if number % 10 else {"x": "no"}
            answer = client.post("/predict", json=body, headers=headers)
            if number % 10:
                assert f"n:{number:.4g}" == answer.headers["x-softlaunch-out"]
                assert int(answer.headers["x-softlaunch-memory-kib"]) > 10_000
                assert f"{number}r" == answer.headers["x-softlaunch-served"]
        unrecorded = client.post("/predict", json={"x": 1, "y": 0}, headers={"x-request-id": "not chosen"})
        assert "50" == unrecorded.headers["x-softlaunch-served"]
        client.post("/predict", json={"x": 1, "y": 0})
    time.sleep(0.15)  # flushed every 50 ms
    server.process.kill()

    found = list(local.LocalSpool(tmp_path).scan("toy", "production", since=0, until=time.time() + 60))
    assert [f"r{number}" for number in range(50)] == [record.request_id for record in found]
    assert {("a" * 12, "token", spool.PRIMARY, True, "/predict", "ada")} == {
        (record.release, record.instance, record.arm, record.mirrored, record.path, record.key) for record in found
    }
    assert [422 if number % 10 == 0 else 200 for number in range(50)] == [record.status for record in found]
    assert b'{"x":7,"y":0}' == found[7].request.replace(b" ", b"")
    assert b'{"prediction":{"prediction":7.0}' in found[7].answer
    assert 0 < found[7].service_us < 1_000_000


def test_a_server_that_is_asked_to_end_writes_what_waits(
    serve: Callable[..., Any], releases: Any, tmp_path: pathlib.Path
) -> None:
    directory = tmp_path / "toy" / "production"
    server = serve(releases.onnx(), "--spool", str(directory)).wait_ready()

    with server.client() as client:
        client.post("/predict", json={"x": 1, "y": 0}, headers={"x-request-id": "last"})
        server.process.terminate()
    assert 0 == server.process.wait(20)

    assert ["last"] == [record.request_id for record in local.LocalSpool(tmp_path).find("last")]

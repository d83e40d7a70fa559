"""
kill -9 of model servers, shippers and control planes under traffic; benchmarks/launches/log_kills.py does it 200 times.

Each answer that the gateway saw is a row of the log, once, or counted as never recorded.
"""

from __future__ import annotations

import time

import log_kills
import process_lab
import pytest

pytestmark = pytest.mark.slow


def test_after_twenty_kills_each_answer_is_in_the_log_once_or_counted() -> None:
    with log_kills.laboratory() as machine:
        with log_kills.Traffic(machine.port, 60.0) as traffic:
            killed = log_kills.kill_some(machine, 21, seed=21)
        found = log_kills.count(machine)

    assert dict.fromkeys(log_kills.VICTIMS, 7) == killed
    assert [] == found.wrong(traffic.ids)
    assert len(traffic.ids) > 500
    assert 0 == traffic.failed


def test_what_a_killed_model_server_still_held_is_counted_exactly() -> None:
    with log_kills.laboratory() as machine:
        with log_kills.Traffic(machine.port, 150.0, clients=8) as traffic:
            for _ in range(6):
                enough = len(traffic.ids) + 100
                deadline = time.monotonic() + 30.0
                while len(traffic.ids) < enough and time.monotonic() < deadline:
                    time.sleep(0.005)
                for pid in log_kills.pids(machine, "model server"):  # nobody is left to write
                    process_lab.kill(pid)
        found = log_kills.count(machine)

    assert [] == found.wrong(traffic.ids)
    assert 0 < found.status["unacknowledged"] == found.missing.total()

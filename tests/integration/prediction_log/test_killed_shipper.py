"""The shipper as a real process over a real Delta table, killed at random moments."""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.lake import profiles as live_profiles
from softlaunch.adapters.oci import registry
from softlaunch.config import home as homes
from softlaunch.core import spool
from softlaunch.serving import segments
from softlaunch.testing import releases

pytestmark = pytest.mark.slow
KILL_COUNT = 25
GROUP = 20


class Spooling:
    """Records as a model server writes them, all the time; what it has written is acknowledged."""

    def __init__(self, home: homes.Home, digits: str) -> None:
        self.written: list[str] = []
        self._writer = segments.SegmentWriter(
            home.spool / releases.SERVICE / "production",
            service=releases.SERVICE, environment="production", release=digits, instance="writer",
            disk_bytes_max=1 << 30,
        )  # fmt: skip
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._writer.close()

    def _run(self) -> None:
        encode = msgspec.msgpack.Encoder().encode
        answer = b'{"prediction":{"label":1,"probability":0.5},"release":"x"}'
        while not self._ending.wait(0.02):
            names = [f"r{len(self.written) + place}" for place in range(GROUP)]
            late = 60.0 + 3_600.0 * (len(self.written) // GROUP % 3)
            # A minute old or some hours: the gateway, which is not here, has had its time to speak.
            rows = [
                [name, time.time() - late, 0, "/predict", "", b'{"x0":1.0,"x1":2.0,"x2":3.0}', 200, answer, 9, 9, "", 1,
                 "", 0, None, None]
                for name in names
            ]  # fmt: skip
            self._writer.append(encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)))
            self.written += names


def test_a_shipper_killed_at_any_moment_neither_loses_nor_doubles_a_row(tmp_path, log_root) -> None:
    chance = random.Random(20)
    home = homes.Home(tmp_path / "home", run_root=tmp_path)
    home.root.mkdir()
    digest = registry.OciRegistry(home.registry).push(releases.write(tmp_path / "release", name="live"))
    spooling = Spooling(home, digest.short)
    command = [sys.executable, "-m", "softlaunch.cli.main", "log", "ship", "--home", str(home.root)]
    variables = {**os.environ, "SOFTLAUNCH_LOG_EVERY": "100ms", "SOFTLAUNCH_LOG_URL": log_root.url or ""}
    table = delta.DeltaLake(dataclasses.replace(log_root, folder=home.log))
    ended: collections.Counter[int] = collections.Counter()
    try:
        for _ in range(KILL_COUNT):
            before = table.state(releases.SERVICE).progress.get("production")
            process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL)
            deadline = time.monotonic() + 20.0
            while table.state(releases.SERVICE).progress.get("production") == before and time.monotonic() < deadline:
                time.sleep(0.02)  # it appends by now, one commit after the other
            time.sleep(chance.random() * 0.4)
            process.send_signal(signal.SIGKILL)
            ended[process.wait()] += 1
    finally:
        spooling.end()
    subprocess.run([*command, "--once"], env=variables, check=True, timeout=60, stdout=subprocess.DEVNULL)

    assert {-signal.SIGKILL: KILL_COUNT} == dict(ended)
    found = [name for (name,) in asking.ask(
        table.place(releases.SERVICE), "SELECT request_id FROM predictions", row_count_max=1_000_000
    ).rows]  # fmt: skip
    assert len(spooling.written) >= KILL_COUNT * GROUP
    assert sorted(spooling.written) == sorted(found)
    assert table.state(releases.SERVICE).progress["production"].counts["rows"] == len(found)
    profiles = live_profiles.SqliteProfiles(home.log).read(releases.SERVICE).profiles
    counts = asking.ask(
        table.place(releases.SERVICE),
        "SELECT release, CAST(floor(epoch(time) / 3600) AS BIGINT), count(*), count(features.x0) "
        "FROM predictions GROUP BY ALL ORDER BY ALL",
    ).rows
    assert [(key.release, key.hour, each.row_count, each.feature_row_count) for key, each in profiles] == counts
    for _, each in profiles:
        assert {"x0", "x1", "x2"} <= {key.name for key in each.columns}
        assert all(column.value_count == each.row_count for column in each.columns.values())

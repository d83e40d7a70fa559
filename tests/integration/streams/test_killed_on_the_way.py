"""Forwarder and consumer as real processes around a real broker, killed at random moments while records are written."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "contract"))

import broker_lab

from softlaunch.adapters.lake import asking, delta
from softlaunch.config import home as homes
from softlaunch.core import spool
from softlaunch.serving import segments

pytestmark = pytest.mark.slow
KILL_COUNT = int(os.environ.get("TEST_KILLS", "30"))
GROUP = 20
WRITERS = 2
SERVICE, ENVIRONMENT = "pricing", "production"
FORWARDER, CONSUMER = "ship", "consume"
SHORT_SECONDS = 2.0
"""A kill may come while a process is still starting."""


class Spooling:
    """Records as model servers write them, all the time; what is in `written` is acknowledged."""

    def __init__(self, home: homes.Home) -> None:
        self.written: list[str] = []
        self._folder = home.spool / SERVICE / ENVIRONMENT
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        encode = msgspec.msgpack.Encoder().encode
        life = count = 0
        writer = None
        while not self._ending.wait(0.03):
            if writer is None or count % 400 == 0:  # a process that ended, and its successor
                if writer is not None:
                    writer.close()
                life += 1
                writer = segments.SegmentWriter(
                    self._folder, service=SERVICE, environment=ENVIRONMENT, release="0123456789ab",
                    instance=f"w{number}x{life}", disk_bytes_max=1 << 30,
                )  # fmt: skip
            count += 1
            names = [f"w{number}-{count}-{place}" for place in range(GROUP)]
            rows = [
                [name, time.time() - 60.0, 0, "/predict", "", b"{}", 200, b"{}", 9, 9, "", 1, "", 0, None, None]
                for name in names
            ]
            writer.append(encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)))
            self.written += names
        assert writer is not None
        writer.close()


class Moving:
    """Both processes of a home; one that was killed is started again."""

    def __init__(self, home: homes.Home, broker: broker_lab.Broker) -> None:
        self._home = home
        self._variables = {
            **os.environ, "SOFTLAUNCH_LOG_EVERY": "100ms", "SOFTLAUNCH_STREAM": broker.url,
        }  # fmt: skip
        self._log = (home.root / "moving.log").open("ab")
        self._running = {verb: self._started(verb) for verb in (FORWARDER, CONSUMER)}
        self.ended: collections.Counter[tuple[str, int]] = collections.Counter()

    def kill(self, verb: str) -> None:
        process = self._running[verb]
        process.send_signal(signal.SIGKILL)
        self.ended[verb, process.wait()] += 1
        self._running[verb] = self._started(verb)

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        self._log.close()

    def drain(self) -> None:
        for verb in (FORWARDER, CONSUMER):
            subprocess.run(
                [*self._command(verb), "--once"],
                env=self._variables, check=True, timeout=120, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def place(self, verb: str) -> object:
        """Of what the process does last when it gets on."""
        if verb == CONSUMER:
            return delta.DeltaLake(self._home.log).state(SERVICE).progress
        path = self._home.spool / SERVICE / ENVIRONMENT / "forwarded.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def _started(self, verb: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(verb), env=self._variables, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def _command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "softlaunch.cli.main", "log", verb, "--home", str(self._home.root)]


def test_whoever_is_killed_between_spool_and_log_nothing_is_lost_and_nothing_twice(tmp_path) -> None:
    chance = random.Random(30)
    home = homes.Home(tmp_path / "home", run_root=tmp_path)
    home.root.mkdir()
    with broker_lab.running(tmp_path) as broker:
        spooling = Spooling(home)
        moving = Moving(home, broker)
        try:
            for number in range(KILL_COUNT):
                verb = (FORWARDER, CONSUMER)[number % 2]
                if chance.random() < 0.3:
                    time.sleep(chance.random() * SHORT_SECONDS)
                else:
                    before, deadline = moving.place(verb), time.monotonic() + 30.0
                    while moving.place(verb) == before and time.monotonic() < deadline:
                        time.sleep(0.02)
                    time.sleep(chance.random() * 0.4)
                if verb == FORWARDER and chance.random() < 0.4:
                    # What was sent lies in the broker's socket, unheard of; the next forwarder sends it again.
                    with broker.frozen():
                        time.sleep(0.4)
                        moving.kill(verb)
                else:
                    moving.kill(verb)
        finally:
            spooling.end()
            moving.end()
        moving.drain()

    assert {(verb, -signal.SIGKILL) for verb in (FORWARDER, CONSUMER)} == set(moving.ended)
    path = delta.DeltaLake(home.log).place(SERVICE)
    found = [name for (name,) in asking.ask(path, "SELECT request_id FROM predictions", row_count_max=10_000_000).rows]
    assert len(spooling.written) >= KILL_COUNT * GROUP
    assert sorted(spooling.written) == sorted(found)
    (done,) = delta.DeltaLake(home.log).state(SERVICE).progress.values()
    assert (len(found), 0) == (done.counts["rows"], done.counts["damaged_places"])
    assert done.counts["duplicates"] > 0
    print(f"{KILL_COUNT} kills, {len(found)} rows, {done.counts['duplicates']} groups came twice")

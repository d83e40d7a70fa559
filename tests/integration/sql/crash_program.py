"""
Commits, is killed, reopens, compares: run by test_crash_safety.py in a process of its own, because it forks.

Prints one JSON line for each kill: what the child had acknowledged, and what each table tells afterwards.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import struct
import sys
import time

from softlaunch.adapters.sql import store
from softlaunch.core import release, spec
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import gateway
from softlaunch.ports import store as records

KEYS_PER_COMMIT = 100
DIGEST = release.Digest("sha256:" + "1" * 64)
PRODUCTION = spec.EnvironmentSpec(
    name="production", strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 10_000))
)
STATE = machine.begin(phases.plan_of(PRODUCTION, compared=True), now=1.0, reason="Launch.").state


def change(number: int) -> records.Change:
    rollout = records.RolloutRecord(
        id=1,
        service="flights",
        environment="production",
        candidate=DIGEST,
        stable=None,
        spec=PRODUCTION,
        state=STATE,
        ref="main",
        commit="",
        requested_by="ann",
        salt="",
        created_at=1.0,
        evidence={"number": number, "bins": [number] * 1_000},
    )
    event = records.HistoryEvent(
        id=0, at=1.0, service="flights", environment="production", rollout_id=1, kind="step", text=str(number)
    )
    return records.Change(
        rollouts=[rollout],
        cursor=gateway.LogCursor(offset=number),
        events=[event],
        keys={1: [("errors", key) for key in range(KEYS_PER_COMMIT)]},
    )


def commit_forever(path: pathlib.Path, first: int, answers: int) -> None:
    with store.SqlStore(path) as kept:
        number = first
        while True:
            kept.commit(change(number))
            os.write(answers, struct.pack("<q", number))
            number += 1


def kill_once(path: pathlib.Path, first: int, seconds: float, *, working: bool) -> int:
    """
    The last number the child acknowledged before it was killed, `first - 1` when there was none.

    Args:
        path: The database.
        first: The child's first number.
        seconds: How long it lives.
        working: Its life counts from its first commit, not from its birth.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            commit_forever(path, first, writing)
        finally:
            os._exit(1)
    os.close(writing)
    raw = os.read(reading, 8) if working else b""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as stream:
        raw += stream.read()
    return struct.unpack("<q", raw[-8:])[0] if raw else first - 1


def main() -> None:
    path, times, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    store.SqlStore(path).close()
    number = 0
    for turn in range(times):
        acknowledged = kill_once(path, number + 1, chance.uniform(0.0, 0.06), working=turn % 4 != 0)
        with store.SqlStore(path) as kept:
            world = kept.load()
            evidence = world.rollouts[0].evidence if world.rollouts else {"number": 0, "bins": []}
            print(
                json.dumps(
                    {
                        "acknowledged": acknowledged,
                        "cursor": world.cursor.offset,
                        "evidence": evidence["number"],
                        "bins": sorted(set(evidence["bins"])),
                        "events": [int(event.text) for event in kept.events(limit=1_000_000)],
                        "keys": len(kept.keys(1)) / KEYS_PER_COMMIT,
                    }
                ),
                flush=True,
            )
            number = world.cursor.offset


if __name__ == "__main__":
    main()

"""Kills, cut logs and full disks for real: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
import subprocess
import sys

from softlaunch.adapters.sql import store
from softlaunch.core import release, spec
from softlaunch.ports import gateway
from softlaunch.ports import store as records

PROGRAM = pathlib.Path(__file__).with_name("crash_program.py")
KILLS = 20


def test_every_acknowledged_commit_survives_kill_9_whole(tmp_path: pathlib.Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "state.db"), str(KILLS), "20"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]

    assert KILLS == len(found)
    assert found[-1]["acknowledged"] > KILLS, "the children were killed before they committed anything"
    for after in found:
        number = after["cursor"]
        assert after["acknowledged"] <= number <= after["acknowledged"] + 1
        assert number == after["evidence"] == after["keys"]
        assert [number] == after["bins"] or number == 0
        assert list(range(1, number + 1)) == after["events"]


def test_a_write_ahead_log_cut_anywhere_loses_the_last_commits_and_no_half(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.db"
    count = 12
    with store.SqlStore(path) as kept:
        for number in range(1, count + 1):
            kept.commit(
                records.Change(
                    lives=[_live(number)],
                    events=[_note(number)],
                    cursor=gateway.LogCursor(offset=number),
                )
            )
        whole = path.read_bytes()
        log = pathlib.Path(f"{path}-wal").read_bytes()
    chance = random.Random(5)
    survived = set()
    for _ in range(40):
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "state.db").write_bytes(whole)
        (copy / "state.db-wal").write_bytes(log[: chance.randrange(len(log) // 3, len(log))])
        with store.SqlStore(copy / "state.db") as kept:
            world = kept.load()
            number = world.cursor.offset
            assert number == (world.lives[0].epoch if world.lives else 0)
            assert list(range(1, number + 1)) == [int(event.text) for event in kept.events()]
            survived.add(number)
        shutil.rmtree(copy)
    assert len(survived) > 3, "the cuts were not spread over the commits"


def test_a_file_that_may_not_grow_refuses_commits_and_keeps_what_it_acknowledged(tmp_path: pathlib.Path) -> None:
    program = f"""
import pathlib, resource, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import crash_program
from softlaunch import errors
from softlaunch.adapters.sql import store

with store.SqlStore(pathlib.Path(sys.argv[1])) as kept:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    number = 0
    try:
        while number < 1_000:
            kept.commit(crash_program.change(number + 1))
            number += 1
    except errors.UnavailableError as error:
        assert kept.load().cursor.offset == number, kept.load()
        print(number, error.code)
"""
    path = tmp_path / "state.db"
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    number, code = ran.stdout.split()

    assert "state-unwritable" == code
    with store.SqlStore(path) as kept:
        world = kept.load()
        assert int(number) == world.cursor.offset == world.rollouts[0].evidence["number"]
        assert int(number) == len(kept.events(limit=10_000))


def _live(number: int) -> records.LiveRecord:
    return records.LiveRecord(
        service="flights",
        environment="production",
        spec=spec.EnvironmentSpec(
            name="production", strategy=spec.StrategySpec(kind=spec.StrategyKind.BLUE_GREEN, steps=spec.shares(10_000))
        ),
        stable=release.Digest("sha256:" + "1" * 64),
        epoch=number,
        history={"bins": [number] * 500},
    )


def _note(number: int) -> records.HistoryEvent:
    return records.HistoryEvent(
        id=0, at=1.0, service="flights", environment="production", rollout_id=None, kind="step", text=str(number)
    )

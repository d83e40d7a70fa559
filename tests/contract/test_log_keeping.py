"""Sorting, ends of days and removals of one person's rows, on real Delta tables beside the shipper's appends."""

from __future__ import annotations

import dataclasses
import datetime
import multiprocessing
import os
import pathlib
import random
import signal
import threading
import time

import deltalake
import pyarrow.parquet as pq
import pytest
import typer.testing

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, keeping
from softlaunch.cli import main
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake

SERVICE, ENVIRONMENT = "pricing", "production"
TODAY = datetime.date(2026, 11, 20)
NOON = int(datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC).timestamp())
X = schema.Field(name="x", kind=schema.Kind.DOUBLE)
EMPTY = dict.fromkeys(field.name for field in schema.ENVELOPE)


def block(names: list[str], *, days_ago: int = 0, key: str = "u1", keys=None) -> lake.Block:
    row = EMPTY | {
        "release": "r", "time": (NOON - days_ago * 86_400) * 1_000_000, "key": key, "keys": keys, "row": 0,
        "environment": ENVIRONMENT,
    }  # fmt: skip
    return lake.Block(
        rows=[tuple((row | {"id": f"{name}:0", "request_id": name}).values()) for name in names],
        feature_fields=(X,), features=[(1.0,)] * len(names), answer_fields=(X,), answers=[(2.0,)] * len(names),
    )  # fmt: skip


class Table:
    def __init__(self, root: pathlib.Path) -> None:
        self.lake = delta.DeltaLake(root)
        self.path = self.lake.path(SERVICE)
        self.keeper = keeping.Keeper(self.path)

    def append(self, *blocks: lake.Block) -> None:
        before = self.lake.state(SERVICE).progress.get(ENVIRONMENT, progress.Progress())
        after = dataclasses.replace(before, version=before.version + 1, offsets={"segment": 10 * (before.version + 1)})
        self.lake.append(SERVICE, blocks, environment=ENVIRONMENT, progress=after)

    @property
    def progress(self) -> progress.Progress:
        return self.lake.state(SERVICE).progress[ENVIRONMENT]

    def commits(self) -> list[str]:
        return [path.read_text() for path in sorted((self.path / "_delta_log").glob("*.json"))]

    def ids(self) -> list[str]:
        return sorted(name for (name,) in asking.select(self.path, "SELECT id FROM predictions", []))

    def files(self, days_ago: int) -> list[pathlib.Path]:
        day = TODAY - datetime.timedelta(days=days_ago)
        return [pathlib.Path(name) for name in deltalake.DeltaTable(self.path).file_uris() if f"day={day}" in name]


@pytest.fixture
def table(tmp_path) -> Table:
    return Table(tmp_path / "log")


def names(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [f"{chance.getrandbits(64):016x}" for _ in range(count)]


def test_a_finished_day_is_one_file_sorted_by_id_and_the_shippers_place_stays(table) -> None:
    for seed in range(5):
        table.append(block(names(40, seed), days_ago=1), block(names(3, seed + 50)))
    before, place = table.ids(), table.progress

    kept = table.keeper.keep(TODAY, keep_days=None)

    (file,) = table.files(1)
    found = pq.ParquetFile(file).read(columns=["id"])["id"].to_pylist()
    assert sorted(found) == found
    assert 200 == len(found)
    assert 5 == len(table.files(0))
    assert (before, place) == (table.ids(), table.progress)
    assert (("2026-11-19",), 10, 6) == (kept.days_sorted, kept.files_before, kept.files_after)


def test_what_was_sorted_is_left_alone_until_rows_come_late(table) -> None:
    table.append(block(names(5), days_ago=1))
    table.keeper.keep(TODAY, keep_days=None)
    version = deltalake.DeltaTable(table.path).version()

    assert () == table.keeper.keep(TODAY, keep_days=None).days_sorted
    assert version == deltalake.DeltaTable(table.path).version()

    table.append(block(["late"], days_ago=1))
    assert ("2026-11-19",) == table.keeper.keep(TODAY, keep_days=None).days_sorted
    assert 1 == len(table.files(1))


def test_many_files_of_today_are_joined(table, monkeypatch) -> None:
    monkeypatch.setattr(keeping, "FILES_OF_TODAY_MAX", 4)
    for seed in range(5):
        table.append(block(names(2, seed)))

    table.keeper.keep(TODAY, keep_days=None)

    assert 1 == len(table.files(0))
    assert 10 == len(table.ids())


def test_an_append_after_a_sorting_is_once_and_goes_on(table) -> None:
    table.append(block(["a"], days_ago=1))
    table.keeper.keep(TODAY, keep_days=None)
    again = dataclasses.replace(table.progress)

    table.lake.append(SERVICE, [block(["a"], days_ago=1)], environment=ENVIRONMENT, progress=again)
    assert ["a:0"] == table.ids()

    table.append(block(["b"]))
    assert (["a:0", "b:0"], 2) == (table.ids(), table.progress.version)


def test_days_older_than_the_policy_end_and_no_other(table) -> None:
    table.append(*(block([f"d{ago}"], days_ago=ago) for ago in (0, 29, 30, 31, 400)))
    place = table.progress

    would = table.keeper.keep(TODAY, keep_days=30, dry_run=True)
    assert 5 == len(table.ids())
    kept = table.keeper.keep(TODAY, keep_days=30)

    assert ["d0:0", "d29:0", "d30:0"] == table.ids()
    assert would.days_removed == kept.days_removed == ("2025-10-16", "2026-10-20")
    assert (2, place) == (kept.rows_removed, table.progress)


def test_rows_that_arrive_while_a_day_is_sorted_are_there_once(table) -> None:
    for seed in range(3):
        table.append(block(names(500, seed), days_ago=1))
    ending = threading.Event()
    written = table.ids()

    def arrive() -> None:
        other = Table(table.path.parent.parent)
        while not ending.is_set():
            name = f"n{len(written)}"
            other.append(block([name], days_ago=len(written) % 2))
            written.append(f"{name}:0")

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        for _ in range(5):
            table.keeper.keep(TODAY, keep_days=None)
    finally:
        ending.set()
        thread.join()

    assert sorted(written) == table.ids()
    assert len(written) - 1_500 == table.progress.version - 3


def test_one_persons_rows_are_gone_from_the_disk_too(table) -> None:
    table.append(block(["mine"], days_ago=2, key="secret-person"), block(["other"], days_ago=2, key="u2"))
    table.append(block(["mine-too"], key="secret-person"))
    table.keeper.keep(TODAY, keep_days=None)  # files it has replaced still hold the rows
    place = table.progress

    assert 2 == table.keeper.forget("secret-person", key_name=None, dry_run=True).rows
    found = table.keeper.forget("secret-person", key_name=None)

    assert (2, ("2026-11-18", "2026-11-20")) == (found.rows, found.days)
    assert (["other:0"], place) == (table.ids(), table.progress)
    held = [pq.ParquetFile(path).read(columns=["key"])["key"].to_pylist() for path in table.path.rglob("*.parquet")]
    assert {"u2"} == {key for keys in held for key in keys}
    assert not [path for path in (table.path / "_delta_log").iterdir() if b"secret-person" in path.read_bytes()]
    assert 0 == table.keeper.forget("secret-person", key_name=None).rows


def test_a_removal_that_was_killed_before_its_files_went_is_ended_by_the_next(tmp_path) -> None:
    home = tmp_path / "home"
    table = Table(home / "log")
    table.append(block(["mine"], key="secret-person"), block(["other"], key="u2"))
    deltalake.DeltaTable(table.path).delete("key = 'secret-person'")  # and then it was killed
    assert 2 == len(list(table.path.rglob("*.parquet")))

    done = typer.testing.CliRunner().invoke(main.APP, ["log", "forget", "secret-person", "--home", str(home), "--yes"])

    assert 0 == done.exit_code, done.output
    held = [pq.ParquetFile(path).read(columns=["key"])["key"].to_pylist() for path in table.path.rglob("*.parquet")]
    assert [["u2"]] == held


def test_the_shippers_place_is_told_again_before_the_history_is_cleaned(table, monkeypatch) -> None:
    table.append(block(["a"], days_ago=1))
    place = table.progress
    monkeypatch.setattr(delta, "_RENEW_SECONDS", -1.0)
    stale = deltalake.DeltaTable(table.path)

    table.keeper.keep(TODAY, keep_days=None)

    told = [number for number, commit in enumerate(table.commits()) if "softlaunch.progress" in commit]
    assert [1, 2] == told
    assert (place, ["a:0"]) == (table.progress, table.ids())
    table.append(block(["b"]))
    after = table.progress
    delta.renew(stale)  # somebody has got on since it was read
    assert (after, ["a:0", "b:0"]) == (table.progress, table.ids())


def test_a_table_whose_place_in_the_spool_was_cleaned_away_is_not_written(table) -> None:
    table.append(block(["a"]))
    (commit,) = (table.path / "_delta_log").glob("*1.json")
    commit.write_text(commit.read_text().replace("softlaunch.progress", "gone"))

    with pytest.raises(errors.UnavailableError, match="place in the spool"):
        table.append(block(["b"]))

    assert ["a:0"] == table.ids()


@pytest.mark.parametrize("value", ["4711", "o'clock", "x' OR true --", "\u00e4\u2603"])
def test_a_business_keys_rows_are_found_by_its_name_and_no_others(table, value) -> None:
    table.append(
        block(["a"], keys=[("customer", value), ("shop", "9")]),
        block(["b"], keys=[("shop", value)]),
        block(["c"], key=value),
    )

    assert 1 == table.keeper.forget(value, key_name="customer").rows
    assert ["b:0", "c:0"] == table.ids()


def test_a_file_that_is_being_written_is_never_deleted(table) -> None:
    table.append(block(["a"], key="gone"), block(["b"]))
    writing = table.files(0)[0].with_name("part-00000-not-committed-yet.parquet")
    writing.write_bytes(b"PAR1")

    table.keeper.forget("gone", key_name=None)
    table.keeper.keep(TODAY, keep_days=None)

    assert writing.exists()


def test_without_a_table_there_is_nothing_to_keep(table) -> None:
    assert keeping.Kept() == table.keeper.keep(TODAY, keep_days=1)
    assert 0 == table.keeper.forget("u1", key_name=None).rows


def _keep_for_ever(root: pathlib.Path, began: pathlib.Path) -> None:
    table = Table(root)
    began.touch()
    while True:
        (table.path.parent / "kept.json").unlink(missing_ok=True)
        table.keeper.keep(TODAY, keep_days=None)


@pytest.mark.slow
def test_kills_while_days_are_sorted_lose_and_double_nothing(table, tmp_path) -> None:
    chance = random.Random(6)
    for seed in range(4):
        table.append(block(names(20_000, seed), days_ago=1), block(names(20_000, seed + 9), days_ago=2))
    before, place = table.ids(), table.progress
    context = multiprocessing.get_context("spawn")
    for number in range(8):
        began = tmp_path / f"began-{number}"
        process = context.Process(target=_keep_for_ever, args=(table.path.parent.parent, began))
        process.start()
        while not began.exists() and process.is_alive():  # a busy machine takes its time to import
            time.sleep(0.01)
        time.sleep(0.3 + chance.random() * 0.8)
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    assert deltalake.DeltaTable(table.path).version() > 4 + 1  # it had got to commits
    assert (before, place) == (table.ids(), table.progress)
    table.keeper.keep(TODAY, keep_days=None)
    assert (before, 1, 1) == (table.ids(), len(table.files(1)), len(table.files(2)))

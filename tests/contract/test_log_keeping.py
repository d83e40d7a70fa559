"""Sorting, ends of days and removals of one person's rows, on real Delta tables beside the shipper's appends."""

from __future__ import annotations

import dataclasses
import datetime
import multiprocessing
import multiprocessing.synchronize
import os
import random
import signal
import threading
import time

import deltalake
import deltalake.fs
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
import typer.testing

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, keeping
from softlaunch.adapters.lake import place as places
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
    def __init__(self, root: places.Root) -> None:
        self.root = root
        self.lake = delta.DeltaLake(root)
        self.place = self.lake.place(SERVICE)
        self.keeper = keeping.Keeper(self.place)

    @property
    def files_system(self) -> pyarrow.fs.FileSystem:
        handler = deltalake.fs.DeltaStorageHandler(self.place.uri, self.place.storage_options)
        return pyarrow.fs.PyFileSystem(handler)

    def loaded(self) -> deltalake.DeltaTable:
        return self.place.load()

    def everything(self, folder: str = "") -> list[str]:
        """Names of all files below the table, whether it knows of them or not."""
        found = self.files_system.get_file_info(pyarrow.fs.FileSelector(folder, recursive=True))
        return sorted(each.path for each in found if each.type == pyarrow.fs.FileType.File)

    def content(self, name: str) -> bytes:
        with self.files_system.open_input_file(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        file = deltalake.fs.DeltaStorageHandler(self.place.uri, self.place.storage_options)._handler.open_output_stream(
            name, None
        )
        file.write(content)
        file.close()

    def column(self, name: str, column: str) -> list:
        return pq.read_table(self.files_system.open_input_file(name), columns=[column])[column].to_pylist()

    def held(self) -> list[list[str]]:
        """Keys that any file has."""
        return [self.column(name, "key") for name in self.everything() if name.endswith(".parquet")]

    def append(self, *blocks: lake.Block) -> None:
        before = self.lake.state(SERVICE).progress.get(ENVIRONMENT, progress.Progress())
        after = dataclasses.replace(before, version=before.version + 1, offsets={"segment": 10 * (before.version + 1)})
        self.lake.append(SERVICE, blocks, environment=ENVIRONMENT, progress=after)

    @property
    def progress(self) -> progress.Progress:
        return self.lake.state(SERVICE).progress[ENVIRONMENT]

    def commits(self) -> list[str]:
        return [self.content(name).decode() for name in self.everything("_delta_log") if name.endswith(".json")]

    def ids(self) -> list[str]:
        return sorted(row["id"] for row in asking.select(self.place, "SELECT id FROM predictions", []))

    def files(self, days_ago: int) -> list[str]:
        day = TODAY - datetime.timedelta(days=days_ago)
        return ["/".join(uri.split("/")[-2:]) for uri in self.loaded().file_uris() if f"day={day}" in uri]


@pytest.fixture
def table(log_root) -> Table:
    return Table(log_root)


def names(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [f"{chance.getrandbits(64):016x}" for _ in range(count)]


def test_a_finished_day_is_one_file_sorted_by_id_and_the_shippers_place_stays(table) -> None:
    for seed in range(5):
        table.append(block(names(40, seed), days_ago=1), block(names(3, seed + 50)))
    before, place = table.ids(), table.progress

    kept = table.keeper.keep(TODAY, keep_days=None)

    (file,) = table.files(1)
    found = table.column(file, "id")
    assert sorted(found) == found
    assert 200 == len(found)
    assert 5 == len(table.files(0))
    assert (before, place) == (table.ids(), table.progress)
    assert (("2026-11-19",), 10, 6) == (kept.days_sorted, kept.files_before, kept.files_after)


def test_what_was_sorted_is_left_alone_until_rows_come_late(table) -> None:
    table.append(block(names(5), days_ago=1))
    table.keeper.keep(TODAY, keep_days=None)
    version = table.loaded().version()

    assert () == table.keeper.keep(TODAY, keep_days=None).days_sorted
    assert version == table.loaded().version()

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
        other = Table(table.root)
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
    assert {"u2"} == {key for keys in table.held() for key in keys}
    assert not [name for name in table.everything("_delta_log") if b"secret-person" in table.content(name)]
    assert 0 == table.keeper.forget("secret-person", key_name=None).rows


def test_a_removal_that_was_killed_before_its_files_went_is_ended_by_the_next(tmp_path) -> None:
    home = tmp_path / "home"
    table = Table(places.Root(folder=home / "log"))
    table.append(block(["mine"], key="secret-person"), block(["other"], key="u2"))
    table.loaded().delete("key = 'secret-person'")  # and then it was killed
    assert 2 == len(table.held())

    done = typer.testing.CliRunner().invoke(main.APP, ["log", "forget", "secret-person", "--home", str(home), "--yes"])

    assert 0 == done.exit_code, done.output
    assert [["u2"]] == table.held()


def test_the_shippers_place_is_told_again_before_the_history_is_cleaned(table, monkeypatch) -> None:
    table.append(block(["a"], days_ago=1))
    place = table.progress
    monkeypatch.setattr(delta, "_RENEW_SECONDS", -1.0)
    stale = table.loaded()

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
    commit = "_delta_log/00000000000000000001.json"
    table.write(commit, table.content(commit).replace(b"softlaunch.progress", b"gone"))

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
    writing = table.files(0)[0].rpartition("/")[0] + "/part-00000-not-committed-yet.parquet"
    table.write(writing, b"PAR1")

    table.keeper.forget("gone", key_name=None)
    table.keeper.keep(TODAY, keep_days=None)

    assert writing in table.everything()


def test_without_a_table_there_is_nothing_to_keep(table) -> None:
    assert keeping.Kept() == table.keeper.keep(TODAY, keep_days=1)
    assert 0 == table.keeper.forget("u1", key_name=None).rows


def _keep_for_ever(root: places.Root, begun: multiprocessing.synchronize.Event) -> None:
    table = Table(root)
    begun.set()
    while True:
        (table.place.folder / "kept.json").unlink(missing_ok=True)
        table.keeper.keep(TODAY, keep_days=None)


@pytest.mark.slow
def test_kills_while_days_are_sorted_lose_and_double_nothing(table) -> None:
    chance = random.Random(6)
    for seed in range(4):
        table.append(block(names(20_000, seed), days_ago=1), block(names(20_000, seed + 9), days_ago=2))
    before, place = table.ids(), table.progress
    context = multiprocessing.get_context("spawn")
    for _ in range(8):
        begun = context.Event()
        process = context.Process(target=_keep_for_ever, args=(table.root, begun))
        process.start()
        assert begun.wait(60)
        time.sleep(0.1 + chance.random() * 0.8)
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    assert table.loaded().version() > 4 + 1  # it had got to commits
    assert (before, place) == (table.ids(), table.progress)
    table.keeper.keep(TODAY, keep_days=None)
    assert (before, 1, 1) == (table.ids(), len(table.files(1)), len(table.files(2)))

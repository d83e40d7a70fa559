"""What every store of live profiles promises."""

from __future__ import annotations

import sqlite3

import pytest

from softlaunch import errors
from softlaunch.adapters.lake import profiles as sqlite
from softlaunch.core import release
from softlaunch.core.drift import binning, live_profile
from softlaunch.core.prediction_log import progress
from softlaunch.testing import live_profiles as memory

BINS = binning.of_column(release.Datatype.FP64, None)
COLUMN = live_profile.ColumnKey(part=live_profile.FEATURES, name="x", binning=BINS.digest)


@pytest.fixture(params=["sqlite", "memory"])
def store(request, tmp_path):
    return sqlite.SqliteProfiles(tmp_path) if request.param == "sqlite" else memory.MemoryProfiles()


def key(hour: int = 5, arm: str = "stable", environment: str = "production") -> live_profile.Key:
    return live_profile.Key(environment=environment, release="0123456789ab", arm=arm, hour=hour)


def of(*values: float) -> live_profile.LiveProfile:
    column = live_profile.counted(BINS.count(BINS.values(values)))
    return live_profile.LiveProfile(row_count=len(values), feature_row_count=len(values), columns={COLUMN: column})


def prepare(store, mark: str, profiles, environment: str = "production") -> None:
    store.prepare("pricing", environment, mark=mark, profiles=profiles, binnings=[BINS])


def told(mark: str) -> dict[str, progress.Progress]:
    return {"production": progress.Progress(version=1, profiles=mark)}


def kept(store, **wanted):
    return dict(store.read("pricing", **wanted).profiles)


def test_nothing_is_there_before_the_first(store) -> None:
    store.settle("pricing", told("a"))

    assert ({}, 0) == (kept(store), store.remove("pricing", before_hour=9))


def test_what_is_only_prepared_is_not_there(store) -> None:
    prepare(store, "a", {key(): of(1.0)})

    assert {} == kept(store)


def test_what_the_commit_names_is_taken_over_once(store) -> None:
    prepare(store, "a", {key(): of(1.0)})
    for _ in range(3):
        store.settle("pricing", told("a"))
    prepare(store, "b", {key(): of(2.0), key(6): of(3.0)})
    store.settle("pricing", told("b"))

    assert {key(): of(1.0, 2.0), key(6): of(3.0)} == kept(store)
    assert {BINS.digest: BINS} == store.read("pricing").binnings


def test_what_no_commit_names_is_dropped(store) -> None:
    prepare(store, "a", {key(): of(1.0)})
    store.settle("pricing", told("other"))
    store.settle("pricing", told("a"))

    assert {} == kept(store)


def test_a_batch_that_is_made_again_replaces_the_one_before(store) -> None:
    prepare(store, "a", {key(): of(1.0), key(4): of(9.0)})
    prepare(store, "b", {key(): of(1.0, 2.0)})
    store.settle("pricing", told("b"))

    assert {key(): of(1.0, 2.0)} == kept(store)


def test_environments_are_in_step_each_with_its_own_commits(store) -> None:
    prepare(store, "a", {key(): of(1.0)})
    prepare(store, "b", {key(environment="integration"): of(2.0)}, environment="integration")
    store.settle("pricing", told("a"))
    assert {key(): of(1.0)} == kept(store)
    store.settle("pricing", {"integration": progress.Progress(version=1, profiles="b")})

    assert [key(environment="integration"), key()] == list(kept(store))


def test_hours_are_read_and_removed_by_their_bounds(store) -> None:
    prepare(store, "a", {key(hour): of(1.0) for hour in range(3, 8)})
    store.settle("pricing", told("a"))
    assert [4, 5] == [each.hour for each in kept(store, hours=(4, 6))]

    assert 2 == store.remove("pricing", before_hour=5)
    assert [5, 6, 7] == [each.hour for each in kept(store)]


def test_a_damaged_file_is_moved_aside_and_counting_begins_anew(tmp_path) -> None:
    store = sqlite.SqliteProfiles(tmp_path)
    prepare(store, "a", {key(): of(1.0)})
    path = tmp_path / "pricing" / sqlite.FILE
    path.write_bytes(b"no database at all" * 1_000)

    with pytest.raises(errors.UnavailableError, match="cannot be used"):
        prepare(store, "b", {key(): of(2.0)})
    prepare(store, "b", {key(): of(2.0)})
    store.settle("pricing", told("b"))

    assert {key(): of(2.0)} == kept(store)
    assert 1 == len(list(path.parent.glob("profiles.damaged-*")))


def test_a_store_that_another_holds_too_long_is_unavailable_and_not_damaged(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "_WAIT_SECONDS", 0.01)
    store = sqlite.SqliteProfiles(tmp_path)
    prepare(store, "a", {key(): of(1.0)})
    holding = sqlite3.connect(tmp_path / "pricing" / sqlite.FILE, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.UnavailableError):
        store.settle("pricing", told("a"))
    holding.close()
    store.settle("pricing", told("a"))

    assert {key(): of(1.0)} == kept(store)

"""The history in a state file: who edits it with another program is found out."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3

import pytest
import structlog
import structlog.testing

from softlaunch import errors
from softlaunch.adapters.sql import chain, store
from softlaunch.config import home as homes
from softlaunch.ports import store as records
from softlaunch.wiring import chain as wired


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    found = tmp_path / "state.db"
    with store.SqlStore(found) as kept:
        for number in range(6):
            event = records.HistoryEvent(
                id=0,
                at=float(number),
                service="flights",
                environment="production",
                rollout_id=None,
                kind="step",
                text="x",
            )
            kept.commit(records.Change(events=[event]))
    return found


def edited(path: pathlib.Path, *statements: str) -> None:
    """As somebody with an SQLite shell does it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("DROP TRIGGER events_no_delete")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def verdict(path: pathlib.Path) -> bool:
    return chain.check(path, chain.kept_heads(path)).intact


def test_an_untouched_history_verifies_beside_its_store(path) -> None:
    with store.SqlStore(path):
        assert verdict(path)
    assert verdict(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET text = 'y' WHERE id = 3",
        "DELETE FROM events WHERE id = 3",
        "DELETE FROM events WHERE id = 6",
        "DELETE FROM events",
        "UPDATE events SET hash = '' WHERE id = 1",
    ],
)
def test_an_edit_is_found(path, statement) -> None:
    edited(path, statement)

    assert not verdict(path)


def test_a_file_of_heads_that_is_gone_is_told(path) -> None:
    chain.heads_file(path).unlink()

    assert not verdict(path)


@pytest.mark.parametrize("length", [2, 9, 12, 30, 80])
def test_a_head_cut_short_by_a_kill_is_no_false_alarm_and_goes_with_the_next_start(path, length) -> None:
    whole = chain.heads_file(path).read_bytes()
    cut = b"\n" + json.dumps({"id": 7, "hash": "a" * 64}).encode()[:length]
    chain.heads_file(path).write_bytes(whole + cut)
    assert verdict(path)
    store.SqlStore(path).close()

    assert whole == chain.heads_file(path).read_bytes()
    chain.keep_head(path, chain.kept_heads(path)[-1])
    assert verdict(path)


@pytest.mark.parametrize(
    "garbled",
    [
        '{"id": 3, "ha',
        '{"id": 3, "hash": "00"}',
        '{"id": 3, "hash": "' + "0" * 64 + '", "more": 1}',
        '{"id": 3',
        "x",
        '{"id": "3", "hash": "' + "0" * 64 + '"}',
    ],
)
def test_a_garbled_line_that_is_not_the_last_is_told_by_its_number(path, garbled) -> None:
    lines = chain.heads_file(path).read_text().split("\n")
    lines[3] = garbled
    chain.heads_file(path).write_text("\n".join(lines))

    with pytest.raises(errors.ConfigError, match="line 4 is no head"):
        chain.kept_heads(path)


@pytest.mark.parametrize("garbled", ["x", '{"id": 7, "hash": "ZZ', '{"id": 7, "hash": "00"}', '{"hash'])
def test_a_last_line_that_no_kill_leaves_is_an_error(path, garbled) -> None:
    with chain.heads_file(path).open("a") as file:
        file.write(f"\n{garbled}")

    with pytest.raises(errors.ConfigError, match="is no head"):
        chain.kept_heads(path)


def test_heads_that_were_taken_away_are_begun_anew_loudly_and_what_was_before_is_unknown(path) -> None:
    chain.heads_file(path).unlink()
    with structlog.testing.capture_logs() as told:
        store.SqlStore(path).close()
    found = chain.check(path, chain.kept_heads(path))

    assert [("heads_were_gone", 6)] == [(each["event"], each["record"]) for each in told]
    assert (True, 6) == (found.intact, found.unknown_before)


def test_a_start_without_the_file_of_heads_is_told_before_it_begins_anew(path) -> None:
    home = homes.Home(root=path.parent)
    with_heads = wired.headless(home)
    home.heads_file.unlink()
    without_heads = wired.headless(home)
    store.SqlStore(path).close()

    assert chain.heads_file(home.state_file) == home.heads_file
    assert (0, 6, 0) == (with_heads, without_heads, wired.headless(home))


def test_a_new_home_has_its_file_of_heads_before_its_first_record(tmp_path) -> None:
    with structlog.testing.capture_logs() as told:
        store.SqlStore(tmp_path / "state.db").close()
        store.SqlStore(tmp_path / "state.db").close()

    assert ([], []) == (told, chain.kept_heads(tmp_path / "state.db"))
    assert chain.heads_file(tmp_path / "state.db").exists()
    assert 0 == chain.check(tmp_path / "state.db", []).unknown_before


def test_a_home_without_history_is_told_so(tmp_path) -> None:
    with pytest.raises(errors.ConfigError, match="There is no state"):
        chain.check(tmp_path / "state.db", [])


@pytest.mark.parametrize(("revision", "count"), [("r0001", 1), ("r0002", 3)])
def test_a_history_of_an_older_schema_is_chained_when_it_is_opened(tmp_path, revision, count) -> None:
    path = tmp_path / "state.db"
    first = pathlib.Path(__file__).parent / f"state_{revision}.sql"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(first.read_text(encoding="utf-8"))
    with structlog.testing.capture_logs() as told:
        store.SqlStore(path).close()
    found = chain.check(path, chain.kept_heads(path))

    assert ([], True, count, count) == (told, found.intact, found.record_count, found.unknown_before)
    edited(path, "UPDATE events SET text = 'Nothing.' WHERE id = 1")
    assert not verdict(path)

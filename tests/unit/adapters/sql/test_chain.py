"""The history in a state file: who edits it with another program is found out."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3

import pytest

from softlaunch import errors
from softlaunch.adapters.sql import chain, store
from softlaunch.ports import store as records


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


def test_a_head_cut_short_by_a_kill_is_no_false_alarm(path) -> None:
    with chain.heads_file(path).open("a") as file:
        file.write('\n{"id": 7, "ha')
    assert verdict(path)
    chain.keep_head(path, chain.kept_heads(path)[-1])

    assert 7 == len(chain.kept_heads(path))
    assert verdict(path)


def test_a_home_without_history_is_told_so(tmp_path) -> None:
    with pytest.raises(errors.ConfigError, match="There is no state"):
        chain.check(tmp_path / "state.db", [])


def test_a_history_of_the_first_schema_is_chained_when_it_is_opened(tmp_path) -> None:
    path = tmp_path / "state.db"
    first = pathlib.Path(__file__).parent / "state_r0001.sql"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(first.read_text(encoding="utf-8"))
    store.SqlStore(path).close()

    assert verdict(path)
    edited(path, "UPDATE events SET text = 'Nothing.'")
    assert not verdict(path)

"""What the SQLite store promises beyond its port: about the file, the schema, a full disk, time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time

import alembic.autogenerate
import alembic.command
import alembic.config
import alembic.migration
import alembic.script
import pytest
import sqlalchemy as sa

from softlaunch import errors
from softlaunch.adapters.sql import migrate, schema, store
from softlaunch.controller import desired
from softlaunch.core import release, spec
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import gateway
from softlaunch.ports import store as records

DIGEST = release.Digest("sha256:" + "1" * 64)
PRODUCTION = spec.EnvironmentSpec(
    name="production", strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 10_000))
)
STATE = machine.begin(phases.plan_of(PRODUCTION, compared=True), now=1.0, reason="Launch.").state
THIRD = pathlib.Path(__file__).parent / "state_r0003.sql"
"""What softlaunch wrote before settings had launches of their own, likewise: code and settings changed at once."""
FIRST = pathlib.Path(__file__).parent / "state_r0001.sql"
"""What softlaunch wrote before there were steps of other kinds than shares, as `sqlite3 state.db .dump` tells it."""
SECOND = pathlib.Path(__file__).parent / "state_r0002.sql"
"""What softlaunch wrote before its history was a chain: two commits, with a pin, a complaint and a successor."""
EVIDENCE = {"bins": [random.Random(1).random() for _ in range(260)]}
"""About 5 kB of JSON, as the judge's state is."""


def rollout(number: int = 1, **changes) -> records.RolloutRecord:
    record = records.RolloutRecord(
        id=number,
        service="flights",
        environment="production",
        candidate=DIGEST,
        stable=DIGEST,
        spec=PRODUCTION,
        state=STATE,
        ref="main",
        commit="c" * 40,
        requested_by="ann",
        salt="5a17",
        created_at=1.0,
        evidence=EVIDENCE,
    )
    return dataclasses.replace(record, **changes)


def change(offset: int, **changes) -> records.Change:
    found = records.Change(
        rollouts=[rollout(evidence={"offset": offset})],
        events=[
            records.HistoryEvent(
                id=0, at=1.0, service="flights", environment="production", rollout_id=1, kind="step", text="x" * 500
            )
        ],
        cursor=gateway.LogCursor(offset=offset),
        keys={1: [("errors", offset)]},
    )
    return dataclasses.replace(found, **changes)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state.db"


def offsets(kept: store.SqlStore) -> set[int]:
    """The number of commits, told by each thing a commit writes."""
    world = kept.load()
    return {
        world.cursor.offset,
        world.rollouts[0].evidence["offset"],
        len(kept.keys(1)),
        len(kept.events(limit=100_000)),
    }


# ------------------------------------------------------------------------------------------------------------ file


def test_nobody_else_may_read_the_file(path: pathlib.Path) -> None:
    mask = os.umask(0)
    try:
        with store.SqlStore(path) as kept:
            kept.commit(change(1))
            assert {0o600} == {found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    finally:
        os.umask(mask)


def test_a_file_others_could_read_is_closed_to_them_when_it_is_opened(path: pathlib.Path) -> None:
    store.SqlStore(path).close()
    path.chmod(0o644)

    with store.SqlStore(path):
        assert 0o600 == path.stat().st_mode & 0o777


def test_what_was_committed_is_there_after_reopening(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        before = kept.load()

    with store.SqlStore(path) as kept:
        assert before == kept.load()


def test_every_connection_waits_logs_ahead_syncs_and_checks_references(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept, kept._engine.connect() as first, kept._engine.connect() as second:
        for connection in (first, second):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5_000} == found


@pytest.mark.parametrize("junk", [b"not a database, whatever its name says" * 100, os.urandom(8_192)])
def test_a_file_that_is_no_database_is_damaged(path: pathlib.Path, junk: bytes) -> None:
    path.write_bytes(junk)

    with pytest.raises(errors.UnavailableError) as refused:
        store.SqlStore(path)

    assert errors.Code.STATE_DAMAGED is refused.value.code
    assert junk == path.read_bytes()


def test_a_file_with_a_page_overwritten_is_damaged(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        for number in range(50):
            kept.commit(change(number))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + os.urandom(4_096) + whole[len(whole) // 2 + 4_096 :])

    with pytest.raises(errors.UnavailableError) as refused:
        store.SqlStore(path)

    assert errors.Code.STATE_DAMAGED is refused.value.code


def test_a_file_cut_short_is_damaged(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        for number in range(50):
            kept.commit(change(number))
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(errors.UnavailableError) as refused:
        store.SqlStore(path)

    assert errors.Code.STATE_DAMAGED is refused.value.code


def test_a_row_no_softlaunch_wrote_is_damage_and_names_what_is_wrong(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        with kept._engine.begin() as connection:
            connection.exec_driver_sql("""UPDATE rollouts SET state = '{"schema":9}'""")

        with pytest.raises(errors.UnavailableError, match="schema is 9") as refused:
            kept.load()

    assert errors.Code.STATE_DAMAGED is refused.value.code


@pytest.mark.parametrize("place", ["nowhere/state.db", "."])
def test_a_place_where_no_file_can_be_is_unwritable(tmp_path: pathlib.Path, place: str) -> None:
    with pytest.raises(errors.UnavailableError) as refused:
        store.SqlStore(tmp_path / place)

    assert errors.Code.STATE_UNWRITABLE is refused.value.code


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(path: pathlib.Path, *, replaced: bool) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        path.unlink()
        if replaced:
            path.touch()

        for deed in (lambda: kept.commit(change(2)), kept.load):
            with pytest.raises(errors.UnavailableError) as refused:
                deed()
            assert errors.Code.STATE_UNWRITABLE is refused.value.code


def test_a_lock_that_somebody_holds_too_long_is_reported_and_the_next_commit_succeeds(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        with kept._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.UnavailableError, match="locked"):
            kept.commit(change(1))
        other.execute("ROLLBACK")
        other.close()

        kept.commit(change(1))

        assert {1} == offsets(kept)


# ------------------------------------------------------------------------------------------------------- full disk


def test_a_full_disk_leaves_nothing_half_written_and_room_lets_it_go_on(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        with kept._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")
        done = 1
        with pytest.raises(errors.UnavailableError, match="full") as refused:  # noqa: PT012 - until it is full
            while done < 1_000:
                kept.commit(change(done + 1))
                done += 1
        assert errors.Code.STATE_UNWRITABLE is refused.value.code
        assert {done} == offsets(kept)

        with pytest.raises(errors.UnavailableError):
            kept.commit(change(done + 1, keys={1: [("errors", number) for number in range(10_000)]}))
        assert {done} == offsets(kept)

        with kept._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        kept.commit(change(done + 1))
        assert {done + 1} == offsets(kept)


# ---------------------------------------------------------------------------------------------------------- schema


def test_the_migrations_build_what_the_tables_say(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept, kept._engine.connect() as connection:
        context = alembic.migration.MigrationContext.configure(connection)
        assert [] == alembic.autogenerate.compare_metadata(context, schema.METADATA)
        partial = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'rollouts_unfinished'"
        ).scalar()
    assert "UNIQUE" in partial
    assert partial.endswith("WHERE finished_at IS NULL")


def test_every_migration_is_listed_oldest_first() -> None:
    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(migrate.SCRIPTS))
    script = alembic.script.ScriptDirectory.from_config(settings)

    assert schema.REVISIONS == tuple(found.revision for found in script.walk_revisions())[::-1]


def test_a_file_of_a_newer_softlaunch_is_refused_and_left_alone(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept, kept._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'r9999'")
    before = path.read_bytes()

    with pytest.raises(errors.ConfigError, match="r9999") as refused:
        store.SqlStore(path)

    assert errors.Code.STATE_NEWER is refused.value.code
    assert "upgrade softlaunch" in refused.value.remedy
    assert before == path.read_bytes()


def test_a_database_of_something_else_is_refused_and_left_alone(path: pathlib.Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()

    with pytest.raises(errors.ConfigError, match="recipes") as refused:
        store.SqlStore(path)

    assert errors.Code.STATE_FOREIGN is refused.value.code
    with sqlite3.connect(path) as connection:
        assert [("recipes",)] == connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()


def test_a_migration_that_fails_halfway_leaves_the_file_as_it_was(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
    scripts = tmp_path / "scripts"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "r9998_breaks.py").write_text(
        "from alembic import op\n"
        "import sqlalchemy as sa\n"
        f"revision, down_revision = 'r9998', {schema.REVISIONS[-1]!r}\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer))\n"
        "    op.execute('DROP TABLE listeners')\n"
        "    op.execute('SELECT * FROM nowhere')\n"
    )

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "SCRIPTS", scripts)
        patched.setattr(schema, "REVISIONS", (*schema.REVISIONS, "r9998"))
        with pytest.raises(errors.UnavailableError, match="nowhere"):
            store.SqlStore(path)

    with store.SqlStore(path) as kept:
        assert {1} == offsets(kept)
        assert "half" not in sa.inspect(kept._engine).get_table_names()


def test_an_older_file_is_brought_up_to_date_when_it_is_opened(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
    scripts = tmp_path / "scripts"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "r9998_adds.py").write_text(
        "from alembic import op\n"
        "import sqlalchemy as sa\n"
        f"revision, down_revision = 'r9998', {schema.REVISIONS[-1]!r}\n"
        "def upgrade():\n"
        "    op.add_column('events', sa.Column('by', sa.Text, nullable=False, server_default=''))\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "r9998"))

    with store.SqlStore(path) as kept:
        assert "by" in {column["name"] for column in sa.inspect(kept._engine).get_columns("events")}
        assert {1} == offsets(kept)


def test_a_file_of_the_first_schema_opens_with_all_it_held_and_takes_what_is_new(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST.read_text(encoding="utf-8"))

    with store.SqlStore(path) as kept:
        (live,), (launch,) = kept.load().lives, kept.load().rollouts
        assert (0.0, 3, {"attempts": 7}) == (live.warm_until, live.epoch, live.history)
        assert (None, phases.Phase.STEPPING, 1) == (launch.successor, launch.state.phase, launch.state.step)
        assert spec.shares(100, 2_500, 10_000) == launch.spec.strategy.steps == launch.state.plan.steps
        assert [("errors", 2**63 + 1)] == list(kept.keys(1))
        assert ["Launch."] == [event.text for event in kept.events()]
        successor = records.Successor(
            id=2, release=DIGEST, spec=PRODUCTION, ref="v2", commit="c" * 40, requested_by="bob"
        )
        following = dataclasses.replace(launch, successor=successor)
        kept.commit(
            records.Change(
                lives=[dataclasses.replace(live, warm_until=9.5)], rollouts=[following], bookmarks={"spool": "7"}
            )
        )
        assert (following,) == kept.load().rollouts
        assert 9.5 == kept.load().lives[0].warm_until
        context = alembic.migration.MigrationContext.configure(kept._engine.connect())
        assert [] == alembic.autogenerate.compare_metadata(context, schema.METADATA)


def test_what_ran_before_settings_had_launches_keeps_its_names_and_its_settings(path: pathlib.Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(THIRD.read_text(encoding="utf-8"))
    connection.close()

    with store.SqlStore(path) as kept:
        world = kept.load()
        (live,), (running,) = world.lives, world.rollouts
        wanted = desired.replicas([live], {("flights", "production"): running}, now=live.warm_until - 1.0)
        (pinned,) = kept.pins()
        began = kept.events()

    assert {f"flights/production/{digit * 12}/{number}" for digit in "123" for number in (0, 1)} == set(wanted)
    assert {"info"} == {found.env["LEVEL"] for found in wanted.values()}, "as it was: the old settings were not kept"
    assert (None, {}) == (live.previous_spec, running.settings_changed)
    assert running.successor is not None
    assert not any(
        isinstance(found, release.Arm)
        for found in (live.stable, live.previous, running.candidate, running.successor.release, pinned.release)
    )
    assert [True] == [bool(found.hash) for found in began], "a chain goes on"


def test_a_file_of_the_second_schema_is_read_whole(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SECOND.read_text(encoding="utf-8"))

    with store.SqlStore(path) as kept:
        (live,), (launch,) = kept.load().lives, kept.load().rollouts
        assert (9.5, 3, {"attempts": 7}) == (live.warm_until, live.epoch, live.history)
        assert (2, "v3", phases.Phase.PREPARING) == (launch.successor.id, launch.successor.ref, launch.state.phase)
        assert ["Errors."] == [pin.reason for pin in kept.pins()]
        assert ["Wrong."] == [complaint.text for complaint in kept.complaints()]
        assert [{}, {}, {}] == [dict(event.facts) for event in kept.events()]
        context = alembic.migration.MigrationContext.configure(kept._engine.connect())
        assert [] == alembic.autogenerate.compare_metadata(context, schema.METADATA)


def test_a_successor_no_softlaunch_wrote_is_damage(path: pathlib.Path) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        with kept._engine.begin() as connection:
            connection.exec_driver_sql("""UPDATE rollouts SET successor = '{"ref":"v2"}'""")

        with pytest.raises(errors.UnavailableError, match="'id'") as refused:
            kept.load()

    assert errors.Code.STATE_DAMAGED is refused.value.code


@pytest.mark.parametrize("table", ["events", "keys"])
@pytest.mark.parametrize("deed", ["DELETE FROM {}", "UPDATE {} SET id = id + 100"])
def test_history_and_keys_are_append_only(path: pathlib.Path, table: str, deed: str) -> None:
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        with (
            pytest.raises(sa.exc.IntegrityError, match="append-only"),
            kept._engine.begin() as connection,
        ):
            connection.exec_driver_sql(deed.format(table))
        assert {1} == offsets(kept)


def test_an_up_to_date_file_opens_without_importing_alembic(path: pathlib.Path) -> None:
    store.SqlStore(path).close()
    program = (
        "import pathlib, sys\n"
        "from softlaunch.adapters.sql import store\n"
        "store.SqlStore(pathlib.Path(sys.argv[1])).close()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )

    assert 0 == subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode


# ------------------------------------------------------------------------------------------------------------ time


def test_loading_the_world_walks_no_finished_rollout(path: pathlib.Path) -> None:
    statements = []
    with store.SqlStore(path) as kept:
        kept.commit(change(1))
        sa.event.listen(kept._engine, "before_cursor_execute", lambda *found: statements.append(found[2]))
        kept.load()
        seen = tuple(statements)
        with kept._engine.connect() as connection:
            plans = [
                row[3]
                for statement in seen
                if "FROM rollouts" in statement
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
            ]

    assert 2 == len(plans)
    assert "rollouts_unfinished" in plans[0]
    assert plans[1] == "SEARCH rollouts"  # max(id): one step down the tree


def test_a_thousand_finished_rollouts_do_not_slow_loading_down(path: pathlib.Path) -> None:
    def load_seconds() -> float:
        taken = []
        for _ in range(9):
            started = time.thread_time()
            kept.load()
            taken.append(time.thread_time() - started)
        return min(taken)

    with store.SqlStore(path) as kept:
        kept.commit(records.Change(rollouts=[rollout(1)]))
        alone = load_seconds()
        kept.commit(records.Change(rollouts=[rollout(1, finished_at=2.0)]))
        kept.commit(records.Change(rollouts=[rollout(number, finished_at=2.0) for number in range(2, 1_001)]))
        kept.commit(records.Change(rollouts=[rollout(1_001)]))
        crowded = load_seconds()

    assert crowded < 2 * alone

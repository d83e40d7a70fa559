"""
The state store in SQLite: ports.store.Store for one control plane on one machine.

One commit is one transaction, durable when it returns (write-ahead log, synchronous=FULL): a decision, the evidence it
rests on and the place in the attempt log up to which that evidence was read are written together or not at all.
Any thread may call any method: readers see the last commit while a writer writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from softlaunch import errors
from softlaunch.adapters.sql import chain, migrate, rows, schema
from softlaunch.adapters.sql import engine as engines
from softlaunch.core import history_chain, release
from softlaunch.ports import gateway, store

_CURSOR_ID = 1


class SqlStore:
    """
    The store in one file.

    Args:
        path: The database file; created when missing, in a directory that exists.
        upgrade: Bring it to this softlaunch's schema. Without that it is left as it is, for whoever reads a file that
            a control plane may be writing.

    Raises:
        ConfigError: a newer softlaunch wrote the file, or an older one and `upgrade` is false; or it is a database of
            something else.
        UnavailableError: the file is damaged, or cannot be opened, read or written.
    """

    def __init__(self, path: pathlib.Path, *, upgrade: bool = True) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._engine = engines.create(path)
        try:
            if upgrade:
                before = migrate.upgrade(self._engine, path)
                self._check_whole()
                with engines.reading(self._engine, path) as connection:
                    chain.begin_heads(path, _last_record(connection), chained=before not in schema.UNCHAINED)
            else:
                migrate.check(self._engine, path)
            self._identity = self._stat()
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; the last one folds the write-ahead log into the file."""
        self._engine.dispose()

    def load(self) -> store.World:
        lives, rollouts = schema.LIVES, schema.ROLLOUTS
        with self._reading() as connection:
            cursor = connection.execute(sa.select(schema.CURSOR)).mappings().one_or_none()
            ports = connection.execute(sa.select(schema.LISTENERS)).mappings().all()
            places = connection.execute(sa.select(lives).order_by(lives.c.service, lives.c.environment)).mappings()
            # Not ordered by SQL: SQLite would then walk the whole table by its key, not the index of the unfinished.
            unfinished = connection.execute(sa.select(rollouts).where(rollouts.c.finished_at.is_(None))).mappings()
            running = tuple(sorted((rows.rollout(row) for row in unfinished), key=_number))
            number_last = connection.execute(sa.select(sa.func.max(rollouts.c.id))).scalar() or 0
            return store.World(
                lives=tuple(rows.live(row) for row in places),
                rollouts=running,
                listeners={row["environment"]: row["port"] for row in ports},
                cursor=_cursor(cursor),
                rollout_id_last=max(number_last, *(found.successor.id for found in running if found.successor), 0),
            )

    def commit(self, change: store.Change) -> None:
        # Everything is turned into rows first: what cannot be written is refused before the lock is taken.
        lives = [rows.live_row(record) for record in change.lives]
        rollouts = [rows.rollout_row(record) for record in sorted(change.rollouts, key=_finished_first)]
        events = [rows.event_row(event) for event in change.events]
        keys = _key_rows(change)
        pins = [rows.pin_row(pin) for pin in change.pins]
        complaints = [rows.complaint_row(complaint) for complaint in change.complaints]
        bookmarks = [rows.bookmark_row(name, text) for name, text in change.bookmarks.items()]
        if any(event.id or event.hash for event in change.events) or any(found.id for found in change.complaints):
            raise errors.InvariantError("A new record in a change has a number: the store gives the numbers.")
        with self._lock:
            self._check_present()
            with engines.writing(self._engine, self._path) as connection:
                _upsert(connection, schema.LIVES, lives)
                _upsert(connection, schema.ROLLOUTS, rollouts)
                for environment, port in change.listeners.items():
                    _put_listener(connection, environment, port)
                head = _append_history(connection, events)
                if change.cursor is not None:
                    _upsert(connection, schema.CURSOR, [_cursor_row(change.cursor)])
                if keys:
                    connection.execute(sa.insert(schema.KEYS), keys)
                _upsert(connection, schema.PINS, pins)
                _add_complaints(connection, complaints)
                _upsert(connection, schema.BOOKMARKS, bookmarks)
            if head is not None:
                chain.keep_head(self._path, head)

    def keys(self, rollout_id: int) -> Sequence[tuple[str, int]]:
        table = schema.KEYS
        statement = sa.select(table.c.guardrail, table.c.key).where(table.c.rollout_id == rollout_id)
        with self._reading() as connection:
            found = connection.execute(statement.order_by(table.c.id)).all()
        return tuple((guardrail, rows.unsigned(key)) for guardrail, key in found)

    def rollout(self, rollout_id: int) -> store.RolloutRecord | None:
        table = schema.ROLLOUTS
        with self._reading() as connection:
            found = connection.execute(sa.select(table).where(table.c.id == rollout_id)).mappings().one_or_none()
            return None if found is None else rows.rollout(found)

    def rollouts(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        release: release.Digest | None = None,
        limit: int = 50,
    ) -> Sequence[store.RolloutRecord]:
        table = schema.ROLLOUTS
        statement = _in_place(sa.select(table), table, service, environment)
        if release is not None:
            statement = statement.where(sa.func.substr(table.c.candidate, 1, len(release.value)) == release.value)
        with self._reading() as connection:
            found = connection.execute(statement.order_by(table.c.id.desc()).limit(limit)).mappings().all()
            return tuple(rows.rollout(row) for row in found)

    def events(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        rollout_id: int | None = None,
        after_id: int = 0,
        limit: int = 200,
    ) -> Sequence[store.HistoryEvent]:
        table = schema.EVENTS
        statement = _in_place(sa.select(table).where(table.c.id > after_id), table, service, environment)
        if rollout_id is not None:
            statement = statement.where(table.c.rollout_id == rollout_id)
        with self._reading() as connection:
            found = connection.execute(statement.order_by(table.c.id).limit(limit)).mappings().all()
        return tuple(rows.event(row) for row in found)

    def pins(self, *, service: str | None = None, environment: str | None = None) -> Sequence[store.Pin]:
        table = schema.PINS
        statement = _in_place(sa.select(table), table, service, environment)
        order = (table.c.at.desc(), table.c.service, table.c.environment, table.c.release)
        with self._reading() as connection:
            found = connection.execute(statement.order_by(*order)).mappings().all()
            return tuple(rows.pin(row) for row in found)

    def complaints(
        self, *, service: str | None = None, environment: str | None = None, since: float = 0.0, limit: int = 1_000
    ) -> Sequence[store.Complaint]:
        table = schema.COMPLAINTS
        statement = _in_place(sa.select(table).where(table.c.at >= since), table, service, environment)
        order = (table.c.at.desc(), table.c.id.desc())
        with self._reading() as connection:
            found = connection.execute(statement.order_by(*order).limit(limit)).mappings().all()
        return tuple(rows.complaint(row) for row in found)

    def bookmark(self, name: str) -> str | None:
        table = schema.BOOKMARKS
        with self._reading() as connection:
            found: str | None = connection.execute(sa.select(table.c.text).where(table.c.name == name)).scalar()
        return found

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        self._check_present()
        try:
            with engines.reading(self._engine, self._path) as connection:
                yield connection
        except (errors.ConfigError, errors.InvariantError) as error:
            # The schema's version was checked when the file was opened: no softlaunch wrote a row that cannot be read.
            raise engines.damaged(self._path, error.message.rstrip(".")) from error
        except (ValueError, KeyError) as error:
            raise engines.damaged(self._path, f"not the JSON that was written: {error}") from error

    def _check_whole(self) -> None:
        with engines.reading(self._engine, self._path) as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise engines.damaged(self._path, str(found))

    def _stat(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise engines.unwritable(self._path, error) from error
        return found.st_dev, found.st_ino

    def _check_present(self) -> None:
        """SQLite would go on writing into a deleted file, and everything acknowledged from then on would be lost."""
        if self._stat() != self._identity:
            raise engines.unwritable(self._path, "it is another file than the one that was opened")


def _number(record: store.RolloutRecord) -> int:
    return record.id


def _finished_first(record: store.RolloutRecord) -> tuple[bool, int]:
    """One change may end a rollout and begin the next in its place; the schema allows one unfinished at any moment."""
    return record.finished_at is None, record.id


def _upsert(connection: sa.Connection, table: sa.Table, found: Sequence[rows.Row]) -> None:
    if not found:
        return
    statement = sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    updates = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=updates), list(found))


def _last_record(connection: sa.Connection) -> history_chain.Head | None:
    table = schema.EVENTS
    last = connection.execute(sa.select(table.c.id, table.c.hash).order_by(table.c.id.desc()).limit(1)).one_or_none()
    return None if last is None else history_chain.Head(id=last.id, hash=last.hash)


def _append_history(connection: sa.Connection, found: Sequence[rows.Row]) -> history_chain.Head | None:
    """Adds records to the chain; the transaction holds the lock, so nobody else adds one."""
    if not found:
        return None
    table = schema.EVENTS
    linked = history_chain.chain(
        _last_record(connection), [history_chain.Record(id=0, hash="", **row) for row in found]
    )
    connection.execute(sa.insert(table), [dataclasses.asdict(record) for record in linked])
    return history_chain.Head(id=linked[-1].id, hash=linked[-1].hash)


def _add_complaints(connection: sa.Connection, found: Sequence[rows.Row]) -> None:
    """A ticket that is there already is left as it was."""
    if found:
        statement = sqlite.insert(schema.COMPLAINTS).on_conflict_do_nothing(
            index_elements=["external_id"], index_where=schema.COMPLAINT_IS_A_TICKET
        )
        connection.execute(statement, list(found))


def _put_listener(connection: sa.Connection, environment: str, port: int) -> None:
    table = schema.LISTENERS
    given = connection.execute(sa.select(table.c.port).where(table.c.environment == environment)).scalar()
    if given is None:
        connection.execute(sa.insert(table), {"environment": environment, "port": port})
    elif given != port:
        raise errors.InvariantError(f"Environment {environment!r} listens on {given}, which never changes to {port}.")


def _key_rows(change: store.Change) -> list[rows.Row]:
    return [
        {"rollout_id": number, "guardrail": guardrail, "key": rows.signed(key)}
        for number, keys in change.keys.items()
        for guardrail, key in keys
    ]


def _cursor_row(cursor: gateway.LogCursor) -> rows.Row:
    return {"id": _CURSOR_ID, "file_id": rows.signed(cursor.file_id), "offset": cursor.offset}


def _cursor(row: sa.RowMapping | None) -> gateway.LogCursor:
    if row is None:
        return gateway.LogCursor()
    return gateway.LogCursor(file_id=rows.unsigned(row["file_id"]), offset=row["offset"])


def _in_place(
    statement: sa.Select[Any], table: sa.Table, service: str | None, environment: str | None
) -> sa.Select[Any]:
    if service is not None:
        statement = statement.where(table.c.service == service)
    if environment is not None:
        statement = statement.where(table.c.environment == environment)
    return statement

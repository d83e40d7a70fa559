"""
The way to the database file: pragmas, transactions, and what SQLite's errors mean.

Only the control plane opens the file (its home is locked), with a few connections for its threads. SQLite, not its
Python driver, begins transactions here: the driver begins none for DDL, and a migration must be one.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from softlaunch import errors

BUSY_TIMEOUT_MS = 5_000
"""Somebody's SQLite shell or backup may hold the file for a moment; longer than this and it is stuck."""
_JOURNAL_BYTES_MAX = 64 * 1024 * 1024
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_IMMEDIATE = "softlaunch_immediate"


def create(path: pathlib.Path) -> sa.Engine:
    """
    An engine on the file, which is created readable by its owner only; nothing is read yet.

    Raises:
        UnavailableError: the file cannot be created or is not ours to protect.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # SQLite gives its -wal and -shm files the same mode
    except OSError as error:
        raise unwritable(path, error) from error
    url = sa.URL.create("sqlite+pysqlite", database=str(path))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"this file system does not carry a write-ahead log (journal mode is {mode})")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged commit survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES_MAX}")


def _on_begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextlib.contextmanager
def reading(engine: sa.Engine, path: pathlib.Path) -> Iterator[sa.Connection]:
    """A transaction that sees one moment."""
    with translated(path), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def writing(engine: sa.Engine, path: pathlib.Path) -> Iterator[sa.Connection]:
    """A transaction that is durable when the block is left, or never was."""
    # IMMEDIATE takes the write lock first: a transaction that read before it writes could not wait for the lock.
    with translated(path), engine.execution_options(**{_IMMEDIATE: True}).begin() as connection:
        yield connection


@contextlib.contextmanager
def translated(path: pathlib.Path) -> Iterator[None]:
    """
    Errors of the database as ours.

    Raises:
        InvariantError: a rule of the schema was broken.
        UnavailableError: the file is damaged, full, locked, gone or otherwise out of order.
    """
    try:
        yield
    except sqlalchemy.exc.IntegrityError as error:
        raise errors.InvariantError(f"The state store refused a change: {error.orig}.") from error
    except sqlalchemy.exc.DBAPIError as error:
        raise _meaning(path, error.orig) from error
    except sqlite3.DatabaseError as error:  # from the connect event, which SQLAlchemy does not wrap
        raise _meaning(path, error) from error


def _meaning(path: pathlib.Path, error: BaseException | None) -> errors.UnavailableError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bytes refine the primary code
    return damaged(path, str(error)) if code in _DAMAGED else unwritable(path, error)


def damaged(path: pathlib.Path, detail: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The state in {path} is damaged: {detail}.",
        remedy="Traffic keeps flowing without it. Run `softlaunch down`, keep a copy of the file, restore a backup "
        "(state.db with its -wal file) or move it away and deploy again.",
        code=errors.Code.STATE_DAMAGED,
    )


def unwritable(path: pathlib.Path, error: object) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The state in {path} could not be read or written: {error}.",
        remedy="Make room on the disk and check that the file is there and yours; nothing was half-written.",
        code=errors.Code.STATE_UNWRITABLE,
    )

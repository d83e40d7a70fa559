"""
Features by SQL: a query of one row, through SQLAlchemy.

SQLite files are opened read-only, and never created.
"""

from __future__ import annotations

import importlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import lookup_values
from softlaunch.serving.features import source

_LATE = ("locked", "statement timeout", "canceling statement", "timed out", "timeout expired")
"""What databases say in an error that means no more than that time is over."""


class SqlSource:
    """See source.Source."""

    batch_count_max = 1

    def __init__(self, opening: source.Opening) -> None:
        """
        Raises:
            ConfigError: SQLAlchemy or the database's driver is not there, or the server's URL is none.
        """
        spec = opening.spec
        try:
            sqlalchemy = importlib.import_module("sqlalchemy")
        except ModuleNotFoundError as error:
            raise source.library_missing(opening, "sqlalchemy") from error
        try:
            url = sqlalchemy.make_url(opening.server)
            seconds = spec.timeout_seconds
            pool: dict[str, Any] = {
                "pool_size": opening.connection_count,
                "max_overflow": 0,
                "pool_timeout": seconds,
                "pool_use_lifo": True,
            }
            if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
                pool = {}
            self._engine = sqlalchemy.create_engine(
                _read_only(url), connect_args=_limits(url.get_backend_name(), seconds), hide_parameters=True, **pool
            )
        except ModuleNotFoundError as error:
            raise source.library_missing(opening, error.name or "driver") from None
        except (sqlalchemy.exc.ArgumentError, ValueError):
            # Not chained: the message may hold the URL, which is a secret.
            raise source.unusable(
                spec,
                "its `server` is not a database URL of SQLAlchemy",
                remedy="Write one, such as postgresql+psycopg://user@host/database.",
            ) from None
        self._query = sqlalchemy.text(spec.target)
        self._database_error: type[Exception] = sqlalchemy.exc.DBAPIError
        self._pool_timeout: type[Exception] = sqlalchemy.exc.TimeoutError

    def fetch(self, wanted: Sequence[Mapping[str, Any]], _seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch; how long a query may take is told to the databases that can be told."""
        try:
            with self._engine.connect() as connection:
                return [self._row(connection, values) for values in wanted]
        except self._pool_timeout as error:
            raise TimeoutError from error
        except self._database_error as error:
            text = str(getattr(error, "orig", error))
            if any(word in text.lower() for word in _LATE):
                raise TimeoutError from error
            raise RuntimeError(text) from None

    def _row(self, connection: Any, values: Mapping[str, Any]) -> lookup_values.Answer:
        rows = connection.execute(self._query, dict(values)).mappings().fetchmany(2)
        if not rows:
            return lookup_values.NOTHING
        if len(rows) > 1:
            raise LookupError("the query gave more than one row")
        return lookup_values.Answer(dict(rows[0]))

    def close(self) -> None:
        """See source.Source.close."""
        self._engine.dispose()


def _read_only(url: Any) -> Any:
    """A SQLite file that is not there must not be made by looking for it."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:") or "uri" in url.query:
        return url
    return url.set(
        database=f"file:{urllib.parse.quote(url.database)}", query={**url.query, "mode": "ro", "uri": "true"}
    )


def _limits(backend: str, seconds: float) -> dict[str, Any]:
    """How the database's driver is told to end by itself."""
    if backend == "sqlite":
        return {"timeout": seconds}
    if backend == "postgresql":
        milliseconds = max(1, int(seconds * 1_000))
        return {"connect_timeout": 2, "options": f"-c statement_timeout={milliseconds}"}
    return {}


def open_source(opening: source.Opening) -> SqlSource:
    """See opening.opened."""
    return SqlSource(opening)

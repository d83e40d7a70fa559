"""
Brings the database to this softlaunch's schema when it is opened.

Alembic is imported only when there is something to migrate: it costs a third of a second, and `up` has five.
"""

from __future__ import annotations

import pathlib

import sqlalchemy as sa

from softlaunch import errors
from softlaunch.adapters.sql import engine as engines
from softlaunch.adapters.sql import schema

SCRIPTS = pathlib.Path(__file__).parent / "migrations"


def upgrade(engine: sa.Engine, path: pathlib.Path) -> str | None:
    """
    Runs the missing migrations in one transaction.

    Returns:
        The revision the file was at; None when it is new.

    Raises:
        ConfigError: written by a newer softlaunch, or not softlaunch's file at all; it is left as it was.
        UnavailableError: damaged, or it cannot be written.
    """
    with engines.reading(engine, path) as connection:
        if _version(connection, path) == schema.REVISIONS[-1]:
            return schema.REVISIONS[-1]
    with engines.writing(engine, path) as connection:
        before = _version(connection, path)
        if before != schema.REVISIONS[-1]:
            _run(connection)
        return before


def check(engine: sa.Engine, path: pathlib.Path) -> None:
    """
    Raises:
        ConfigError: it is not at this softlaunch's schema, or not softlaunch's file at all.
        UnavailableError: damaged, or it cannot be read.
    """
    with engines.reading(engine, path) as connection:
        found = _version(connection, path)
    if found != schema.REVISIONS[-1]:
        raise errors.ConfigError(
            f"The state in {path} is at version {found}; this softlaunch reads {schema.REVISIONS[-1]}.",
            remedy="An older softlaunch wrote it: `softlaunch up` upgrades it.",
            code=errors.Code.STATE_OLDER,
        )


def _version(connection: sa.Connection, path: pathlib.Path) -> str | None:
    """The revision the file is at, None when it is new."""
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    found = None
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is None:
        raise errors.ConfigError(
            f"{path} is a database, but not softlaunch's: it holds {', '.join(sorted(tables))}.",
            remedy="Choose another home (SOFTLAUNCH_HOME), or move that file away.",
            code=errors.Code.STATE_FOREIGN,
        )
    if found not in schema.REVISIONS:
        raise errors.ConfigError(
            f"The state in {path} is at version {found}; this softlaunch knows up to {schema.REVISIONS[-1]}.",
            remedy="A newer softlaunch wrote it: upgrade softlaunch, or choose another home (SOFTLAUNCH_HOME).",
            code=errors.Code.STATE_NEWER,
        )
    return str(found)


def _run(connection: sa.Connection) -> None:
    from alembic import command, config  # noqa: PLC0415 - see the module's docstring

    settings = config.Config()
    settings.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")

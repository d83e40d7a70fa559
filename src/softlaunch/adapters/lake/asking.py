"""
Questions to the log, in SQL by DuckDB.

DuckDB reads the table's files itself, those in object stores through a file system of ours (see place). Which files
those are is asked of the Delta log, so one that a killed shipper left behind, or that a compaction has replaced, is not
among them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import deltalake
import deltalake.exceptions
import duckdb
import pyarrow as pa

from softlaunch import errors
from softlaunch.adapters.lake import label_views
from softlaunch.adapters.lake import place as places
from softlaunch.adapters.lake import sql as sql_text
from softlaunch.core.prediction_log import schema

ROWS_MAX = 10_000
"""Of an answer; more is for an export."""
_MEMORY = "1GB"
_NO_ROWS = "no_rows"
_ROWS_AT_ONCE = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    truncated: bool
    """There are more rows than were asked for."""


def ask(
    path: pathlib.Path | places.Place,
    sql: str,
    *,
    labelled: label_views.Labelled | None = None,
    row_count_max: int = ROWS_MAX,
) -> Result:
    """
    The answer to a query over the view `predictions`, and `labels` and `labelled` if they are told of.

    The database is one of its own, in memory: whatever the query does, the log stays as it is.

    Raises:
        ConfigError: there is no log yet, or the query is none.
    """
    with _connected(path, labelled=labelled) as connection:
        try:
            answered = connection.sql(sql)
            if answered is None:
                return Result(columns=(), rows=[], truncated=False)
            found = answered.limit(row_count_max + 1).to_arrow_table()
        except duckdb.Error as error:
            if places.is_refusal(error):
                raise
            raise no_query(error) from error
        rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
        return Result(columns=tuple(found.column_names), rows=rows[:row_count_max], truncated=len(rows) > row_count_max)


@contextlib.contextmanager
def stream(
    path: pathlib.Path | places.Place, sql: str, *, labelled: label_views.Labelled, rows_at_once: int
) -> Iterator[pa.RecordBatchReader]:
    """
    All rows of a query over the views, some at a time.

    Raises:
        ConfigError: there is no log yet.
        Error: DuckDB's; see `no_query`.
    """
    with _connected(path, labelled=labelled) as connection:
        answered = connection.sql(sql)
        if answered is None:
            raise duckdb.InvalidInputException("it has no rows")
        yield answered.to_arrow_reader(rows_at_once)


def no_query(error: duckdb.Error) -> errors.ConfigError:
    """The error of a query that is none."""
    return errors.ConfigError(
        f"The query cannot be answered: {error}",
        remedy="The views are predictions, labels and labelled; `DESCRIBE predictions` lists its columns.",
        code=errors.Code.LOG_QUERY,
    )


def select(
    path: pathlib.Path | places.Place,
    sql: str,
    values: Sequence[Any],
    *,
    labelled: label_views.Labelled | None = None,
    holding: str | None = None,
) -> list[dict[str, Any]]:
    """
    All rows of a query of ours over the view `predictions`, and those of labels.

    Args:
        path: Of the table.
        sql: With $1, $2, ... for `values`.
        values: Whatever a user wrote.
        labelled: Adds the views of labels.
        holding: Only files are read that may have this id.

    Raises:
        ConfigError: there is no log yet.
    """
    with _connected(path, labelled=labelled, holding=holding) as connection:
        answered: Any = connection.sql(sql, params=list(values)).to_arrow_table()
    rows: list[dict[str, Any]] = answered.to_pylist(maps_as_pydicts="lossy")
    return rows


def answered(path: pathlib.Path | places.Place, environment: str, since: float) -> Iterator[tuple[str, str, int]]:
    """
    Request id, release and answer number of the answers that were given since a time, the oldest first.

    Raises:
        ConfigError: there is no log yet.
    """
    moment = datetime.datetime.fromtimestamp(since, datetime.UTC)
    with _connected(path) as connection:
        found = connection.execute(
            "SELECT request_id, release, answer_number FROM predictions "
            "WHERE environment = $1 AND day >= $2 AND time >= $3 AND row = 0 ORDER BY time",
            [environment, moment.date(), moment],
        )
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            yield from rows


def by_id(path: pathlib.Path | places.Place, name: str) -> list[dict[str, Any]]:
    """
    Rows of a prediction by its id, the one that the user got first.

    Files of which the Delta log says that the id is not between their least and greatest are not opened; of the others
    the groups of rows that may hold it are read, which are few where days are sorted by id.

    Raises:
        ConfigError: there is no log yet.
    """
    return select(
        path,
        "SELECT * FROM predictions WHERE id = $1 ORDER BY served DESC NULLS LAST, time",
        [name],
        holding=name,
    )


@contextlib.contextmanager
def _connected(
    path: pathlib.Path | places.Place,
    *,
    labelled: label_views.Labelled | None = None,
    holding: str | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the views, which reaches nothing but the log."""
    place = places.at(path)
    try:
        table = place.load()
        files = [] if table is None else table.file_uris() if holding is None else _holding(table, holding)
    except (deltalake.exceptions.DeltaError, OSError) as error:
        raise place.unavailable(error) from error
    if table is None:
        raise errors.ConfigError(
            f"There is no prediction log at {place} yet.",
            remedy="Send requests to the service; they are in the log half a minute later (`softlaunch log status`).",
            code=errors.Code.NO_LOG,
        )
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit='{_MEMORY}'; SET TimeZone='UTC'; SET threads=2")
        place.readable(connection, table)
        try:
            if not files:
                connection.register(_NO_ROWS, pa.schema(table.schema().to_arrow()).empty_table())
            connection.execute(_view(table, place.names(files)) + ("" if labelled is None else labelled.past))
            reached = [sql_text.quoted(place.directory)]
            if labelled is not None:
                labelled.add(connection)
                reached.append(sql_text.quoted(labelled.place.directory))
            connection.execute(f"SET allowed_directories=[{', '.join(reached)}]; SET enable_external_access=false")
            yield connection
        except duckdb.Error as error:
            if not places.is_refusal(error):
                raise
            raise place.unavailable(error) from error


def _holding(table: deltalake.DeltaTable, name: str) -> list[str]:
    """Files that may have a row of that id."""
    actions: Any = pa.table(table.get_add_actions(flatten=True))
    bounds = [
        actions[column].to_pylist() if column in actions.column_names else [None] * actions.num_rows
        for column in ("min.id", "max.id")
    ]
    # A bound may be cut to its first characters: a prefix of what it stands for.
    fitting = {
        urllib.parse.unquote(path)
        for path, low, high in zip(actions["path"].to_pylist(), *bounds, strict=True)
        if (low is None or low <= name) and (high is None or name[: len(high)] <= high)
    }
    parts = len(pathlib.PurePath(next(iter(fitting), "")).parts)  # the partition's folder, and the file
    return [uri for uri in table.file_uris() if "/".join(uri.split("/")[-parts:]) in fitting]


def _view(table: deltalake.DeltaTable, files: Sequence[str]) -> str:
    found = pa.schema(table.schema().to_arrow())
    listed = ", ".join(sql_text.quoted(name) for name in files)
    source = (
        f"read_parquet([{listed}], union_by_name=true, hive_partitioning=true, hive_types={{'{schema.DAY}': DATE}})"
        if files
        else _NO_ROWS
    )
    columns = ", ".join(_column(field) for field in found)
    # Names and paths come from the table itself, quoted.
    return f"CREATE VIEW predictions AS SELECT {columns} FROM {source} WHERE true"  # noqa: S608


def _column(field: pa.Field) -> str:
    """The struct of features (or answers) with each once: fields of one feature with several types become one."""
    if field.name not in (schema.FEATURES, schema.ANSWER):
        return sql_text.named(field.name)
    by_feature: dict[str, list[pa.Field]] = {}
    for place in range(field.type.num_fields):
        found = field.type.field(place)
        by_feature.setdefault(schema.feature_of(found.name), []).append(found)
    parts = []
    for feature, fields in by_feature.items():
        values = [f"{sql_text.named(field.name)}.{sql_text.named(each.name)}" for each in fields]
        if len(fields) > 1:
            wide = "DOUBLE" if all(_is_number(each.type) for each in fields) else "VARCHAR"
            values = [f"CAST({value} AS {wide})" for value in values]
        united = values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"
        parts.append(f"{sql_text.named(feature)} := {united}")
    name = sql_text.named(field.name)
    return f"CASE WHEN {name} IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END AS {name}"


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

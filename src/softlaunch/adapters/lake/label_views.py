"""The views `labels` and `labelled` beside `predictions`: see label_join for what they hold."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping

import deltalake.exceptions
import duckdb

from softlaunch.adapters.lake import label_join, sql
from softlaunch.adapters.lake import labels as tables
from softlaunch.adapters.lake import place as places
from softlaunch.core.labels import rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """Which labels are joined, and how."""

    place: places.Place
    """Of the table of labels, which need not exist."""
    declared: Mapping[str, rules.Rule] = dataclasses.field(default_factory=dict)
    as_of: datetime.datetime
    """What arrived later does not exist, with its zone."""
    only: str | None = None
    """`labelled` is asked for this prediction alone."""
    is_past: bool = False
    """Predictions that were made later do not exist either; otherwise they have no labels."""

    @property
    def past(self) -> str:
        """What the view `predictions` is limited by."""
        return f" AND time <= TIMESTAMPTZ {sql.quoted(self.as_of.isoformat())}" if self.is_past else ""

    def add(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Creates the views in a database that has `predictions`."""
        found = None
        try:
            table = self.place.load()
            files = [] if table is None else table.file_uris()
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise self.place.unavailable(error) from error
        if table is not None and files:
            self.place.readable(connection, table)
            columns = ", ".join(f'"{field.name}"' for field in tables.SCHEMA)
            listed = ", ".join(sql.quoted(name) for name in self.place.names(files))
            connection.execute(
                f"CREATE VIEW labels AS SELECT {columns} FROM read_parquet([{listed}], hive_partitioning=true, "  # noqa: S608 - paths of the table's own, quoted
                "hive_types={'day': DATE})"
            )
            found = connection.execute("SELECT 1 FROM labels WHERE key IS NOT NULL LIMIT 1").fetchone()
        else:
            connection.execute(label_join.EMPTY_LABELS)
        connection.execute(label_join.view(self.declared, as_of=self.as_of, by_key=found is not None, only=self.only))

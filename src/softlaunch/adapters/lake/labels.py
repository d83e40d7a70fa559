"""
Tables of labels as Delta Lake tables: ROOT/SERVICE/labels, partitioned by the day on which they arrived.

Rows are only added. Each tells the push it came with; a push that a killed process had committed already is recognised
by that. The transaction's application is `labels`: of two that write at once one is refused, and looks again.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import deltalake
import deltalake.exceptions
import duckdb
import pyarrow as pa

from softlaunch import errors
from softlaunch.adapters.lake import place as places
from softlaunch.ports import labels as ports

TABLE = "labels"
DAY = "day"
_APPLICATION = "labels"
_TRIES = 20
_MOMENT = pa.timestamp("us", "UTC")
_MICROSECONDS = 1e6
_WRITER = deltalake.WriterProperties(compression="ZSTD", compression_level=1)
SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("key_name", pa.string()),
        ("key", pa.string()),
        ("at", _MOMENT),
        ("arrived", _MOMENT),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("version", pa.int64()),
        ("rater", pa.string()),
        ("source", pa.string()),
        ("push", pa.string()),
        ("line", pa.int64()),
        (DAY, pa.date32()),
    ]
)
_CONFIGURATION = {"delta.dataSkippingStatsColumns": "prediction_id,arrived"}
"""The history tells bounds of no other column, as that of predictions."""


class DeltaLabels:
    """
    A ports.labels.Labels.

    Args:
        root: HOME/log, or an object store beside it; need not exist.
    """

    def __init__(self, root: pathlib.Path | places.Root) -> None:
        self._root = places.root(root)

    def place(self, service: str) -> places.Place:
        """Where the service's table is, or will be."""
        return self._root.place(service, TABLE)

    def append(self, service: str, pushes: Sequence[ports.Push]) -> int:
        """See ports.labels.Labels.append."""
        place = self.place(service)
        try:
            for _ in range(_TRIES):
                table = place.load(writes=True) or _created(place, service)
                with contextlib.suppress(deltalake.exceptions.CommitFailedError):
                    return _appended(place, table, pushes)
        except (deltalake.exceptions.DeltaError, OSError, duckdb.Error) as error:
            raise place.unavailable(error) from error
        raise errors.UnavailableError(
            f"Others wrote {place} {_TRIES} times while labels were to be added.",
            remedy="Nothing to do: they wait, and it is tried again.",
            code=errors.Code.LOG_UNAVAILABLE,
        )

    def known(self, service: str, names: Collection[str]) -> set[str]:
        """See ports.labels.Labels.known."""
        place = self.place(service)
        try:
            table = place.load()
            return set() if table is None else _known(place, table, names)
        except (deltalake.exceptions.DeltaError, OSError, duckdb.Error) as error:
            raise place.unavailable(error) from error


def _created(place: places.Place, service: str) -> deltalake.DeltaTable:
    place.begin()
    return deltalake.DeltaTable.create(
        place.uri,
        schema=SCHEMA,
        mode="ignore",
        partition_by=[DAY],
        name=TABLE,
        configuration=_CONFIGURATION,
        description=f"What turned out to be true of {service}'s predictions, as it was told.",
        storage_options=place.storage_options,
    )


def _appended(place: places.Place, table: deltalake.DeltaTable, pushes: Sequence[ports.Push]) -> int:
    """
    Raises:
        CommitFailedError: somebody else has got on; perhaps with these very pushes.
    """
    there = _known(place, table, {push.name for push in pushes})
    new = [push for push in pushes if push.name not in there and push.labels]
    if not new:
        return 0
    rows = arrow(new)
    version = (table.transaction_version(_APPLICATION) or 0) + 1
    deltalake.write_deltalake(
        table,
        rows,
        mode="append",
        writer_properties=_WRITER,
        commit_properties=deltalake.CommitProperties(
            max_commit_retries=0, app_transactions=[deltalake.Transaction(_APPLICATION, version)]
        ),
    )
    place.settle()
    return int(rows.num_rows)


def arrow(pushes: Sequence[ports.Push]) -> pa.Table:
    """Rows as the table has them."""
    labels = [label for push in pushes for label in push.labels]
    columns: dict[str, Any] = dict(zip(labels[0]._fields, zip(*labels, strict=True), strict=True))
    for moment in ("at", "arrived"):
        columns[moment] = [None if value is None else round(value * _MICROSECONDS) for value in columns[moment]]
    columns["source"] = [push.source for push in pushes for _ in push.labels]
    columns["push"] = [push.name for push in pushes for _ in push.labels]
    columns["line"] = [line for push in pushes for line in range(len(push.labels))]
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA if field.name != DAY]
    arrived = arrays[SCHEMA.get_field_index("arrived")]
    return pa.Table.from_arrays([*arrays, arrived.cast(pa.date32())], schema=SCHEMA)


def lines_of(
    place: places.Place, table: deltalake.DeltaTable, key: str, *, key_name: str | None, ids: Sequence[str]
) -> dict[str, list[int]]:
    """Where the labels of a business key and of predictions are: lines by push."""
    found: dict[str, list[int]] = {}
    rows = _asked(
        place,
        table,
        "SELECT push, line FROM read_parquet($1) WHERE (key = $2 AND key_name IS NOT DISTINCT FROM $3) "
        "OR prediction_id IN (SELECT unnest($4::VARCHAR[])) ORDER BY ALL",
        [key, key_name, list(ids)],
    )
    for push, line in rows:
        found.setdefault(push, []).append(line)
    return found


def _known(place: places.Place, table: deltalake.DeltaTable, names: Collection[str]) -> set[str]:
    if not names:
        return set()
    query = "SELECT DISTINCT push FROM read_parquet($1) WHERE push IN (SELECT unnest($2::VARCHAR[]))"
    return {str(name) for (name,) in _asked(place, table, query, [list(names)])}


def _asked(place: places.Place, table: deltalake.DeltaTable, query: str, values: Sequence[Any]) -> list[Any]:
    """Rows of a query whose $1 is the table's files."""
    files = table.file_uris()
    if not files:
        return []
    with duckdb.connect() as connection:
        place.readable(connection, table)
        return connection.execute(query, [place.names(files), *values]).fetchall()

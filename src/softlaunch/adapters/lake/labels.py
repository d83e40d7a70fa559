"""
Tables of labels as Delta Lake tables: ROOT/SERVICE/labels, partitioned by the day on which they arrived.

Rows are only added. Each tells the push it came with; a push that a killed process had committed already is recognised
by that. The transaction's application is `labels`: of two that write at once one is refused, and looks again.
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import deltalake
import deltalake.exceptions
import duckdb
import pyarrow as pa

from softlaunch import errors
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
        root: HOME/log; need not exist.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def path(self, service: str) -> pathlib.Path:
        """Where the service's table is, or will be."""
        return self._root / service / TABLE

    def append(self, service: str, pushes: Sequence[ports.Push]) -> int:
        """See ports.labels.Labels.append."""
        for _ in range(_TRIES):
            table = self._load(service) or self._create(service)
            there = _known(table, {push.name for push in pushes})
            new = [push for push in pushes if push.name not in there and push.labels]
            if not new:
                return 0
            rows = arrow(new)
            try:
                deltalake.write_deltalake(
                    table,
                    rows,
                    mode="append",
                    writer_properties=_WRITER,
                    commit_properties=deltalake.CommitProperties(
                        max_commit_retries=0,
                        app_transactions=[
                            deltalake.Transaction(_APPLICATION, (table.transaction_version(_APPLICATION) or 0) + 1)
                        ],
                    ),
                )
            except deltalake.exceptions.CommitFailedError:
                continue  # somebody else has got on; perhaps with these very pushes
            except (deltalake.exceptions.DeltaError, OSError) as error:
                raise _unavailable(self.path(service), str(error)) from error
            return int(rows.num_rows)
        raise _unavailable(self.path(service), f"others wrote it {_TRIES} times meanwhile")

    def known(self, service: str, names: Collection[str]) -> set[str]:
        """See ports.labels.Labels.known."""
        table = self._load(service)
        return set() if table is None else _known(table, names)

    def _load(self, service: str) -> deltalake.DeltaTable | None:
        path = self.path(service)
        if not (path / "_delta_log").is_dir():
            return None
        try:
            return deltalake.DeltaTable(path)
        except deltalake.exceptions.TableNotFoundError:
            return None  # its creator was killed before the first commit
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise _unavailable(path, str(error)) from error

    def _create(self, service: str) -> deltalake.DeltaTable:
        path = self.path(service)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return deltalake.DeltaTable.create(
                path,
                schema=SCHEMA,
                mode="ignore",
                partition_by=[DAY],
                name=TABLE,
                configuration=_CONFIGURATION,
                description=f"What turned out to be true of {service}'s predictions, as it was told.",
            )
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise _unavailable(path, str(error)) from error


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
    table: deltalake.DeltaTable, key: str, *, key_name: str | None, ids: Sequence[str]
) -> dict[str, list[int]]:
    """Where the labels of a business key and of predictions are: lines by push."""
    files = table.file_uris()
    found: dict[str, list[int]] = {}
    if files:
        with duckdb.connect() as connection:
            rows = connection.execute(
                "SELECT push, line FROM read_parquet($1) WHERE (key = $2 AND key_name IS NOT DISTINCT FROM $3) "
                "OR prediction_id IN (SELECT unnest($4::VARCHAR[])) ORDER BY ALL",
                [files, key, key_name, list(ids)],
            ).fetchall()
        for push, line in rows:
            found.setdefault(push, []).append(line)
    return found


def _known(table: deltalake.DeltaTable, names: Collection[str]) -> set[str]:
    files = table.file_uris()
    if not files or not names:
        return set()
    with duckdb.connect() as connection:
        try:
            found = connection.execute(
                "SELECT DISTINCT push FROM read_parquet($1) WHERE push IN (SELECT unnest($2))", [files, list(names)]
            ).fetchall()
        except duckdb.Error as error:
            raise _unavailable(pathlib.Path(table.table_uri), str(error)) from error
    return {str(name) for (name,) in found}


def _unavailable(path: pathlib.Path, detail: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The table of labels {path} cannot be used: {detail}.",
        remedy="Check the disk and the folder; labels that were accepted wait, and are added when it can be.",
        code=errors.Code.LOG_UNAVAILABLE,
    )

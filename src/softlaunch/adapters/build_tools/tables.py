"""Parquet and CSV files through pyarrow; see ports.tables.Tables."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.core import release
from softlaunch.ports import tables

_CSV_NULLS = ("", "NaN", "nan", "NULL", "null")
"""Fewer than pyarrow's own: NA is a country, and None a name."""
_INDEX_PREFIX = "__index_level_"
"""pandas writes its index as such a column."""


class ArrowTables:
    """See ports.tables.Tables."""

    def read(self, path: pathlib.Path) -> tables.Table:
        """See ports.tables.Tables.read."""
        import pyarrow as pa  # noqa: PLC0415  # 0.2 s that only builds pay

        if not path.is_file():
            raise _unreadable(path, "it is not in the commit", "Commit it, or correct its name in softlaunch.yaml.")
        try:
            found = _parquet(path) if path.suffix == ".parquet" else _csv(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise _unreadable(
                path, f"{said:.300}", "Write it again; a .parquet or .csv file with one row per line is expected."
            ) from error
        if found.num_rows == 0:
            raise _unreadable(path, "it has no rows", "Commit one with rows.")
        columns, unusable = [], {}
        for field, chunks in zip(found.schema, found.columns, strict=True):
            if field.name.startswith(_INDEX_PREFIX):
                continue
            column = _column(field.name, chunks)
            if column is None:
                unusable[field.name] = chunks.is_null().to_numpy().astype(bool)
            else:
                columns.append(column)
        return tables.Table(
            columns=tuple(columns), row_count=found.num_rows, unusable=tuple(unusable), unusable_missing=unusable
        )


def _parquet(path: pathlib.Path) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.read_table(path, use_threads=True)


def _csv(path: pathlib.Path) -> Any:
    import pyarrow.csv  # noqa: PLC0415

    options = pyarrow.csv.ConvertOptions(null_values=list(_CSV_NULLS), strings_can_be_null=True)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _column(name: str, chunks: Any) -> tables.TableColumn | None:
    import pyarrow as pa  # noqa: PLC0415

    kind = chunks.type
    if pa.types.is_dictionary(kind):
        chunks = chunks.cast(kind.value_type)
        kind = chunks.type
    missing = chunks.is_null().to_numpy().astype(bool)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = np.array([*chunks.to_pylist(), None], dtype=object)[:-1]  # the extra None keeps one dimension
        return tables.TableColumn(name=name, datatype=release.Datatype.BYTES, values=values, missing=missing)
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()):
        datatype = release.Datatype.BOOL if pa.types.is_boolean(kind) else release.Datatype.INT64
        plain = np.bool_ if pa.types.is_boolean(kind) else np.int64
        cast = chunks.cast(pa.float64() if missing.any() and plain is np.int64 else kind, safe=False)
        values = cast.to_numpy().astype(np.float64 if missing.any() else plain)
        return tables.TableColumn(name=name, datatype=datatype, values=values, missing=missing)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.uint64():
        values = chunks.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
        return tables.TableColumn(
            name=name, datatype=release.Datatype.FP64, values=values, missing=missing | np.isnan(values)
        )
    return None


def _unreadable(path: pathlib.Path, why: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The table {path.name} cannot be read: {why}.", remedy=remedy, code=errors.Code.TABLE_UNREADABLE
    )

"""Rows of Parquet files that others wrote."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from softlaunch import errors

_ROWS = 5_000


def parquet_rows(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """
    Rows in the order of the file, some at a time.

    Raises:
        ConfigError: it is no Parquet file.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise errors.ConfigError(
            f"{path} is no Parquet file: {error}",
            remedy="Look whether it is whole, and whether `rows:` of the map is right.",
            code=errors.Code.LOG_IMPORT,
        ) from error

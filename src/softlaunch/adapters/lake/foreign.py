"""Rows of Parquet files that others wrote."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from softlaunch import errors

_ROWS = 5_000

Refuse = Callable[[str, str], errors.ConfigError]
"""Message and remedy to the error of what the rows are for."""


def parquet_rows(path: pathlib.Path, refuse: Refuse) -> Iterator[dict[str, Any]]:
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
        raise refuse(
            f"{path} is no Parquet file: {error}", "Look whether it is whole, and of the format said."
        ) from error

"""Files of rows that users bring: lines of JSON, CSV, Parquet."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import pathlib
from collections.abc import Iterator
from typing import Any

from softlaunch.adapters.lake import foreign

_LINE_MAX = 64 << 20
_GZIP = b"\x1f\x8b"


def digest(path: pathlib.Path, refuse: foreign.Refuse) -> str:
    """
    SHA-256 of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refuse(f"{path} cannot be read: {error.strerror}.", "Look at its name.") from error


def contents(path: pathlib.Path, kind: str, refuse: foreign.Refuse) -> Iterator[bytes | dict[str, Any]]:
    """
    Lines of JSON as bytes, rows of Parquet and CSV as columns.

    Args:
        path: Plain or gzip, where it is text.
        kind: jsonl, csv or parquet.
        refuse: Makes the error.

    Raises:
        ConfigError: it cannot be read, or is of another kind.
    """
    if kind == "parquet":
        yield from foreign.parquet_rows(path, refuse)
    elif kind == "csv":
        yield from _csv(path, refuse)
    else:
        yield from _text(path, refuse)


def _text(path: pathlib.Path, refuse: foreign.Refuse) -> Iterator[bytes]:
    try:
        with _opened(path) as file:
            while line := file.readline(_LINE_MAX):
                yield line
    except (OSError, EOFError) as error:
        raise refuse(f"{path} cannot be read to its end: {error}.", "Fetch it again.") from error


def _opened(path: pathlib.Path) -> io.BufferedIOBase:
    file = path.open("rb")
    if file.peek(2)[:2] != _GZIP:
        return file
    file.close()
    return gzip.open(path)


def _csv(path: pathlib.Path, refuse: foreign.Refuse) -> Iterator[dict[str, Any]]:
    """Columns by the first line's names; what does not fit comes as the column "" with the reason."""
    found = csv.reader(line.decode(errors="surrogateescape") for line in _text(path, refuse))
    names = next(found, [])
    if not names or len(set(names)) != len(names) or "" in names:
        raise refuse(f"The first line of {path} names no columns, or one twice.", "Add a header.")
    while True:
        try:
            row = next(found, None)
        except csv.Error as error:
            yield {"": f"no CSV: {error}"}
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(names):
            yield {"": f"{len(row)} columns instead of {len(names)}", "row": row}
        elif any("\udc80" <= letter <= "\udcff" for value in row for letter in value):
            yield {"": "no UTF-8", "row": row}
        else:
            yield dict(zip(names, row, strict=True))

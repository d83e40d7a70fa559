"""Files of a table in an object store, as DuckDB reads them: through fsspec, from a file system of Arrow."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import fsspec
import pyarrow.fs

_EVER = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class Files(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """
    Only reads, and only files it was told of.

    Args:
        protocol: What their names begin with.
        files: Reads them.
        sizes: In bytes, of every file by its name, as the table tells them: none is asked for again.
    """

    cachable = False  # codespell:ignore cachable

    def __init__(self, protocol: str, files: pyarrow.fs.FileSystem, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.protocol = protocol
        self._files = files
        self._sizes = sizes

    def _local(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://")

    def exists(self, path: str, **_: Any) -> bool:
        """See fsspec."""
        return self._local(path) in self._sizes

    def glob(self, path: str, **_: Any) -> list[str]:
        """Names are whole: DuckDB is given a list."""
        return [self._local(path)] if self.exists(path) else []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """See fsspec."""
        if not self.exists(path):
            raise FileNotFoundError(path)
        return {"name": path, "size": self._sizes[self._local(path)], "type": "file"}

    def modified(self, path: str) -> datetime.datetime:  # noqa: ARG002 - as fsspec has it
        """Always the same: files of a table are never written again."""
        return _EVER

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """See fsspec."""
        if mode != "rb" or not self.exists(path):
            raise FileNotFoundError(path)
        return self._files.open_input_file(self._local(path))

"""Files that are seen whole or as they were before."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable


def replace_file(path: pathlib.Path, parts: Iterable[bytes]) -> None:
    """
    Writes a file, for its owner alone; whole or not at all, after a loss of power too.

    Args:
        path: In a folder that exists.
        parts: What it holds, one after the other.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise

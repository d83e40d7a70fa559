"""
What replicas print: one file per replica that the process itself appends to.

No pipe leads through the control plane, so a process neither blocks nor dies when the control plane does. The price:
the size is capped by looking from time to time, and a line written between copying and cutting is lost.
"""

from __future__ import annotations

import contextlib
import os
import pathlib

SIZE_BYTES_MAX = 16 * 2**20
KEPT_BYTES = 2**20
FILE_COUNT_MAX = 200
"""Logs of replicas long gone are kept until there are this many; a guess: weeks of releases, at most 3.4 GB."""
_TAIL_BYTES = 4096
_TAIL_LINES = 10


def open_to_append(path: pathlib.Path) -> int:
    """A descriptor to give to a process; appending, so that cutting the file is safe while it writes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def size(path: pathlib.Path) -> int:
    """In bytes; 0 when there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def cap(path: pathlib.Path) -> None:
    """When the file is larger than SIZE_BYTES_MAX: its end goes to NAME.1 and the file starts anew."""
    if size(path) <= SIZE_BYTES_MAX:
        return
    # A disk too full to keep the end is one more reason to cut.
    with contextlib.suppress(OSError):
        path.with_name(path.name + ".1").write_bytes(_end(path, KEPT_BYTES))
    with contextlib.suppress(OSError):
        os.truncate(path, 0)


def tail(path: pathlib.Path, *, offset: int = 0) -> str:
    """The last lines after byte `offset` (all of the file when it has been cut since), empty when there are none."""
    length = size(path)
    if offset > length:
        offset = 0
    text = _end(path, min(_TAIL_BYTES, length - offset)).decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


def prune(directory: pathlib.Path) -> None:
    """Removes the logs written to longest ago beyond FILE_COUNT_MAX."""
    files: list[tuple[float, pathlib.Path]] = []
    for path in directory.glob("*.log*"):
        with contextlib.suppress(OSError):
            files.append((path.stat().st_mtime, path))
    for _, path in sorted(files)[:-FILE_COUNT_MAX]:
        with contextlib.suppress(OSError):
            path.unlink()


def _end(path: pathlib.Path, byte_count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(-min(byte_count, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read(byte_count)
    except OSError:
        return b""

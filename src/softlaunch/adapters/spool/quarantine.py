"""
Bytes of the spool that are no records, kept aside: ROOT/SERVICE/quarantine, for whoever wants to know what they were.

A segment is deleted when its room is needed; what was damaged in it would go unseen. The same place is kept once,
however often it is read.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import zlib

import structlog

LOG = structlog.get_logger()

FOLDER = "quarantine"
BYTES_MAX = 64 * 2**20
"""Of one service: two of the largest segments. What comes first is kept: it says more than the thousandth."""


class Quarantine:
    """
    Args:
        root: HOME/log.
        bytes_max: Of one service; what would be more is not kept.
    """

    def __init__(self, root: pathlib.Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._root = root
        self._bytes_max = bytes_max

    def keep(self, place: tuple[str, str], segment: str, offset: int, reason: str, raw: bytes) -> None:
        """
        Keeps the bytes if there is room; what cannot be kept is told, and stops nothing.

        Args:
            place: Service and environment.
            segment: Its name.
            offset: In the segment, or before.
            reason: As damage is counted.
            raw: What stands there.
        """
        service, environment = place
        folder = self._root / service / FOLDER
        path = folder / f"{environment}-{segment}-{offset}-{reason}-{zlib.crc32(raw):08x}.bytes"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists():
                return
            if sum(found.stat().st_size for found in folder.iterdir()) + len(raw) > self._bytes_max:
                LOG.warning("quarantine_full", service=service, folder=str(folder), bytes=len(raw))
                return
            unfinished = folder / f".{path.name}"
            with contextlib.closing(_Opened(unfinished)) as file:
                file.write(raw)
            unfinished.replace(path)
        except OSError as error:
            LOG.warning("not_quarantined", service=service, segment=segment, detail=str(error))


class _Opened:
    """A file of the owner's alone."""

    def __init__(self, path: pathlib.Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, raw: bytes) -> None:
        view = memoryview(raw)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        os.close(self._fd)

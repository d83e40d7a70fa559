"""Leases among processes of one machine: locks on files, which the kernel drops when a process ends in any way."""

from __future__ import annotations

import fcntl
import os
import pathlib

from softlaunch import errors


class FileLeases:
    """
    A ports.stream.Leases. Two objects of one process are two holders.

    Args:
        root: A directory; made when missing.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._held: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """
        See ports.stream.Leases.take.

        Raises:
            UnavailableError: the directory cannot be used.
        """
        if name in self._held:
            return True
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._root / name.replace("/", "+"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.UnavailableError(
                f"{self._root} cannot be used: {error.strerror or error}.",
                remedy="Check the disk and who may write there.",
                code=errors.Code.STREAM_UNAVAILABLE,
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._held[name] = fd
        return True

    def drop(self, name: str) -> None:
        """See ports.stream.Leases.drop."""
        fd = self._held.pop(name, None)
        if fd is not None:
            os.close(fd)

"""
Segments of the spool, written: one file at a time, appended to, closed by size and age.

Every process writes segments of its own. While one is written its process holds a lock on it (flock), which the kernel
drops when the process ends, however it ends. So whoever needs room knows which segments nobody writes any more.

The disk budget holds for the whole directory. Whoever opens a segment first makes room for all of it: segments being
written count as full, and closed ones are deleted, the oldest first, until the sum fits. When even that is not enough
(more writers than the budget has segments for), nothing is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import secrets
import time
from collections.abc import Iterator

from softlaunch.core import spool

_SEGMENTS_PER_BUDGET = 32
"""So many parts has the budget: deleting one segment loses a thirty-second of what is kept."""
_SEGMENT_BYTES_MIN = 65_536
_SEGMENT_BYTES_MAX = 32 * 2**20
SEGMENT_SECONDS_MAX = 600.0
"""An older segment is closed; a guess: small enough a part of the hours one replays."""


class SegmentWriter:
    """
    Appends payloads to the newest segment in a directory. Not for several threads.

    What `append` has returned from is in the file: the end of the process, by kill -9 too, does not touch it. (The end
    of the machine may: nothing is synced, as predictions are many and worth less than a disk's time.)

    Args:
        directory: Made when missing, mode 0700. Segments have mode 0600.
        disk_bytes_max: Of all segments in the directory, whoever wrote them.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        service: str,
        environment: str,
        release: str,
        instance: str,
        disk_bytes_max: int,
    ) -> None:
        self._directory = directory
        self._who = {"service": service, "environment": environment, "release": release, "instance": instance}
        self._disk_bytes_max = disk_bytes_max
        self._segment_bytes_max = max(
            _SEGMENT_BYTES_MIN, min(_SEGMENT_BYTES_MAX, disk_bytes_max // _SEGMENTS_PER_BUDGET)
        )
        self._fd = -1
        self._size = 0
        self._number = 0
        self._opened = 0.0
        self._seed = 0

    def append(self, payload: bytes) -> None:
        """
        Appends a frame.

        Raises:
            OSError: it could not be written, or only a part of it; the next call begins another segment.
        """
        length = len(payload) + spool.FRAME_HEAD_BYTES
        if self._fd >= 0 and (
            self._size + length > self._segment_bytes_max or time.monotonic() - self._opened > SEGMENT_SECONDS_MAX
        ):
            self.close()
        if self._fd < 0:
            self._open(length)
        self._put(spool.frame(payload, self._seed))

    def close(self) -> None:
        """Ends the segment being written, if there is one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                count = os.write(self._fd, view)
                self._size += count
                view = view[count:]
        except OSError:
            self.close()  # with a torn tail, maybe: nothing may follow it
            raise

    def _open(self, first_length: int) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        header = spool.Header(version=spool.VERSION, **self._who, opened_at=time.time(), seed=secrets.randbits(32))
        raw = spool.dump_header(header)
        with _locked(self._directory):
            self._make_room(max(self._segment_bytes_max, first_length + len(raw)))
            self._number += 1
            path = self._directory / spool.segment_name(header, self._number)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._fd, self._seed, self._opened, self._size = fd, header.seed, time.monotonic(), 0
        self._put(raw)

    def _make_room(self, needed: int) -> None:
        closed = []
        total = needed
        for found in _segments(self._directory):
            if found.is_written:
                total += max(found.size, self._segment_bytes_max)
            else:
                total += found.size
                closed.append(found)
        for found in closed:
            if total <= self._disk_bytes_max:
                return
            with contextlib.suppress(FileNotFoundError):
                found.path.unlink()
            total -= found.size
        if total > self._disk_bytes_max:
            raise OSError(errno.EDQUOT, f"the spool's budget of {self._disk_bytes_max} bytes is taken by its writers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Segment:
    path: pathlib.Path
    size: int
    is_written: bool


def _segments(directory: pathlib.Path) -> list[_Segment]:
    """Oldest first."""
    found = []
    for name in sorted(os.listdir(directory)):  # noqa: PTH208  # names only
        if spool.opened_at(name) is None:
            continue
        path = directory / name
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_written = False
            except BlockingIOError:
                is_written = True
            found.append(_Segment(path=path, size=os.fstat(file.fileno()).st_size, is_written=is_written))
    return found


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    """One process at a time makes room; the lock is on the directory itself and ends with its holder."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

"""
The spool as the shipper reads it: whole groups, and a word for every byte that is none.

Beside what adapters.spool.local says: a segment that ends in something unreadable is asked whether it is written still.
Its lock is tried only when nothing was written for some seconds: a lock taken at the moment a process opens a segment
would be in that process's way.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pathlib
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from softlaunch.adapters.spool import quarantine
from softlaunch.core import spool
from softlaunch.ports import segments as port

_PIECE_BYTES = 2 * spool.FRAME_BYTES_MAX
_QUIET_SECONDS = 2.0
_STARTED = spool.VALUE_NAMES.index("started")
_RECORD = msgspec.msgpack.Decoder(spool.Record)
_GROUP = msgspec.msgpack.Decoder(spool.Group)


class SegmentTail:
    """
    A ports.segments.Segments.

    Args:
        root: HOME/spool; need not exist.
        aside: Keeps what cannot be read; None: it stays in its segment alone.
    """

    def __init__(self, root: pathlib.Path, *, aside: quarantine.Quarantine | None = None) -> None:
        self._root = root
        self._aside = aside
        self._sizes: dict[tuple[str, str], dict[str, int]] = {}
        """As seen last: what was deleted before it was read has lost so much."""

    def places(self) -> list[tuple[str, str]]:
        """See ports.segments.Segments.places."""
        found = {(path.parent.parent.name, path.parent.name) for path in self._root.glob(f"*/*/*{spool.SUFFIX}")}
        return sorted(found)

    def waiting(self, service: str, environment: str, offsets: dict[str, int]) -> port.Waiting:
        """See ports.segments.Segments.waiting."""
        sizes = self._listed(service, environment)
        left = {name: size - offsets.get(name, 0) for name, size in sizes.items() if size > offsets.get(name, 0)}
        return port.Waiting(segment_count=len(left), byte_count=sum(left.values()))

    def read(self, service: str, environment: str, offsets: dict[str, int], *, record_count_max: int) -> port.Groups:
        """See ports.segments.Segments.read."""
        directory = self._root / service / environment
        sizes = self._listed(service, environment)
        before = self._sizes.get((service, environment), {})
        self._sizes[service, environment] = sizes
        gone = {name: max(0, before.get(name, 0) - offset) for name, offset in offsets.items() if name not in sizes}
        gone |= {name: size for name, size in before.items() if name not in sizes and name not in offsets}
        found = _Found(offsets={name: offset for name, offset in offsets.items() if name in sizes})
        if self._aside is not None:
            found.keep = functools.partial(self._aside.keep, (service, environment))
        unread: list[str] = []
        for name, size in sizes.items():
            if size <= found.offsets.get(name, 0):
                continue
            if found.count < record_count_max:
                with contextlib.suppress(FileNotFoundError), (directory / name).open("rb") as file:
                    _read_segment(file, name, found, record_count_max)
            if found.count >= record_count_max and size > found.offsets.get(name, 0):
                unread.append(name)
        return port.Groups(
            groups=tuple(found.groups),
            record_count=found.count,
            offsets=found.offsets,
            damaged=tuple(found.damaged),
            lost_bytes=sum(gone.values()),
            read_until=_read_until(unread, found),
        )

    def _listed(self, service: str, environment: str) -> dict[str, int]:
        sizes = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / service / environment) as entries:
            for entry in entries:
                if spool.opened_at(entry.name) is not None:
                    with contextlib.suppress(FileNotFoundError):
                        sizes[entry.name] = entry.stat().st_size
        return dict(sorted(sizes.items()))


class _Found:
    def __init__(self, *, offsets: dict[str, int]) -> None:
        self.offsets = offsets
        self.groups: list[tuple[spool.Header, spool.Group]] = []
        self.damaged: list[port.Damage] = []
        self.count = 0
        self.last_segment = ""
        """Where the last group is from."""
        self.keep: Callable[[str, int, str, bytes], None] = lambda *_: None

    def damage(self, segment: str, offset: int, reason: port.Reason, raw: bytes) -> None:
        """Bytes that are no group."""
        self.damaged.append(port.Damage(segment=segment, offset=offset, byte_count=len(raw), reason=reason))
        self.keep(segment, offset, reason.value, raw)


def _read_until(unread: list[str], found: _Found) -> float | None:
    """Unix seconds; nothing in what is left of segments was answered before. None: nothing is left."""
    if not unread:
        return None
    moments = [spool.opened_at(name) or 0.0 for name in unread if name != found.last_segment]
    if found.groups and found.groups[-1][1].rows:
        # Also where each segment was read to its end: a clock that was set back makes the next one look new.
        last = found.groups[-1][1]
        moments.append(last.offset + float(last.rows[-1][_STARTED]))
    return min(moments, default=0.0)


def _read_segment(file: BinaryIO, name: str, found: _Found, record_count_max: int) -> None:
    opened = spool.load_header(file.read(spool.header_bytes_max()))
    if opened is None:
        if _is_over(file):
            _damaged(found, name, 0, file, port.Reason.HEADER)
        return
    header, start = opened
    place = max(found.offsets.get(name, 0), start)

    def take(payload: bytes) -> bool:
        try:
            if header.version == spool.VERSION_OF_RECORDS:
                group = spool.group_of(_RECORD.decode(payload))
            else:
                group = _GROUP.decode(payload)
        except (msgspec.MsgspecError, UnicodeError):
            found.damage(name, place, port.Reason.CONTENT, payload)
            return False
        found.groups.append((header, group))
        found.last_segment = name
        found.count += len(group.rows)
        return found.count >= record_count_max

    while found.count < record_count_max:
        file.seek(place)
        data = file.read(_PIECE_BYTES)
        scanned = spool.scan(data, header.seed, enough=take)
        for begin, end in scanned.damaged:
            found.damage(name, place + begin, port.Reason.CHECKSUM, data[begin:end])
        place += scanned.stopped_at
        if scanned.payloads:
            continue
        if len(data) == _PIECE_BYTES:  # no frame in more than a frame's length
            passed = _PIECE_BYTES - spool.FRAME_BYTES_MAX
            found.damage(name, place, port.Reason.CHECKSUM, data[:passed])
            place += passed
            continue
        if len(data) and _is_over(file):
            _damaged(found, name, place, file, port.Reason.TORN)
            return
        break
    found.offsets[name] = place


def _damaged(found: _Found, name: str, place: int, file: BinaryIO, reason: port.Reason) -> None:
    """From there to the end nothing can be read, and nothing will be added."""
    file.seek(place)
    raw = file.read()
    size = place + len(raw)
    found.damage(name, place, reason, raw)
    found.offsets[name] = size


def _is_over(file: BinaryIO) -> bool:
    """Nobody writes it any more; asked of a segment that has been quiet for a while."""
    if time.time() - os.fstat(file.fileno()).st_mtime < _QUIET_SECONDS:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True

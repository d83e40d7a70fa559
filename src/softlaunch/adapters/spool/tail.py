"""
The spool as it is moved on: whole groups, and a word for every byte that is none.

Beside what adapters.spool.local says: a segment that ends in something unreadable is asked whether it is written still.
Its lock is tried only when nothing was written for some seconds: a lock taken at the moment a process opens a segment
would be in that process's way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

import msgspec

from softlaunch.adapters.spool import quarantine
from softlaunch.core import spool
from softlaunch.core.prediction_log import stream
from softlaunch.ports import segments as port

_PIECE_BYTES = 2 * spool.FRAME_BYTES_MAX
_QUIET_SECONDS = 2.0
_STARTED = spool.VALUE_NAMES.index("started")
_RECORD = msgspec.msgpack.Decoder(spool.Record)
_GROUP = msgspec.msgpack.Decoder(spool.Group)


class SegmentTail:
    """
    A ports.segments.Segments, and a ports.segments.Raw. One object is used as one of them.

    Args:
        root: HOME/spool; need not exist.
        elsewhere: Offsets by segment up to which a spool has gone another way: `read` begins behind them.
        aside: Keeps what `read` cannot read; None: it stays in its segment alone.
    """

    def __init__(
        self,
        root: pathlib.Path,
        *,
        elsewhere: Callable[[str, str], Mapping[str, int]] | None = None,
        aside: quarantine.Quarantine | None = None,
    ) -> None:
        self._root = root
        self._aside = aside
        self._elsewhere = elsewhere
        self._gone_elsewhere: dict[tuple[str, str], Mapping[str, int]] = {}
        self._sizes: dict[tuple[str, str], dict[str, int]] = {}
        """As seen last: what was deleted before it was read has lost so much."""

    def places(self) -> list[tuple[str, str]]:
        """See ports.segments.Segments.places."""
        found = {(path.parent.parent.name, path.parent.name) for path in self._root.glob(f"*/*/*{spool.SUFFIX}")}
        return sorted(found)

    def waiting(self, service: str, environment: str, offsets: dict[str, int]) -> port.Waiting:
        """See ports.segments.Segments.waiting."""
        offsets = self._behind_all(service, environment, offsets)
        sizes = self._listed(service, environment)
        left = {name: size - offsets.get(name, 0) for name, size in sizes.items() if size > offsets.get(name, 0)}
        return port.Waiting(segment_count=len(left), byte_count=sum(left.values()))

    def read(self, service: str, environment: str, offsets: dict[str, int], *, record_count_max: int) -> port.Groups:
        """See ports.segments.Segments.read."""
        offsets = self._behind_all(service, environment, offsets)
        reading = _Reading(self._root / service / environment, self._listed(service, environment), offsets)
        lost = self._lost(service, environment, reading.sizes, offsets)
        groups: list[tuple[spool.Header, spool.Group]] = []
        damaged: list[port.Damage] = []
        count = 0
        read_until = None
        for piece in reading.pieces():
            if isinstance(piece, stream.Hole):
                damaged.append(self._damage(service, environment, piece, port.Reason(piece.reason)))
                continue
            try:
                group = decoded(piece)
            except (msgspec.MsgspecError, UnicodeError):
                damaged.append(self._damage(service, environment, piece, port.Reason.CONTENT))
                continue
            groups.append((piece.header, group))
            count += len(group.rows)
            if count >= record_count_max:
                read_until = _read_until(reading, piece.segment, group)
                break
        return port.Groups(
            groups=tuple(groups),
            record_count=count,
            offsets=reading.offsets,
            damaged=tuple(damaged),
            lost_bytes=sum(hole.end - hole.start for hole in lost),
            read_until=read_until,
        )

    def pieces(self, service: str, environment: str, offsets: dict[str, int], *, byte_count_max: int) -> port.Pieces:
        """See ports.segments.Raw.pieces."""
        reading = _Reading(self._root / service / environment, self._listed(service, environment), offsets)
        found: list[stream.Frame | stream.Hole] = list(self._lost(service, environment, reading.sizes, offsets))
        count = 0
        for piece in reading.pieces():
            found.append(piece)
            count += len(piece.payload) if isinstance(piece, stream.Frame) else 0
            if count >= byte_count_max:
                break
        return port.Pieces(pieces=tuple(found), offsets=reading.offsets)

    def _behind_all(self, service: str, environment: str, offsets: dict[str, int]) -> dict[str, int]:
        if self._elsewhere is None:
            return offsets
        place = (service, environment)
        if place not in self._gone_elsewhere:
            self._gone_elsewhere[place] = self._elsewhere(service, environment)
        return furthest(offsets, self._gone_elsewhere[place])

    def _damage(
        self, service: str, environment: str, piece: stream.Frame | stream.Hole, reason: port.Reason
    ) -> port.Damage:
        size = piece.end - piece.start
        if self._aside is not None:
            with contextlib.suppress(OSError), (self._root / service / environment / piece.segment).open("rb") as file:
                file.seek(piece.start)
                raw = file.read(size)
                self._aside.keep((service, environment), piece.segment, piece.start, reason.value, raw)
        return port.Damage(segment=piece.segment, offset=piece.start, byte_count=size, reason=reason)

    def _lost(
        self, service: str, environment: str, sizes: dict[str, int], offsets: dict[str, int]
    ) -> list[stream.Hole]:
        before = self._sizes.get((service, environment), {})
        self._sizes[service, environment] = sizes
        return [
            stream.Hole(segment=name, start=offsets.get(name, 0), end=size, reason=stream.LOST)
            for name, size in before.items()
            if name not in sizes and size > offsets.get(name, 0)
        ]

    def _listed(self, service: str, environment: str) -> dict[str, int]:
        sizes = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / service / environment) as entries:
            for entry in entries:
                if spool.opened_at(entry.name) is not None:
                    with contextlib.suppress(FileNotFoundError):
                        sizes[entry.name] = entry.stat().st_size
        return dict(sorted(sizes.items()))


def furthest(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Of two places in a spool what lies behind both."""
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in {**first, **second}}


def decoded(piece: stream.Frame) -> spool.Group:
    """
    The group in a frame.

    Raises:
        MsgspecError, UnicodeError: it is none.
    """
    if piece.header.version == spool.VERSION_OF_RECORDS:
        return spool.group_of(_RECORD.decode(piece.payload))
    return _GROUP.decode(piece.payload)


def _read_until(reading: _Reading, last_segment: str, last: spool.Group) -> float | None:
    """Unix seconds; nothing in what is left of segments was answered before. None: nothing is left."""
    unread = [name for name, size in reading.sizes.items() if size > reading.offsets.get(name, 0)]
    if not unread:
        return None
    moments = [spool.opened_at(name) or 0.0 for name in unread if name != last_segment]
    if last.rows:
        # Also where each segment was read to its end: a clock that was set back makes the next one look new.
        moments.append(last.offset + float(last.rows[-1][_STARTED]))
    return min(moments, default=0.0)


class _Reading:
    """One pass over the segments of a directory; `offsets` goes with what was taken from `pieces`."""

    def __init__(self, directory: pathlib.Path, sizes: dict[str, int], offsets: dict[str, int]) -> None:
        self._directory = directory
        self.sizes = sizes
        self.offsets = {name: offset for name, offset in offsets.items() if name in sizes}

    def pieces(self) -> Iterator[stream.Frame | stream.Hole]:
        for name, size in self.sizes.items():
            if size > self.offsets.get(name, 0):
                with contextlib.suppress(FileNotFoundError), (self._directory / name).open("rb") as file:
                    for piece in self._of_segment(file, name):
                        self.offsets[name] = piece.end
                        yield piece

    def _of_segment(self, file: BinaryIO, name: str) -> Iterator[stream.Frame | stream.Hole]:
        opened = spool.load_header(file.read(spool.header_bytes_max()))
        if opened is None:
            if _is_over(file):
                yield _rest(file, name, 0, port.Reason.HEADER)
            return
        header, start = opened
        place = self.offsets[name] = max(self.offsets.get(name, 0), start)
        while True:
            file.seek(place)
            data = file.read(_PIECE_BYTES)
            begun = place
            for at, payload in spool.frames(data, header.seed):
                if begun + at > place:
                    yield stream.Hole(segment=name, start=place, end=begun + at, reason=port.Reason.CHECKSUM)
                frame = stream.Frame(segment=name, start=begun + at, header=header, payload=payload)
                place = frame.end
                yield frame
            if place > begun:
                continue
            if len(data) == _PIECE_BYTES:  # no frame in more than a frame's length
                place += _PIECE_BYTES - spool.FRAME_BYTES_MAX
                yield stream.Hole(segment=name, start=begun, end=place, reason=port.Reason.CHECKSUM)
            else:
                if data and _is_over(file):
                    yield _rest(file, name, place, port.Reason.TORN)
                return


def _rest(file: BinaryIO, name: str, place: int, reason: port.Reason) -> stream.Hole:
    """From there to the end nothing can be read, and nothing will be added."""
    return stream.Hole(segment=name, start=place, end=os.fstat(file.fileno()).st_size, reason=reason)


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

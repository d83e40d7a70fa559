"""
The spool in a directory of this machine: ROOT/SERVICE/ENVIRONMENT/*.spool, written by model servers.

Readers take no locks and change nothing. A segment may grow, or be deleted for room, at any moment.
"""

from __future__ import annotations

import contextlib
import heapq
import mmap
import os
import pathlib
import re
from collections.abc import Iterator

import msgspec

from softlaunch.core import spool
from softlaunch.ports import spool as port

_PIECE_BYTES = 2 * spool.FRAME_BYTES_MAX
_SCAN_PIECE_BYTES = spool.FRAME_BYTES_MAX + 2**20
_LATE_SECONDS = 60.0
"""A request may have come so long before the segment was opened in which it is recorded; longer than any may take."""
_RECORD = msgspec.msgpack.Decoder(spool.Record)
_GROUP = msgspec.msgpack.Decoder(spool.Group)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class LocalSpool:
    """
    A ports.spool.Spool.

    Args:
        root: HOME/spool; need not exist.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        # Of segments read to an end that is no frame: their size then. Nothing new is there before they grow.
        self._exhausted: dict[tuple[pathlib.Path, int], int] = {}

    def end(self, service: str, environment: str) -> port.Cursor:
        """See ports.spool.Spool.end."""
        directory = self._directory(service, environment)
        # The size is where the next frame begins, or inside of one just being written, which is then passed over.
        return port.Cursor(offsets=_sizes(directory))

    def read(
        self, service: str, environment: str, cursor: port.Cursor, *, record_count_max: int = 10_000
    ) -> port.SpoolBatch:
        """See ports.spool.Spool.read."""
        directory = self._directory(service, environment)
        sizes = _sizes(directory)
        offsets = {name: offset for name, offset in cursor.offsets.items() if name in sizes}
        records: list[spool.Record] = []
        damage_count = 0
        header: spool.Header

        def take(payload: bytes) -> bool:
            records.extend(_decoded(payload, header))
            return len(records) >= record_count_max

        for name, size in sizes.items():
            path, offset = directory / name, offsets.get(name, 0)
            if offset >= size or self._exhausted.get((path, offset)) == size:
                continue
            if len(records) >= record_count_max:
                break
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                opened = spool.load_header(file.read(spool.header_bytes_max()))
                if opened is None:
                    continue
                header, place = opened[0], max(offset, opened[1])
                while len(records) < record_count_max:
                    file.seek(place)
                    data = file.read(_PIECE_BYTES)
                    found = spool.scan(data, header.seed, enough=take)
                    damage_count += found.damage_count
                    place += found.stopped_at
                    if not found.payloads:
                        if len(data) == _PIECE_BYTES:  # no frame in more than a frame's length
                            damage_count += 1
                            place += _PIECE_BYTES - spool.FRAME_BYTES_MAX
                            continue
                        self._exhausted[path, place] = place + len(data)
                        break
                offsets[name] = place
        self._forget(directory, offsets)
        return port.SpoolBatch(records=tuple(records), cursor=port.Cursor(offsets=offsets), damage_count=damage_count)

    def scan(self, service: str, environment: str, *, since: float, until: float) -> Iterator[spool.Record]:
        """See ports.spool.Spool.scan."""
        directory = self._directory(service, environment)
        by_writer: dict[str, list[pathlib.Path]] = {}
        for name in _sizes(directory):
            opened_at = spool.opened_at(name)
            assert opened_at is not None
            with contextlib.suppress(FileNotFoundError):
                if (directory / name).stat().st_mtime >= since and opened_at < until + _LATE_SECONDS:
                    by_writer.setdefault(spool.writer_of(name), []).append(directory / name)
        streams = [self._in_time(paths, since, until) for paths in by_writer.values()]
        return heapq.merge(*streams, key=lambda record: record.at)

    def find(self, request_id: str) -> tuple[spool.Record, ...]:
        """See ports.spool.Spool.find."""
        wanted = request_id.encode()
        found: list[spool.Record] = []
        if wanted:
            for path in sorted(self._root.glob(f"*/*/*{spool.SUFFIX}")):
                if _holds(path, wanted):
                    records = (record for frame in _frames(path, wanted) for record in frame)
                    found += [record for record in records if record.request_id == request_id]
        return tuple(sorted(found, key=lambda record: record.arm))

    def _in_time(self, paths: list[pathlib.Path], since: float, until: float) -> Iterator[spool.Record]:
        for path in paths:
            for frame in _frames(path):
                yield from (record for record in frame if since <= record.at < until)

    def _directory(self, service: str, environment: str) -> pathlib.Path:
        # Names come from softlaunch.yaml, which allows no others; a path must not be made of what slipped through.
        for name in (service, environment):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} names no service or environment")
        return self._root / service / environment

    def _forget(self, directory: pathlib.Path, offsets: dict[str, int]) -> None:
        self._exhausted = {
            (path, offset): size
            for (path, offset), size in self._exhausted.items()
            if path.parent != directory or offsets.get(path.name) == offset
        }


def _sizes(directory: pathlib.Path) -> dict[str, int]:
    """Of segments, the oldest first."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if spool.opened_at(entry.name) is not None:
                with contextlib.suppress(FileNotFoundError):
                    sizes[entry.name] = entry.stat().st_size
    return dict(sorted(sizes.items()))


def _decoded(payload: bytes, header: spool.Header) -> list[spool.Record]:
    if header.version == spool.VERSION_OF_RECORDS:
        return [_RECORD.decode(payload)]
    return spool.records(header, _GROUP.decode(payload))


def _frames(path: pathlib.Path, wanted: bytes = b"") -> Iterator[list[spool.Record]]:
    """Records of a segment as it is now, of frames that contain `wanted`; none when it was deleted meanwhile."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        header = spool.load_header(file.read(spool.header_bytes_max()))
        if header is None:
            return
        place = header[1]
        while True:
            file.seek(place)
            data = file.read(_SCAN_PIECE_BYTES)
            found = spool.scan(data, header[0].seed)
            yield from (_decoded(payload, header[0]) for payload in found.payloads if wanted in payload)
            place += found.stopped_at
            if not found.payloads:
                if len(data) < _SCAN_PIECE_BYTES:
                    return
                place += _SCAN_PIECE_BYTES - spool.FRAME_BYTES_MAX


def _holds(path: pathlib.Path, wanted: bytes) -> bool:
    with (
        contextlib.suppress(FileNotFoundError, ValueError),  # ValueError: it is empty
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        return view.find(wanted) >= 0
    return False

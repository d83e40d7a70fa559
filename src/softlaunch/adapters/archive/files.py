"""
The archive as files: a directory per rollout, a file per chain, named by the position at which it begins.

    HOME/evidence/7/00000000000000000000.chain      block block block ...
    HOME/evidence/7/00000000000016781312.chain

A block is `SLE1`, its length and its CRC-32 (little endian, four bytes each), and its content, written by one call.
Nothing is synced to the disk: a killed process loses nothing, and after a power failure the controller finds the
archive shorter than the place it saved, and begins a new chain.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import struct
import zlib
from collections.abc import Iterator

from softlaunch import errors
from softlaunch.ports import archive

_HEAD = struct.Struct("<4sII")
_MAGIC = b"SLE1"
_SUFFIX = ".chain"


class FileArchive:
    """
    A ports.archive.Archive; only the control plane writes, others may read at the same time.

    Args:
        directory: HOME/evidence; made when it is first written to.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def append(self, rollout_id: int, block: bytes, *, opens: bool = False) -> int:
        chains = self._files(rollout_id)
        try:
            end = _start(chains[-1]) + chains[-1].stat().st_size if chains else 0
            if opens or not chains:
                path = self._place(rollout_id) / f"{end:020d}{_SUFFIX}"
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                path = chains[-1]
            return end + _write(path, _HEAD.pack(_MAGIC, len(block), zlib.crc32(block)) + block)
        except OSError as error:
            raise _unwritable(self._place(rollout_id), error) from error

    def truncate(self, rollout_id: int, position: int) -> int:
        reached = 0
        try:
            for path in self._files(rollout_id):
                start, size = _start(path), path.stat().st_size
                if start >= position:
                    path.unlink()
                    continue
                if start + size > position:
                    os.truncate(path, position - start)
                reached = min(position, start + size)
        except OSError as error:
            raise _unwritable(self._place(rollout_id), error) from error
        return reached

    def read(self, rollout_id: int) -> Iterator[archive.Block]:
        for path in self._files(rollout_id):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # the oldest chain was dropped in this moment
            except OSError as error:
                raise _damaged(path, str(error)) from error
            yield from _blocks(path, content)

    def chains(self, rollout_id: int) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_size for path in self._files(rollout_id))
        except OSError as error:
            raise _unwritable(self._place(rollout_id), error) from error

    def drop_oldest(self, rollout_id: int) -> None:
        chains = self._files(rollout_id)
        try:
            if len(chains) > 1:
                chains[0].unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._place(rollout_id), error) from error

    def delete(self, rollout_id: int) -> None:
        shutil.rmtree(self._place(rollout_id), ignore_errors=True)

    def _place(self, rollout_id: int) -> pathlib.Path:
        return self._directory / str(rollout_id)

    def _files(self, rollout_id: int) -> list[pathlib.Path]:
        return sorted(self._place(rollout_id).glob(f"*{_SUFFIX}"))


def _start(path: pathlib.Path) -> int:
    return int(path.name.removesuffix(_SUFFIX))


def _write(path: pathlib.Path, content: bytes) -> int:
    """Appends all of it or, where the disk refuses, nothing."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(handle).st_size
        written = os.write(handle, content)
        if written == len(content):
            return written
        os.ftruncate(handle, before)
    finally:
        os.close(handle)
    raise OSError(f"only {written} of {len(content)} bytes were taken")


def _blocks(path: pathlib.Path, content: bytes) -> Iterator[archive.Block]:
    start, at = _start(path), 0
    while at + _HEAD.size <= len(content):
        magic, length, checksum = _HEAD.unpack_from(content, at)
        body = content[at + _HEAD.size : at + _HEAD.size + length]
        if magic != _MAGIC:
            raise _damaged(path, f"there is no block at byte {at}")
        if len(body) < length:
            return  # being written now, or when the process was killed
        if zlib.crc32(body) != checksum:
            raise _damaged(path, f"the checksum of the block at byte {at} is wrong")
        opens = at == 0
        at += _HEAD.size + length
        yield archive.Block(content=body, opens=opens, ends=start + at)


def _unwritable(place: pathlib.Path, error: OSError) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The evidence in {place} cannot be written: {error.strerror or error}.",
        remedy="Free space on the disk; decisions go on without being archived meanwhile.",
        code=errors.Code.EVIDENCE_UNWRITABLE,
    )


def _damaged(path: pathlib.Path, detail: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The evidence in {path} cannot be read: {detail}.",
        remedy="Restore the file from a backup; decisions it holds cannot be recomputed otherwise.",
        code=errors.Code.EVIDENCE_DAMAGED,
    )

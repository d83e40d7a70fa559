"""
Blobs of an OCI image layout: files named by the digest of their bytes.

Written beside their place, synced, then renamed: a blob is whole or absent, whatever is killed when.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Protocol

from softlaunch import errors
from softlaunch.core import release

_CHUNK = 1 << 20
LOCK_SECONDS_MAX = 5.0
"""A guess, ten times what a collection of hundreds of releases takes: a control plane may wait for it."""
_LOCK_POLL_SECONDS = 0.002


class Sink(Protocol):
    def write(self, chunk: bytes, /) -> int:
        """Takes the chunk."""
        ...


class BlobWriter:
    """Hashes and counts what is written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes, /) -> int:
        """Takes the chunk."""
        self._hash.update(chunk)
        self.size += len(chunk)
        return self._file.write(chunk)

    @property
    def digest(self) -> release.Digest:
        """Of everything written so far."""
        return release.Digest(f"sha256:{self._hash.hexdigest()}")


class Blobs:
    """
    The directory blobs/sha256 of a layout.

    Args:
        root: The layout's directory.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._directory = root / "blobs" / "sha256"

    def path(self, digest: release.Digest) -> pathlib.Path:
        """Where the blob is, or would be."""
        return self._directory / digest.value.removeprefix("sha256:")

    def files(self) -> list[pathlib.Path]:
        """Every file there is, also those that are being written (`.writing-*`)."""
        return sorted(self._directory.iterdir()) if self._directory.is_dir() else []

    def claim(self, digest: release.Digest) -> bool:
        """Whether the blob is there; a collection of garbage leaves it alone for its grace from now on."""
        if not self.path(digest).is_file():
            return False
        with locked(self._root):
            try:
                os.utime(self.path(digest))
            except OSError:
                return False
            return True

    def holds(self, digest: release.Digest) -> bool:
        """Whether the blob is there and whole, and claims it."""
        if not self.claim(digest):
            return False
        try:
            self.check(digest)
        except errors.UnavailableError:
            return False
        return True

    @contextlib.contextmanager
    def writing(self) -> Iterator[BlobWriter]:
        """A new blob; it exists under its digest when the block ends well, and not at all when it does not."""
        with disk_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=".writing-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    writer = BlobWriter(file)
                    yield writer
                    file.flush()
                    os.fsync(file.fileno())
                    os.fchmod(file.fileno(), 0o644)
                with locked(self._root):
                    pathlib.Path(name).rename(self.path(writer.digest))
                sync_directory(self._directory)
            except BaseException:
                pathlib.Path(name).unlink(missing_ok=True)
                raise

    def put(self, raw: bytes) -> release.Digest:
        """Stores the bytes; the same again changes nothing, or mends a damaged blob."""
        digest = release.Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")
        if not self.claim(digest) or self.path(digest).read_bytes() != raw:
            with self.writing() as writer:
                writer.write(raw)
        return digest

    def get(self, digest: release.Digest) -> bytes:
        """
        The blob's bytes, checked.

        Raises:
            UnavailableError: it is absent or its bytes are not those of its digest.
        """
        try:
            raw = self.path(digest).read_bytes()
        except OSError as error:
            raise damaged(digest, f"cannot be read ({error.strerror})") from error
        if hashlib.sha256(raw).hexdigest() != digest.value.removeprefix("sha256:"):
            raise damaged(digest, "holds other bytes than it is named for")
        return raw

    def check(self, digest: release.Digest) -> pathlib.Path:
        """
        The blob's file, its bytes read and checked once.

        Raises:
            UnavailableError: as get.
        """
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise damaged(digest, f"cannot be read ({error.strerror})") from error
        if found != digest.value.removeprefix("sha256:"):
            raise damaged(digest, "holds other bytes than it is named for")
        return path


@contextlib.contextmanager
def locked(root: pathlib.Path, *, exclusive: bool = False) -> Iterator[None]:
    """
    The layout's lock: shared to put a file in its place, exclusive to change what is listed or to remove files.

    Held for a moment. Whoever holds it must not ask for it again.

    Raises:
        UnavailableError: somebody has held it for LOCK_SECONDS_MAX: suspended, or at work on a very slow disk.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait_for(descriptor, root, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        if exclusive:  # whoever waits in vain can say for whom
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, root: pathlib.Path, how: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                last = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
                raise errors.UnavailableError(
                    f"The registry {root} has been locked for {LOCK_SECONDS_MAX:g} s; process {last} changed it last.",
                    remedy="Let that process go on or end it, a suspended `softlaunch registry gc` for example; then "
                    "try again.",
                    code=errors.Code.REGISTRY_BUSY,
                ) from error
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


def write_whole(path: pathlib.Path, raw: bytes) -> None:
    """
    Replaces the file by rename, synced before and after.

    Raises:
        UnavailableError: it cannot be written; the file is as before.
    """
    with disk_errors(path.parent):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            pathlib.Path(name).rename(path)
        except BaseException:
            pathlib.Path(name).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def sync_directory(directory: pathlib.Path) -> None:
    """Makes renames in the directory outlast a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors(directory: pathlib.Path) -> Iterator[None]:
    """Errors of the disk under `directory` become ours."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.UnavailableError(
            f"{'The disk is full' if full else 'Writing failed'} below {directory}: {error.strerror or error}.",
            remedy="Make room, then build again; nothing half written remains."
            if full
            else "Check that the directory exists, may be written to and is on a healthy disk.",
            code=errors.Code.DISK_FULL,
        ) from error


def damaged(digest: release.Digest, what: str) -> errors.UnavailableError:
    """A stored blob cannot be used."""
    return errors.UnavailableError(
        f"The registry's blob {digest.short} {what}.",
        remedy="Build the commit again: its blobs are then written anew.",
        code=errors.Code.REGISTRY_DAMAGED,
    )

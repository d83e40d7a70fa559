"""
Blobs from a registry into files, going on with what an earlier try has left.

A part is FOLDER/HEX.part, held by a flock while somebody fetches it: another process that wants the same blob fetches
it for itself. What a part holds is hashed again before the rest is asked for, and a whole that is not what its digest
says is thrown away; if some of it came from an earlier try, that may be what was wrong, and it is fetched once more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator

from softlaunch import errors
from softlaunch.core import release
from softlaunch.distribution import repository

FOLDER = ".transfers"
"""Of a layout: what is under way between it and registries."""
_FORGET_SECONDS = 7 * 86_400.0
"""After this a part is no longer waited for; a guess."""


@contextlib.contextmanager
def whole(
    source: repository.Repository, digest: release.Digest, size: int, folder: pathlib.Path
) -> Iterator[pathlib.Path]:
    """
    A file in `folder` with the blob's bytes, compared with the digest and synced; to be renamed by who wants it.

    Raises:
        ConfigError: there is no such blob, or no right to read it.
        UnavailableError: the registry does not give these bytes; what came stays for the next try.
        OSError: the disk.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget(folder)
    path, file = _part(folder, digest)
    with file, _given_up(path):
        is_continued = file.seek(0, os.SEEK_END) > 0
        is_right = _fill(source, digest, size, file)
        if not is_right and is_continued:
            file.truncate(0)
            is_right = _fill(source, digest, size, file)
        if not is_right:
            path.unlink()
            raise source.failed(f"answered other bytes than {digest} is named for")
        file.flush()
        os.fsync(file.fileno())
        try:
            yield path
        finally:
            if _is_at(path, file):  # else it was renamed, and somebody else's part may be there
                path.unlink()


@contextlib.contextmanager
def _given_up(path: pathlib.Path) -> Iterator[None]:
    """A disk without room is not kept full by half a blob."""
    try:
        yield
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _fill(source: repository.Repository, digest: release.Digest, size: int, file: io.BufferedRandom) -> bool:
    """Fetches what is missing; whether the whole is what it shall be."""
    file.seek(0)
    hashed = hashlib.file_digest(file, "sha256")
    left, farthest = repository.TRIES, file.tell()
    while (offset := file.tell()) < size:
        left, farthest = (repository.TRIES, offset) if offset > farthest else (left - 1, farthest)
        try:
            with source.blob(digest, offset) as (start, chunks):
                if start != offset:  # ranges are ignored
                    file.seek(0)
                    file.truncate()
                    hashed = hashlib.sha256()
                for chunk in chunks:
                    file.write(chunk)
                    hashed.update(chunk)
                    if file.tell() > size:
                        return False
            if file.tell() < size:
                raise source.failed(f"broke off {size - file.tell()} bytes before the end of blob {digest.short}")
        except errors.UnavailableError:
            file.flush()
            if not left:
                raise
            time.sleep(repository.pause(left, None))
    return file.tell() == size and hashed.hexdigest() == digest.value.removeprefix("sha256:")


def _part(folder: pathlib.Path, digest: release.Digest) -> tuple[pathlib.Path, io.BufferedRandom]:
    path = folder / f"{digest.value.removeprefix('sha256:')}.part"
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
            return pathlib.Path(name), os.fdopen(descriptor, "r+b")
        if _is_at(path, file):
            return path, file
        file.close()  # whoever held it has finished meanwhile


def _is_at(path: pathlib.Path, file: io.BufferedRandom) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _forget(folder: pathlib.Path) -> None:
    """Removes what nobody has come back for."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _FORGET_SECONDS:
                path.unlink()

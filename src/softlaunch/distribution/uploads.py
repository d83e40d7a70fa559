"""
Blobs from files into a registry, going on where the registry stands, also with an upload that a killed process began.

A large blob is sent in parts. Where it is sent to is kept in FOLDER/HEX.upload, mode 0600, held by a flock by whoever
sends it: a place at the registry itself, which asks for credentials again. A place at another host may carry the right
to write in its address, and is not kept. Whether the registry still knows the upload, and how much it has, is asked
before going on. Registries forget uploads, and docker-registry cannot go on with one that was cut within a part: it
then begins anew. A blob that another repository of the registry has is mounted, where the registry lets us.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import time
from collections.abc import Iterator

import httpx

from softlaunch.core import release
from softlaunch.distribution import repository

PART_BYTES = 16 << 20
"""What is sent again after a cut, at most. A guess."""
_GONE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.GONE})


class _ForgottenError(Exception):
    """The registry has no such upload, or cannot go on with it."""


@dataclasses.dataclass(kw_only=True)
class _Session:
    """One upload at the registry."""

    place: httpx.URL
    offset: int = 0
    is_resumed: bool = False


class _Memory:
    """Where an upload of one blob to one repository is; without a file it remembers nothing."""

    def __init__(self, file: io.FileIO | None) -> None:
        self._file = file

    def load(self) -> str | None:
        if self._file is None:
            return None
        self._file.seek(0)
        try:
            return str(json.loads(self._file.read())["place"])
        except (ValueError, KeyError, TypeError):  # new, or its writer was killed
            return None

    def save(self, target: repository.Repository, place: httpx.URL) -> None:
        if target.is_home(place) and not place.userinfo:
            self._write(json.dumps({"repository": f"{target.host}/{target.name}", "place": str(place)}).encode())
        else:
            self._write(b"")

    def forget(self) -> None:
        self._write(b"")

    def _write(self, raw: bytes) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # the disk is full: it is sent all the same
            self._file.seek(0)
            self._file.truncate()
            self._file.write(raw)


def send(
    target: repository.Repository,
    digest: release.Digest,
    path: pathlib.Path,
    folder: pathlib.Path | None = None,
    mounted_from: str | None = None,
) -> int:
    """
    Stores the file's bytes as a blob; returns how many were sent.

    Args:
        target: Where to.
        digest: Of the bytes.
        path: The file.
        folder: Where unfinished uploads are remembered; None: nowhere.
        mounted_from: Another repository of that registry that may have it.

    Raises:
        ConfigError: no right to write there.
        UnavailableError: the registry does not take it.
    """
    with _memory(folder if path.stat().st_size > PART_BYTES else None, target, digest) as memory:
        session = _resumed(target, memory)
        for _ in range(repository.TRIES):
            session = session or _begun(target, digest, mounted_from)
            if session is None:
                return 0
            before = session.offset
            try:
                _finish(target, session, digest, path, memory)
            except _ForgottenError:
                memory.forget()
                if target.has(digest):  # it was its answer that was lost
                    return path.stat().st_size - before
                session = mounted_from = None
            else:
                memory.forget()
                return path.stat().st_size - before
        raise target.failed("forgets uploads before they are finished")


def _begun(target: repository.Repository, digest: release.Digest, mounted_from: str | None) -> _Session | None:
    """A new upload; None: the blob was mounted."""
    url = httpx.URL(f"/v2/{target.name}/blobs/uploads/")
    if mounted_from is not None and mounted_from != target.name:
        url = url.copy_merge_params({"mount": digest.value, "from": mounted_from})
    found = target.ask("POST", url)
    if found.status_code == httpx.codes.CREATED:
        return None
    if "mount" in url.params and found.is_client_error:  # no right to read there
        found = target.ask("POST", url.copy_with(params={}))
    target.expect(found, httpx.codes.ACCEPTED)
    return _Session(place=target.location(found))


def _resumed(target: repository.Repository, memory: _Memory) -> _Session | None:
    """The upload that an earlier process began, where the registry stands; None when there is none, or no more."""
    place = memory.load()
    if place is None or not target.is_home(httpx.URL(place)):
        return None
    session = _Session(place=httpx.URL(place), is_resumed=True)
    try:
        _look(target, session)
    except _ForgottenError:
        return None
    return session


def _finish(
    target: repository.Repository, session: _Session, digest: release.Digest, path: pathlib.Path, memory: _Memory
) -> None:
    size = path.stat().st_size
    content, file = b"", None
    if size <= PART_BYTES and not session.is_resumed:
        file = path
    else:
        _send_parts(target, session, path, memory)
    last = target.ask("PUT", session.place.copy_merge_params({"digest": digest.value}), content=content, file=file)
    if last.status_code in _GONE or (session.is_resumed and last.is_client_error):
        raise _ForgottenError
    target.expect(last, httpx.codes.CREATED)


def _send_parts(target: repository.Repository, session: _Session, path: pathlib.Path, memory: _Memory) -> None:
    left = repository.TRIES
    with path.open("rb") as file:
        while True:
            file.seek(session.offset)
            part = file.read(PART_BYTES)
            if not part:
                return
            memory.save(target, session.place)
            found, what, wait = _sent(target, session, part)
            if found is not None:
                session.place, session.offset = target.location(found, session.place), session.offset + len(part)
                left = repository.TRIES
                continue
            left -= 1
            if not left:
                raise target.failed(what)
            time.sleep(repository.pause(left, wait))
            _look(target, session)


def _sent(
    target: repository.Repository, session: _Session, part: bytes
) -> tuple[httpx.Response | None, str, str | None]:
    """The answer that took the part; else what happened instead, and how long the registry asks to wait."""
    headers = {
        "content-range": f"{session.offset}-{session.offset + len(part) - 1}",
        "content-type": "application/octet-stream",
    }
    try:
        found = target.ask_once("PATCH", session.place, headers=headers, content=part)
    except httpx.TransportError as error:
        return None, f"cut the upload ({type(error).__name__})", None
    if found.status_code == httpx.codes.ACCEPTED:
        return found, "", None
    if found.status_code in _GONE:
        raise _ForgottenError
    if found.status_code == httpx.codes.UNAUTHORIZED:
        target.login(found)  # a token that ran out
    return None, f"answered {found.status_code} within an upload", found.headers.get("retry-after")


def _look(target: repository.Repository, session: _Session) -> None:
    """Sets the session to where the registry stands."""
    found = target.ask("GET", session.place)
    if found.status_code in _GONE or (session.is_resumed and found.is_client_error):
        raise _ForgottenError
    target.expect(found, httpx.codes.NO_CONTENT)
    first, dash, last = found.headers.get("range", "").rpartition("=")[2].partition("-")
    if not (dash and first == "0" and last.isdecimal()):
        raise target.failed("does not say where the upload stands")
    # "0-0" stands for nothing and for one byte alike: docker-registry says it of an empty upload
    session.offset = 0 if last == "0" else int(last) + 1
    session.place = target.location(found, session.place)


@contextlib.contextmanager
def _memory(folder: pathlib.Path | None, target: repository.Repository, digest: release.Digest) -> Iterator[_Memory]:
    path, file = (None, None) if folder is None else _held(folder, target, digest)
    memory = _Memory(file)
    try:
        yield memory
    finally:
        if file is not None and path is not None:
            if memory.load() is None:
                path.unlink(missing_ok=True)
            file.close()


def _held(
    folder: pathlib.Path, target: repository.Repository, digest: release.Digest
) -> tuple[pathlib.Path, io.FileIO] | tuple[None, None]:
    """The file of the upload; none when somebody else sends the same blob, or the disk has no room for a memory."""
    name = hashlib.sha256(f"{target.host}/{target.name}@{digest}".encode()).hexdigest()[:32]
    path = folder / f"{name}.upload"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    except OSError:
        return None, None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None, None
    return path, file

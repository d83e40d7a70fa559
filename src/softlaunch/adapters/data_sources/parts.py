"""Downloads that broke off: what is there of them, and of which version of the file it is."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator

from softlaunch import errors


def state_path(path: pathlib.Path) -> pathlib.Path:
    """Where the version of an unfinished download stands."""
    return path.with_name(f"{path.name}.part")


def known(path: pathlib.Path) -> tuple[int, str]:
    """How many bytes are there, and their version; nothing of a file whose version nobody wrote down."""
    try:
        version = state_path(path).read_text()
        return (path.stat().st_size, version) if version else (0, "")
    except (FileNotFoundError, UnicodeDecodeError):
        return 0, ""


def begin(path: pathlib.Path, version: str) -> None:
    """A download starts from its first byte; without a version it could not go on later."""
    path.unlink(missing_ok=True)
    state_path(path).write_text(version)


def sha256(path: pathlib.Path) -> str:
    """Of a download that is whole, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[None]:
    """
    One download into a path at a time: two would write into one another.

    Raises:
        ConflictError: another process downloads there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = state_path(path)
    descriptor = os.open(state, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.ConflictError(
                f"Another process is downloading to {path.name}.",
                remedy="Wait until it has ended, and try again.",
                code=errors.Code.DOWNLOAD_FAILED,
            ) from error
        yield
        state.unlink(missing_ok=True)
    finally:
        os.close(descriptor)

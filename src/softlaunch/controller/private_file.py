"""
Small files of the home that only its owner may read: hashes of tokens, the secret of the webhooks.

Written by rename, so that a reader sees the old content or the new one, and with mode 0600 from the first byte on. A
file that others could have read or written is refused, not repaired: nobody knows who was there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator

from softlaunch import errors

_MODE = 0o600
_FORBIDDEN = 0o077


def read(path: pathlib.Path) -> bytes | None:
    """
    The content; None when there is no such file.

    Raises:
        ConfigError: it is no file, belongs to somebody else, or others may read or write it.
        UnavailableError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as source:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise _unusable(path, "is no file of yours")
        if found.st_mode & _FORBIDDEN:
            raise _unusable(path, f"has mode {stat.S_IMODE(found.st_mode):04o}: others can get at it")
        return source.read()


def write(path: pathlib.Path, content: bytes) -> None:
    """
    Puts the content in the file's place, durably.

    Raises:
        UnavailableError: it cannot be written; what was there before is still there.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise errors.UnavailableError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Make room on the disk and check who may write there; nothing was changed.",
            code=errors.Code.PRIVATE_FILE,
        ) from error


@contextlib.contextmanager
def changing(path: pathlib.Path) -> Iterator[None]:
    """
    While the block runs, no other process changes the file.

    Raises:
        UnavailableError: its directory cannot be written to.
    """
    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise errors.UnavailableError(
            f"{path} cannot be changed: {error.strerror}.",
            remedy="Run `softlaunch doctor`; is this the home that was meant?",
            code=errors.Code.PRIVATE_FILE,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unusable(path: pathlib.Path, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path} {what}.",
        remedy="Look at who did that; remove the file, and make tokens and secrets in it anew.",
        code=errors.Code.PRIVATE_FILE,
    )

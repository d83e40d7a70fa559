"""Who adds to the prediction logs of a home: one process of each kind at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from softlaunch import errors
from softlaunch.config import home as homes


def alone(home: homes.Home) -> contextlib.AbstractContextManager[None]:
    """
    One process that moves what waits; the lock ends with it.

    Raises:
        ConflictError: another one does.
    """
    return _held(
        home,
        "lock",
        f"Another process moves predictions into {home.log} already.",
        "Leave it to that one; `softlaunch log status` tells how far it is.",
    )


def importing(home: homes.Home) -> contextlib.AbstractContextManager[None]:
    """
    One import; the lock ends with its process.

    Raises:
        ConflictError: another one is under way.
    """
    return _held(home, "import.lock", "Another import into this home is under way.", "Wait for it, and repeat.")


@contextlib.contextmanager
def _held(home: homes.Home, name: str, message: str, remedy: str) -> Iterator[None]:
    home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(home.log / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.ConflictError(message, remedy=remedy, code=errors.Code.LOG_RUNS) from error
        yield
    finally:
        os.close(fd)

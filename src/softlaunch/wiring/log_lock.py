"""Who adds to the prediction logs of a home: one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from softlaunch import errors
from softlaunch.config import home as homes


@contextlib.contextmanager
def alone(home: homes.Home) -> Iterator[None]:
    """
    One process that adds to a home's tables; the lock ends with it.

    Raises:
        ConflictError: another one does.
    """
    home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(home.log / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.ConflictError(
                f"Another process moves predictions into {home.log} already.",
                remedy="Leave it to that one; `softlaunch log status` tells how far it is.",
                code=errors.Code.LOG_RUNS,
            ) from error
        yield
    finally:
        os.close(fd)

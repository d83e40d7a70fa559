"""
One control plane per home.

The lock is a flock on HOME/lock: the kernel drops it when its holder ends, however it ends, so a lock left by kill -9
is taken over without asking. The pid inside is for people and messages only; it decides nothing. The file itself is
never removed: removing it would let two processes hold locks on two files of one name.

A child being started shares the lock between fork and exec. A new control plane therefore cannot hold the lock while
a child of the dead one is not yet visible under its own environment, which local.fleet relies on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import time
import types
from typing import Self

from softlaunch import errors

_WAIT_SECONDS = 0.5
"""How long to try: longer than the instant for which `holder` of another process, or a child before exec, has it."""
_RETRY_SECONDS = 0.02


class HomeLock:
    """
    Held from `acquire` (or entering the context) until `release` or the end of the process.

    Args:
        home: The home directory; created when missing, readable by its owner only.
    """

    def __init__(self, home: pathlib.Path) -> None:
        self._path = home / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """
        Takes the lock and writes this process's pid into it.

        Raises:
            ConflictError: another process holds it; the message names its pid.
            UnavailableError: the lock file cannot be opened.
        """
        if self._fd is not None:
            raise errors.InvariantError(f"The lock {self._path} is taken twice by one object.")
        fd = self._open()
        if not _try_flock(fd):
            pid = _read_pid(fd)
            os.close(fd)
            raise errors.ConflictError(
                f"The home {self._path.parent} is in use by another control plane"
                + (f" (process {pid})." if pid else "."),
                remedy="Use that one (`softlaunch status`), end it with `softlaunch down`, "
                "or choose another home with SOFTLAUNCH_HOME.",
                code=errors.Code.HOME_LOCKED,
            )
        self._fd = fd
        # A disk too full for the pid only makes a message poorer.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the lock back; nothing happens when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.UnavailableError(
                f"The lock file {self._path} cannot be opened: {error.strerror}.",
                remedy="Give the home directory to the user who runs softlaunch, or set SOFTLAUNCH_HOME to another.",
                code=errors.Code.HOME_UNUSABLE,
            ) from error


def holder(home: pathlib.Path) -> int | None:
    """
    Pid of the control plane that holds this home's lock now; None when nobody does.

    A lock that is held while its pid is not written yet gives 0.
    """
    try:
        fd = os.open(home / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(fd)
    else:
        return None
    finally:
        os.close(fd)


def _try_flock(fd: int) -> bool:
    give_up_at = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_RETRY_SECONDS)
        else:
            return True


def _read_pid(fd: int) -> int:
    text = os.pread(fd, 32, 0).decode("ascii", errors="replace").strip()
    return int(text) if text.isdigit() else 0

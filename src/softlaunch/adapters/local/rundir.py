"""
The directory of sockets: short, so that every path fits, and nobody else's.

A Unix socket's path holds 107 bytes on Linux and 103 on macOS, however long the home's path is; so sockets live under
/tmp in a directory named after the user and the home.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat

from softlaunch import errors
from softlaunch.adapters.local import records

SOCKET_PATH_BYTES_MAX = 99


def path_for(home: pathlib.Path) -> pathlib.Path:
    """The one run directory of a home, the same for every process of the user: /tmp/sl-UID-8HEX."""
    mark = hashlib.sha256(os.fsencode(home.expanduser().resolve())).hexdigest()[:8]
    return pathlib.Path("/tmp") / f"sl-{os.getuid()}-{mark}"  # noqa: S108 (owner and mode are checked below)


def prepare(path: pathlib.Path) -> None:
    """
    Creates the directory if it is missing.

    Raises:
        ConfigError: its path is too long for sockets.
        ConflictError: it belongs to somebody else, or others may write there: /tmp is everybody's.
        UnavailableError: it cannot be created.
    """
    length = len(os.fsencode(path)) + 1 + records.SOCKET_NAME_BYTES_MAX
    if length > SOCKET_PATH_BYTES_MAX:
        raise errors.ConfigError(
            f"The run directory {path} is too long: a socket in it would have a path of {length} bytes.",
            remedy=f"Choose a directory whose name is {length - SOCKET_PATH_BYTES_MAX} bytes shorter.",
            code=errors.Code.RUN_DIR_UNUSABLE,
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UnavailableError(
            f"The run directory {path} cannot be created: {error.strerror}.",
            remedy="Free space in /tmp or make it writable.",
            code=errors.Code.RUN_DIR_UNUSABLE,
        ) from error
    fault = fault_of(path)
    if fault is not None:
        raise errors.ConflictError(
            f"The run directory {path} {fault}.",
            remedy=f"Find out who made it; then remove it (rm -r {path}) and start again.",
            code=errors.Code.RUN_DIR_UNUSABLE,
        )


def fault_of(path: pathlib.Path) -> str | None:
    """Why the directory must not be trusted; None when it is ours alone, or missing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if status.st_uid != os.getuid():
        return f"belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None

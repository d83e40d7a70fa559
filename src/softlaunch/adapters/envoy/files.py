"""Files that others watch: written beside their place and renamed into it, so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import pathlib

from softlaunch import errors


def replace(path: pathlib.Path, content: bytes) -> None:
    """
    The file has the content, or is as it was before.

    Raises:
        UnavailableError: it could not be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise errors.UnavailableError(
            f"The gateway's file {path} cannot be written ({error.strerror}).",
            remedy="Free disk space or repair the permissions of the home directory.",
            code=errors.Code.GATEWAY_UNWRITABLE,
        ) from error


def read(path: pathlib.Path) -> bytes | None:
    """The file's content; None when it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None

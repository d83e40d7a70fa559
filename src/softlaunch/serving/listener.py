"""
granian, embedded: one process, one event loop, one Unix socket (or one port, in a container).

The embedded server and not granian's usual master with a worker: the supervisor knows one pid, and killing that pid
must leave nothing behind that still serves the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pathlib
import socket
import stat
import sys
from typing import Any, Protocol

from granian import constants, http
from granian.server import embed

from softlaunch import errors
from softlaunch.serving import settings

PATH_BYTES_MAX = 107
"""Of sun_path in Linux, without the final zero."""
_IDLE_MS_MAX = 24 * 3600 * 1000
"""hyper counts an idle kept connection as a slow header: after its 30 s it would close what Envoy is about to use."""

_CONNECTION_COUNT_MAX = 100_000
"""
granian accepts no more than `backlog` connections if nothing is said, and those that only wait count: a thousand idle
ones kept everybody else out. What limits them is the number of open files; what limits work is the batcher's queue.
"""

QUIET_SECONDS = 0.2
"""A draining server ends when nobody has sent anything for this long; a guess, some times a client's think time."""


class Drained(Protocol):
    """An application that can be waited for. It closes connections, one answer each, while it drains."""

    in_flight: int
    """Requests it owes an answer."""
    last_request_at: float
    """Loop time of the latest answer while draining."""


class Listener(embed.Server):
    """Serves `app` at a path, whose file appears, mode 0600, by rename once connections are accepted; or at a port."""

    def __init__(self, app: Any, place: pathlib.Path | settings.Address, *, asgi: bool = False) -> None:
        """
        Args:
            app: An RSGI application, or an ASGI one whose lifespan is run elsewhere.
            place: The socket's path, or the address.
            asgi: Which of the two.

        Raises:
            ConfigError: the path cannot be a socket's, or the address is none of this machine.
            ConflictError: a living process serves there.
        """
        check(place)
        self._path = None if isinstance(place, settings.Address) else place
        self._inode = 0
        self._bound = None if self._path is None else self._path.parent.resolve() / f".{os.getpid()}"
        address = place if isinstance(place, settings.Address) else settings.Address(host="127.0.0.1", port=0)
        super().__init__(
            app,
            address=address.host,
            port=address.port,
            uds=self._bound,
            interface=constants.Interfaces.ASGINL if asgi else constants.Interfaces.RSGI,
            http=constants.HTTPModes.http1,
            websockets=False,
            backlog=1024,
            backpressure=_CONNECTION_COUNT_MAX,
            http1_settings=http.HTTP1Settings(header_read_timeout=_IDLE_MS_MAX),
            log_enabled=False,
        )
        self.uds_permissions = 0o600

    def withdraw(self) -> None:
        """Removes the socket's file, unless a successor has put its own there: nobody new can connect."""
        if self._path is None:
            return  # a port stays open while what was accepted is answered; whoever balances has been told already
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _init_shared_socket(self) -> None:
        bound, path = self._bound, self._path
        if bound is None or path is None:
            super()._init_shared_socket()  # type: ignore[no-untyped-call]  # granian annotates half of its methods
            return
        bound.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            super()._init_shared_socket()  # type: ignore[no-untyped-call]  # granian annotates half of its methods
        except (OSError, RuntimeError) as error:
            raise _unusable(path, str(error)) from error
        finally:
            os.umask(mask)
        self._inode = bound.stat().st_ino
        bound.rename(path)
        # granian unlinks whatever is at bind_uds when it ends, a successor's socket too; withdraw() does it better.
        self.bind_uds = None


async def drain(app: Drained, server: Listener, serving: asyncio.Task[None], grace_seconds: float) -> int:
    """Answers what was accepted, closing each connection after its answer; 0 when all of it was answered in time."""
    loop = asyncio.get_running_loop()
    app.last_request_at = loop.time()
    deadline = loop.time() + grace_seconds
    while app.in_flight or loop.time() - app.last_request_at < QUIET_SECONDS:
        if loop.time() > deadline and not app.in_flight:
            break  # a port, unlike a socket's file, cannot be withdrawn: clients may go on coming for ever
        if loop.time() > deadline:
            sys.stderr.write(f"softlaunch.serving: {app.in_flight} requests unanswered after {grace_seconds:g} s\n")
            return 1
        await asyncio.sleep(0.01)
    server.stop()  # type: ignore[no-untyped-call]  # granian annotates half of its methods
    await asyncio.wait({serving}, timeout=max(0.1, deadline - loop.time()))
    return 0


def check(place: pathlib.Path | settings.Address) -> None:
    """
    Whether a socket can be made there.

    Raises:
        ConfigError: the path cannot be a socket's, or the address is none of this machine.
        ConflictError: a living process serves there.
    """
    if isinstance(place, settings.Address):
        _check_address(place)
    else:
        _check_path(place)


def _check_address(address: settings.Address) -> None:
    """Tries a plain bind: granian shares ports (SO_REUSEPORT) and would take turns with another server."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        message = f"The address {address} cannot be listened at: {error.strerror or error}."
        if error.errno == errno.EADDRINUSE:
            raise errors.ConflictError(
                message,
                remedy="Stop the process that listens there, or pass another --listen.",
                code=errors.Code.SOCKET_UNUSABLE,
            ) from error
        raise errors.ConfigError(
            message,
            remedy="Pass another --listen: an address of this machine and a port from 1024 on.",
            code=errors.Code.SOCKET_UNUSABLE,
        ) from error


def _check_path(path: pathlib.Path) -> None:
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise _unusable(path, f"its path has {length} bytes, {PATH_BYTES_MAX} are possible")
    if not path.parent.is_dir():
        raise _unusable(path, "its directory does not exist")
    if not os.access(path.parent, os.W_OK):
        raise _unusable(path, "its directory cannot be written")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _unusable(path, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return  # stale: its process is gone
    raise errors.ConflictError(
        f"A living process serves at {path}.",
        remedy="Stop it, or pass another --socket.",
        code=errors.Code.SOCKET_UNUSABLE,
    )


def _unusable(path: pathlib.Path, why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The socket {path} cannot be used: {why}.",
        remedy="Pass another --socket: a short path in a directory of your own.",
        code=errors.Code.SOCKET_UNUSABLE,
    )

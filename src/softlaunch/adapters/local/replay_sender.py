"""
Sends recorded requests to replicas over their Unix sockets, past the gateway, many at a time.

One thread per request in flight, each with a connection it keeps: what waits for a slow replica holds nobody else up.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from softlaunch.core import attempts, recorded_request, spool
from softlaunch.ports import sender

_THREADS = 64
"""A guess: what a candidate that is asked for a second by a few dozen requests a second keeps busy."""


class SocketSender:
    """
    A ports.sender.Sender.

    Args:
        sockets: Of the candidate's replicas, asked in turn.
        release: The candidate's first twelve hex digits.
        timeout_seconds: No answer after this long is no answer.
        thread_count: Requests in flight at once; further ones wait, and their waiting is part of the timeout.
    """

    def __init__(
        self, sockets: Sequence[str], *, release: str, timeout_seconds: float, thread_count: int = _THREADS
    ) -> None:
        self._sockets = sockets
        self._release = release
        self._timeout_seconds = timeout_seconds
        self._work: queue.SimpleQueue[tuple[spool.Record, float] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[sender.Sent] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"replay-{number}", daemon=True)
            for number in range(thread_count)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, record: spool.Record) -> None:
        """See ports.sender.Sender.send."""
        self._work.put((record, time.monotonic() + self._timeout_seconds))

    def collect(self) -> Sequence[sender.Sent]:
        """See ports.sender.Sender.collect."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._done.get_nowait())
        return found

    def close(self) -> None:
        """Ends the threads after what they are at; what waits is not sent."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)

    def _run(self, number: int) -> None:
        connection = _Connection(self._sockets[number % len(self._sockets)])
        while (item := self._work.get()) is not None:
            record, deadline = item
            answer: spool.Record | None = None
            left = deadline - time.monotonic()
            if left > 0:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer = self._asked(connection, record, left)
            if answer is None:
                connection.close()
            self._done.put(sender.Sent(request_id=record.request_id, answer=answer))
        connection.close()

    def _asked(self, connection: _Connection, record: spool.Record, timeout_seconds: float) -> spool.Record:
        connection.limit(timeout_seconds)
        headers = {"x-request-id": record.request_id, **recorded_request.headers(record)}
        began = time.perf_counter()
        connection.request("POST", recorded_request.path(record), body=record.request, headers=headers)
        response = connection.getresponse()
        body = response.read()
        waited_us = int((time.perf_counter() - began) * 1e6)
        served = response.getheader("x-softlaunch-served")
        cpu = response.getheader("x-softlaunch-cpu-us")
        service = response.getheader("x-softlaunch-service-us")
        return record._replace(
            release=self._release,
            instance=response.getheader("x-softlaunch-instance") or "replay",
            arm=spool.SHADOW,
            mirrored=False,
            status=response.status,
            answer=body,
            invalid=response.getheader("x-softlaunch-invalid") is not None,
            shed=response.getheader("x-softlaunch-shed") is not None,
            service_us=int(service) if service else waited_us,
            cpu_us=int(cpu) if cpu else None,
            output=response.getheader("x-softlaunch-out") or "",
            memory_kib=int(response.getheader("x-softlaunch-memory-kib") or 0),
            served_count=int(served.removesuffix(attempts.RECORDED)) if served else 0,
            dropped=0,
            features=None,  # all of them were sent
        )


@contextlib.contextmanager
def opened(sockets: Sequence[str], *, release: str, timeout_seconds: float) -> Iterator[sender.Sender]:
    """See ports.sender.Senders."""
    with contextlib.closing(SocketSender(sockets, release=release, timeout_seconds=timeout_seconds)) as found:
        yield found


class _Connection(http.client.HTTPConnection):
    """Over a Unix socket; connects again by itself when it was closed."""

    def __init__(self, path: str) -> None:
        super().__init__("replica")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def limit(self, seconds: float) -> None:
        """No single wait takes longer."""
        self.timeout = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

"""A small HTTP server over a Unix socket that answers at once, except while it is frozen."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import threading
import time
from collections.abc import Iterator


class FreezingServer:
    """
    Answers every request with 200 and `{}`; between two times none at all, then all that wait.

    Args:
        freeze: Seconds after the first request at which it freezes and thaws.
        answer_seconds: What every answer takes besides.
        status: Of every answer.
    """

    def __init__(self, *, freeze: tuple[float, float] = (0.0, 0.0), answer_seconds: float = 0.0, status: int = 200):
        self._freeze = freeze
        self._answer_seconds = answer_seconds
        self._head = b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n{}" % status
        self._began = 0.0
        self.request_count = 0
        self.heads: set[bytes] = set()
        self.latencies: list[float] = []
        """Seconds from having read a request to having answered it: what every client waits at least."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                await reader.readexactly(length)
                self.heads.add(head)
                self.request_count += 1
                read = time.monotonic()
                self._began = self._began or read
                await self._wait()
                writer.write(self._head)
                await writer.drain()
                self.latencies.append(time.monotonic() - read)
        writer.close()

    async def _wait(self) -> None:
        if self._answer_seconds:
            await asyncio.sleep(self._answer_seconds)
        since = time.monotonic() - self._began
        if self._freeze[0] <= since < self._freeze[1]:
            await asyncio.sleep(self._freeze[1] - since)


@contextlib.contextmanager
def serving(server: FreezingServer, path: pathlib.Path) -> Iterator[str]:
    """Serves in a thread of its own while the context lasts."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def run() -> None:
        async with await asyncio.start_unix_server(server.serve, path, backlog=1024):
            ready.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    task = loop.create_task(run())
    thread = threading.Thread(target=lambda: loop.run_until_complete(task), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield str(path)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)

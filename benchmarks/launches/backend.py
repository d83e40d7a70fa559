"""
The cheapest honest model servers: one process with one or more Unix sockets, one fault, and a count of what it did.

    python backend.py FAULT SOCKET...

Answers `{"release": NAME OF THE SOCKET, "prediction": ...}` after the whole request was read. `GET /-/count` and
`GET /-/fault/NAME` are for the experiment. Faults: ok, 503, reset, hang, invalid (as our model server says it), 422,
fallback (the answer of a fallback server).
"""

from __future__ import annotations

import asyncio
import collections
import json
import pathlib
import sys
from typing import cast

import uvloop

HEADS = {
    "ok": b"HTTP/1.1 200 OK\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\n",
    "422": b"HTTP/1.1 422 Unprocessable Entity\r\n",
    "invalid": b"HTTP/1.1 500 Internal Server Error\r\nx-softlaunch-invalid: 1\r\n",
}
BROKEN = b'{"error":"planted"}'


class Counts:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.requests = 0
        self.firsts = 0
        self.executed: collections.Counter[int] = collections.Counter()
        """Numbers of requests that were read whole: whatever comes after, they were done."""
        self.mirrored = 0

    def document(self) -> bytes:
        twice = [number for number, count in self.executed.items() if count > 1]
        found = {
            "requests": self.requests,
            "firsts": self.firsts,
            "executed": sorted(self.executed),
            "twice": twice,
            "mirrored": self.mirrored,
        }
        return json.dumps(found).encode()


class Connection(asyncio.Protocol):
    def __init__(self, name: bytes, counts: Counts, *, remember: bool) -> None:
        self._counts = counts
        self._remember = remember
        self._buffer = b""
        body = b'{"release":"%s","prediction":{"label":1,"probability":0.5}}' % name
        common = b"content-type: application/json\r\nx-softlaunch-out: c:1\r\ncontent-length: %d\r\n\r\n%s"
        self._answers = {
            fault: head + common % ((len(body), body) if fault == "ok" else (len(BROKEN), BROKEN))
            for fault, head in HEADS.items()
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            place = buffer.find(b"content-length: ", 0, end)
            length = int(buffer[place + 16 : buffer.find(b"\r", place)]) if place >= 0 else 0
            if len(buffer) < end + 4 + length:
                break
            head, buffer = buffer[: end + 2], buffer[end + 4 + length :]
            if head.startswith(b"GET /-/"):
                self._order(head.split(b" ", 2)[1].decode())
            else:
                self._answer(head)
        self._buffer = buffer

    def _answer(self, head: bytes) -> None:
        counts = self._counts
        counts.requests += 1
        counts.firsts += b"x-envoy-attempt-count: 1\r\n" in head
        counts.mirrored += b"x-softlaunch-arm: shadow\r\n" in head
        if self._remember:
            place = head.find(b"x-number: ")
            counts.executed[int(head[place + 10 : head.find(b"\r", place)])] += 1
        if counts.fault == "reset":
            self._transport.abort()
        elif counts.fault != "hang":
            self._transport.write(self._answers[counts.fault])

    def _order(self, path: str) -> None:
        if path.startswith("/-/fault/"):
            self._counts.fault = path.rpartition("/")[2]
        body = self._counts.document()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def main() -> None:
    fault, *sockets = sys.argv[1:]
    remember = fault.endswith("+remember")
    counts = Counts(fault.removesuffix("+remember"))
    loop = asyncio.get_running_loop()
    for socket in sockets:
        name = pathlib.Path(socket).name.partition(".")[0].encode()
        pathlib.Path(socket).unlink(missing_ok=True)  # noqa: ASYNC240 - before anything is served
        await loop.create_unix_server(
            lambda name=name: Connection(name, counts, remember=remember),  # type: ignore[misc]
            socket,
            backlog=4096,
        )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())

"""
A model server that is broken at the level of HTTP, started in place of ours for candidates in benchmarks.

It answers health checks and smoke requests (no x-user-id header) well, and every user's request with the fault named in
FAULT: 503, 422, invalid (the 500 with which our model server marks NaN), or reset (the connection is cut without an
answer).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import socket

STATUSES = {
    "503": b"503 Service Unavailable",
    "422": b"422 Unprocessable Entity",
    "invalid": b"500 Internal Server Error\r\nx-softlaunch-invalid: 1",
}
GOOD = b'{"prediction":{"label":1,"probability":0.5}}'


class Server(asyncio.Protocol):
    def __init__(self, fault: str, instance: str, release: str) -> None:
        self._fault = fault
        self._names = f"x-softlaunch-instance: {instance}\r\nx-softlaunch-release: {release}\r\n".encode()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(user=any(line.startswith(b"x-user-id") for line in lines))

    def _answer(self, *, user: bool) -> None:
        if user and self._fault == "reset":
            self._transport.abort()
            return
        status = STATUSES[self._fault] if user else b"200 OK"
        body = b'{"error":"planted"}' if user else GOOD
        self._transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s"
            % (status, len(body), self._names, body)
        )


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--release", "--socket", "--instance"):
        parser.add_argument(name, required=True)
    options, _ = parser.parse_known_args()
    path = pathlib.Path(options.socket)
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - before anything is served
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    release = path.name.partition(".")[0]
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: Server(os.environ["FAULT"], options.instance, release), sock=listener
    )
    await server.serve_forever()


asyncio.run(main())

"""Model servers that misbehave on purpose, on Unix sockets or ports, all in one background thread."""

from __future__ import annotations

import asyncio
import collections
import pathlib
import ssl
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import numpy as np
import uvloop
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

Result = TypeVar("Result")

ANSWERS = {
    "ok": b"HTTP/1.1 200 OK\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\n",
    "422": b"HTTP/1.1 422 Unprocessable Entity\r\n",
    "404": b"HTTP/1.1 404 Not Found\r\n",
    "invalid": b"HTTP/1.1 500 Internal Server Error\r\nx-softlaunch-invalid: 1\r\n",
    "invalid-200": b"HTTP/1.1 200 OK\r\nx-softlaunch-invalid: 1\r\n",
    "shed": b"HTTP/1.1 503 Service Unavailable\r\nx-softlaunch-shed: 1\r\nx-envoy-ratelimited: true\r\n"
    b"retry-after: 7\r\n",
}
GRPC = "/inference.GRPCInferenceService/"
GRPC_FAILURES = {"503": 14, "422": 3, "404": 5, "invalid": 13, "shed": 8}
"""Status a model server says beside its HTTP status, as serving/ does."""
NUMBERS = np.array([[1.0, 2.0]], dtype=np.float32)
SLOW_SECONDS = 0.3
HANG_SECONDS = 3.0


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Server:
    """One replica; `fault` may change at any time."""

    def __init__(
        self, loop: Loop, socket: pathlib.Path | str, *, fault: str = "ok", tls: ssl.SSLContext | None = None
    ) -> None:
        """`socket`: the path of a Unix socket, or tcp://HOST:PORT or tls://HOST:PORT; it then listens on 127.0.0.1."""
        self.loop = loop
        self.socket = str(socket)
        self.name = self.socket.rpartition("/")[2].split(".", 1)[0]
        self.fault = fault
        self.tls = tls
        self.answer_headers = "x-softlaunch-out: n:3"
        self.answer_bytes = 4
        """Length of the output in an answer to gRPC."""
        self.speaks_grpc = True
        self.heads: list[dict[str, str]] = []
        """Headers of every request since `forget`, and its path as `path`."""
        self.bodies: list[bytes] = []
        self.paths: collections.Counter[str] = collections.Counter()
        self.firsts = 0
        self.attempts = 0
        self.keys: set[str] = set()
        self.connections: set[_Connection] = set()
        self._server: asyncio.AbstractServer | None = None
        self.start()

    def start(self) -> None:
        if self.socket.startswith("/"):
            pathlib.Path(self.socket).unlink(missing_ok=True)

        async def bind() -> None:
            running = asyncio.get_running_loop()
            if self.socket.startswith("/"):
                self._server = await running.create_unix_server(lambda: _Connection(self), self.socket, backlog=1024)
            else:
                port = int(self.socket.rpartition(":")[2])
                self._server = await running.create_server(lambda: _Connection(self), "127.0.0.1", port, ssl=self.tls)

        self.loop.run(bind())

    @property
    def listening(self) -> bool:
        return self._server is not None

    def kill(self) -> None:
        """What the kernel does to the sockets of a process that was killed."""

        async def end() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for connection in list(self.connections):
                connection.transport.abort()

        self.loop.run(end())

    def forget(self) -> None:
        self.paths.clear()
        self.keys.clear()
        self.heads.clear()
        self.bodies.clear()
        self.answer_headers = "x-softlaunch-out: n:3"
        self.answer_bytes = 4
        self.speaks_grpc = True
        self.firsts = self.attempts = 0

    @property
    def body_bytes(self) -> int:
        return len(self.bodies[-1]) if self.bodies else 0


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without inheriting from it
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head[1:])
            total = end + 4 + int(headers.get(b"content-length", 0))
            if headers.get(b"transfer-encoding") == b"chunked":
                tail = self.buffer.find(b"0\r\n\r\n", end)
                total = tail + 5 if tail >= 0 else len(self.buffer) + 1
            if len(self.buffer) < total:
                return
            self.server.bodies.append(bytes(self.buffer[end + 4 : total]))
            del self.buffer[:total]
            self.answer(head[0].split(b" ")[1].decode(), headers)

    def answer(self, path: str, headers: dict[bytes, bytes]) -> None:
        server = self.server
        server.attempts += 1
        server.firsts += headers.get(b"x-envoy-attempt-count") == b"1"
        server.paths[path] += 1
        server.heads.append(
            {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()} | {"path": path}
        )
        server.keys.add(headers.get(b"x-softlaunch-key", b"").decode("latin-1"))
        fault = server.fault
        if fault == "half":
            fault = "503" if server.attempts % 2 else "ok"
        if fault == "reset":
            self.transport.abort()
        elif fault == "garbage":
            self.transport.write(b"\x00\xffthis is no HTTP\r\n\r\n")
        elif fault == "huge":
            self.transport.write(b"HTTP/1.1 200 OK\r\nx-much: " + b"y" * 100_000 + b"\r\ncontent-length: 0\r\n\r\n")
        elif fault in {"hang", "slow"}:
            seconds = HANG_SECONDS if fault == "hang" else SLOW_SECONDS
            asyncio.get_running_loop().call_later(seconds, self.write, "ok", path)
        else:
            self.write(fault, path)

    def write(self, fault: str, path: str) -> None:
        if self.transport.is_closing():
            return
        body = b'{"release":"%s","path":"%s"}' % (self.server.name.encode(), path.encode())
        head = ANSWERS[fault]
        if path.startswith(GRPC) and self.server.speaks_grpc:
            body = service_pb2.ModelInferResponse(
                model_name=self.server.name, raw_output_contents=[bytes(self.server.answer_bytes)]
            ).SerializeToString()
            head += b"content-type: application/x-protobuf\r\n"
            if fault in GRPC_FAILURES:
                body = b""
                message = f"{self.server.name} says {fault} 100%25 \u00e9".encode()
                head += b"x-softlaunch-grpc-status: %d\r\nx-softlaunch-grpc-message: " % GRPC_FAILURES[fault]
                head += message.replace("\u00e9".encode(), b"%C3%A9") + b"\r\n"
        else:
            head += b"content-type: application/json\r\n"
        if self.server.answer_headers:
            head += self.server.answer_headers.encode("latin-1") + b"\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)

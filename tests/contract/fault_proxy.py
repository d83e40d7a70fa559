"""A proxy that puts faults between a client and a registry: refusals, cuts, changed bytes, slow answers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import pathlib
import socket
import sys
import time
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import distribution_lab

_BLOCK = 1 << 18


@dataclasses.dataclass(kw_only=True)
class Fault:
    """What becomes of the next `count` requests whose line has `line` in it."""

    line: str
    count: int = 1
    answers: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    cuts_request: int | None = None
    """So many bytes of what is sent arrive, then the line is cut."""
    cuts_answer: int | None = None
    changes: bool = False
    """One byte of the answer is another."""


@dataclasses.dataclass(kw_only=True)
class Seen:
    line: str
    headers: dict[str, str]
    received: int = 0
    sent: int = 0


class Proxy:
    """
    Passes on what comes, except for faults; remembers every request.

    A request is passed on when all of it has come, as nginx does, but for one that a fault cuts.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.host = ""
        self.on_begun: Callable[[Seen], None] = lambda _: None
        """Called when the first sixteenth of a request's body has come."""
        self.on_request: Callable[[Seen], None] = lambda _: None
        self.bytes_per_second: int | None = None
        """Of answers."""

    def lines(self, *parts: str) -> list[Seen]:
        """Requests whose line has all of the parts."""
        return [each for each in self.seen if all(part in each.line for part in parts)]


class _Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK)  # else half a part waits there unread
        super().setup()

    def handle_any(self) -> None:
        seen = Seen(
            line=f"{self.command} {self.path}", headers={each.lower(): value for each, value in self.headers.items()}
        )
        self.proxy.seen.append(seen)
        fault = next((each for each in self.proxy.faults if each.count and each.line in seen.line), None)
        if fault is not None:
            fault.count -= 1
        length = int(self.headers.get("Content-Length") or 0)
        wanted = min(length, fault.cuts_request) if fault is not None and fault.cuts_request is not None else length
        body = self.rfile.read(wanted // 16)
        self.proxy.on_begun(seen)
        body += self.rfile.read(wanted - len(body))
        seen.received = len(body)
        if len(body) < wanted:  # the client is gone
            self.close_connection = True
            return
        self.proxy.on_request(seen)
        if fault is not None and fault.cuts_request is not None:
            self.cut(body, length)
        elif fault is not None and fault.answers:
            self.answer(fault.answers, b"", fault.headers)
        else:
            self.passed(body, fault, seen)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815 - http.server's names

    def cut(self, body: bytes, length: int) -> None:
        """Hands over what has come, then nothing more to either side."""
        host, _, port = self.proxy.backend.partition(":")
        with socket.create_connection((host, int(port))) as backend:
            lines = [
                f"{self.command} {self.path} HTTP/1.1",
                *(f"{name}: {value}" for name, value in self.headers.items()),
            ]
            backend.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            backend.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                backend.settimeout(2)
                backend.recv(1)
        assert len(body) < length
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def passed(self, body: bytes, fault: Fault | None, seen: Seen) -> None:
        connection = http.client.HTTPConnection(self.proxy.backend)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            found = connection.getresponse()
            raw = found.read()
        finally:
            connection.close()
        headers = {name: value for name, value in found.getheaders() if name.lower() != "transfer-encoding"}
        if fault is not None and fault.changes:
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        if fault is not None and fault.cuts_answer is not None:
            self.answer(found.status, raw[: fault.cuts_answer], {**headers, "Content-Length": str(len(raw))})
            seen.sent = min(len(raw), fault.cuts_answer)
            self.close_connection = True
        else:
            seen.sent = len(raw)
            self.answer(found.status, raw, headers)

    def answer(self, code: int, raw: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 204 and not any(name.lower() == "content-length" for name in headers):
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # the client is gone
                for begin in range(0, len(raw), _BLOCK):
                    if self.proxy.bytes_per_second is not None:
                        time.sleep(_BLOCK / self.proxy.bytes_per_second)
                    self.wfile.write(raw[begin : begin + _BLOCK])

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def proxied(backend: str) -> Iterator[Proxy]:
    """A proxy in front of HOST:PORT."""
    proxy = Proxy(backend)
    with distribution_lab.listening(type("Handler", (_Passing,), {"proxy": proxy})) as proxy.host:
        yield proxy

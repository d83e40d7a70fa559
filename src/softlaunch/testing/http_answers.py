"""
HTTP/1.1 answers from bytes: what the load client needs of the protocol, and no more.

Understood: content-length, chunked (trailers are dropped), answers without a body, answers that end with the
connection, interim 1xx answers (skipped), `connection: close`. Answers to HEAD and CONNECT are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

HEAD_BYTE_COUNT_MAX = 65_536
BODY_BYTE_COUNT_MAX = 64 * 1024 * 1024


class GarbledError(Exception):
    """The bytes are not an HTTP/1.x answer."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last one."""
    body: bytes


class Parser:
    """Takes bytes as they arrive, gives each whole answer once. One answer may be outstanding at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._length: int | None = None
        self._chunked = False
        self.reusable = True
        """Whether the connection may carry another request after the last answer."""

    def feed(self, data: bytes) -> Answer | None:
        """
        The answer, once it is whole.

        Raises:
            GarbledError: not an answer, or more bytes than one answer has.
        """
        self._buffer = self._buffer + data if self._buffer else data
        while self._headers is None:
            if not self._head():
                return None
        return self._whole()

    def end(self) -> Answer | None:
        """The answer that the end of the connection completes, None when there is none."""
        if self._headers is None or self._chunked or self._length is not None:
            return None
        self.reusable = False
        return self._taken(self._buffer, b"")

    def _head(self) -> bool:
        """Reads one head from the buffer; False when it is not all there. An interim answer leaves none behind."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTE_COUNT_MAX:
                raise GarbledError(f"a head of more than {HEAD_BYTE_COUNT_MAX} bytes")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
            raise GarbledError(lines[0][:80])
        self._buffer = self._buffer[end + 4 :]
        status = int(code)
        if 100 <= status < 200:
            return bool(self._buffer)
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise GarbledError(line[:80])
            headers[name.lower()] = value.strip()
        self._begin(version, status, headers)
        return True

    def _begin(self, version: str, status: int, headers: dict[str, str]) -> None:
        self._status = status
        self._headers = headers
        self._chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        length = headers.get("content-length")
        if status in (204, 304):
            self._chunked = False
            self._length = 0
        elif length is None:
            self._length = None
        elif length.isdecimal() and int(length) <= BODY_BYTE_COUNT_MAX:
            self._length = int(length)
        else:
            raise GarbledError(f"content-length: {length[:80]}")
        keeps = headers.get("connection", "").lower()
        self.reusable = keeps == "keep-alive" if version == "HTTP/1.0" else keeps != "close"

    def _whole(self) -> Answer | None:
        if self._chunked:
            return self._dechunked()
        if self._length is None:
            if len(self._buffer) > BODY_BYTE_COUNT_MAX:
                raise GarbledError("an endless answer")
            return None
        if len(self._buffer) < self._length:
            return None
        return self._taken(self._buffer[: self._length], self._buffer[self._length :])

    def _dechunked(self) -> Answer | None:
        """Read again from the first chunk whenever bytes arrive: answers here are small."""
        parts: list[bytes] = []
        at = 0
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            size = _chunk_size(self._buffer[at:end])
            if size == 0:
                break
            at = end + 2 + size
            if len(self._buffer) < at + 2:
                return None
            parts.append(self._buffer[end + 2 : at])
            if self._buffer[at : at + 2] != b"\r\n":
                raise GarbledError("a chunk longer than its size")
            at += 2
        while True:  # trailers, then an empty line
            at = end + 2
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            if end == at:
                return self._taken(b"".join(parts), self._buffer[end + 2 :])

    def _taken(self, body: bytes, rest: bytes) -> Answer:
        assert self._headers is not None
        if rest:
            raise GarbledError(f"{len(rest)} bytes after the answer")
        answer = Answer(self._status, self._headers, body)
        self._buffer = b""
        self._headers = None
        return answer


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        size = int(digits, 16)
    except ValueError:
        size = -1
    if not 0 <= size <= BODY_BYTE_COUNT_MAX:
        raise GarbledError(f"a chunk of size {digits[:20]!r}")
    return size

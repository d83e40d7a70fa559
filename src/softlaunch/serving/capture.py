"""
Records of answered predictions, on their way to the spool.

The event loop puts what it knows of an exchange into a buffer after its answer was handed over; a thread of its own
encodes and writes. A full buffer, a full disk or a thread that is behind cost records, never time: what is dropped is
counted, and the count stands in every later group, so that readers know a gap from a missing answer.

The thread shares the interpreter with the event loop, so its work is the requests' time too. That is why the buffer is
flat (no object per record, one msgpack call per group, in C), and what hardly changes is written once a group.

Which requests: every copy that went to a shadow and every request that was copied (they are pairs), and of the rest a
share chosen by a hash of the request id, so that all processes choose the same. Requests without an id did not come
through the gateway (smoke requests) and are not recorded.
"""

from __future__ import annotations

import sys
import threading
import time
import zlib
from typing import Any

import msgspec

from softlaunch.core import spool
from softlaunch.serving import redaction, replies, segments

FLUSH_SECONDS = 0.05
"""Between two writes, at most: what is older has been written."""
_WIDTH = spool.VALUE_COUNT
_BUFFER_COUNT_MAX = 20_000
_BUFFER_VALUES_MAX = _BUFFER_COUNT_MAX * _WIDTH
_BUFFER_BYTES_MAX = 32 * 2**20
_GROUP_COUNT_MAX = 256
"""Records encoded in one go: a tenth of a millisecond or two during which the event loop may have to wait."""
_ENVELOPE_BYTES = 500
"""A guess of what a record takes beside its bodies."""
_RETRY_SECONDS = 1.0
"""After a failed write nothing is tried for so long."""


def is_chosen(request_id: str, percent: float) -> bool:
    """Whether a request is recorded at this share; the same in every process."""
    return zlib.crc32(request_id.encode()) < percent / 100.0 * 2**32


class Capture:
    """
    Takes exchanges on the event loop, writes them on a thread.

    Args:
        writer: Where groups of records go; used by the thread alone.
        percent: Of requests that are not part of a pair.
        redactor: What is left out of records or hashed, on the thread; None: nothing is.
    """

    def __init__(
        self, writer: segments.SegmentWriter, *, percent: float, redactor: redaction.Redactor | None = None
    ) -> None:
        self._writer = writer
        self._percent = percent
        self._redactor = redactor
        # Flat: _WIDTH values after each other for every record, see spool.VALUE_NAMES. The event loop only appends and
        # the thread only takes from the front; under the interpreter's lock neither sees a part of a record.
        self._buffer: list[Any] = []
        self._memory_kib = 0
        # Each counter has one thread that writes it; the difference is what waits.
        self._bytes_taken_in = 0
        self._bytes_written = 0
        self._dropped_full = 0
        self._dropped_unwritten = 0
        self._wake = threading.Event()
        self._closing = False
        self._blocked_until = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._thread = threading.Thread(target=self._run, name="softlaunch-capture", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records lost so far."""
        return self._dropped_full + self._dropped_unwritten

    def add(  # noqa: PLR0917  # names cost a tenth of the call
        self,
        path: str,
        headers: Any,
        request_id: str,
        reply: replies.Reply,
        measured: replies.Measured,
        service_us: int,
        memory_kib: int,
        served_count: int,
    ) -> None:
        """
        Records one exchange if it is chosen; costs a microsecond or two and never waits.

        Args:
            path: Of the request.
            headers: Of the request, as granian has them.
            request_id: Not empty.
            reply: What was answered.
            measured: What was asked, and what it cost.
            service_us: From the request's last byte to the answer.
            memory_kib: Of the process.
            served_count: Prediction requests answered before.
        """
        get = headers.get
        flags = spool.FLAG_MIRRORED if get("x-softlaunch-mirrored") is not None else 0
        if get("x-softlaunch-arm") == spool.SHADOW:
            flags |= spool.FLAG_SHADOW
        if not flags and self._percent < 100.0 and not is_chosen(request_id, self._percent):
            return
        # Unpacked, not asked for by name: a third of what this method would cost.
        status, answer, reply_headers, _ = reply
        request, started, row_count, cpu_us, output, cut, keys, features = measured
        size = len(request) + len(answer) + _ENVELOPE_BYTES
        if cut or (size > spool.BODY_BYTES_MAX and max(len(request), len(answer)) > spool.BODY_BYTES_MAX):
            request = answer = b""
            size = _ENVELOPE_BYTES
            flags |= spool.FLAG_CUT
        if reply_headers:
            if replies.INVALID_HEADER in reply_headers:
                flags |= spool.FLAG_INVALID
            if replies.SHED_HEADERS[0] in reply_headers:
                flags |= spool.FLAG_SHED
        buffer = self._buffer
        taken_in = self._bytes_taken_in + size
        waiting = taken_in - self._bytes_written
        if waiting > _BUFFER_BYTES_MAX or len(buffer) >= _BUFFER_VALUES_MAX:
            self._dropped_full += 1
            return
        self._bytes_taken_in = taken_in
        self._memory_kib = memory_kib
        buffer += (
            request_id, started, flags, path, get("content-type") or "", request, status, answer, service_us, cpu_us,
            get("x-softlaunch-key") or "", row_count, output, served_count, keys, features,
        )  # fmt: skip
        if waiting > _BUFFER_BYTES_MAX // 4:
            self._wake.set()

    def close(self, *, timeout_seconds: float = 2.0) -> None:
        """Writes what waits and ends; what the disk does not take in time is lost."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        buffer = self._buffer
        while buffer:
            count = len(buffer)
            taken = buffer[:count]
            del buffer[:count]
            # A record that came in since is in the sum already: a moment's error, not one that adds up.
            taken_in = self._bytes_taken_in
            if self._redactor is not None:
                self._redactor.redact(taken)
            for start in range(0, count, _GROUP_COUNT_MAX * _WIDTH):
                self._write(taken[start : start + _GROUP_COUNT_MAX * _WIDTH])
            self._bytes_written = taken_in

    def _write(self, values: list[Any]) -> None:
        count = len(values) // _WIDTH
        if time.monotonic() < self._blocked_until:
            self._dropped_unwritten += count
            return
        offset = time.time() - time.perf_counter()
        payload = self._encode((offset, self._memory_kib, self.dropped, _WIDTH, values))
        if len(payload) > spool.FRAME_BYTES_MAX:
            if count == 1:
                self._dropped_unwritten += 1
                return
            middle = count // 2 * _WIDTH
            self._write(values[:middle])
            self._write(values[middle:])
            return
        try:
            self._writer.append(payload)
        except OSError as error:
            if self._blocked_until == 0.0:
                sys.stderr.write(f"softlaunch.serving: predictions cannot be recorded: {error}\n")
            self._blocked_until = time.monotonic() + _RETRY_SECONDS
            self._dropped_unwritten += count
        else:
            self._blocked_until = 0.0

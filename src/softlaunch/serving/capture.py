"""
Records of answered predictions, on their way to the spool.

The event loop encodes what it knows of an exchange into a buffer after its answer was handed over; a thread of its own
writes. A full buffer, a full disk or a thread that is behind cost records, never time: what is dropped is
counted, and the count stands in every later group, so that readers know a gap from a missing answer.

Records become bytes at once and in C: to keep their dozen objects until a thread encodes and frees them takes twice the
processor time, all of it under the interpreter's lock. What the thread does with whole groups of bytes (CRC, write)
needs no lock. What hardly changes is written once a group.

Which requests: every copy that went to a shadow and every request that was copied (they are pairs), and of the rest a
share chosen by a hash of the request id, so that all processes choose the same. Requests without an id did not come
through the gateway (smoke requests) and are not recorded.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from softlaunch.core import spool
from softlaunch.serving import redaction, replies, segments

FLUSH_SECONDS = 0.05
"""Between two writes, at most: what is older has been written."""
_BUFFER_BYTES_MAX = 32 * 2**20
_GROUP_BYTES = 64 * 2**10
"""A group ends with the record that makes it so large: some two hundred records, one write of a fraction of a
millisecond."""
_RETRY_SECONDS = 1.0
"""After a failed write nothing is tried for so long."""


_FLAGS = {spool.MIRRORED: spool.FLAG_MIRRORED, spool.SHADOW: spool.FLAG_SHADOW}


def is_chosen(request_id: str, percent: float) -> bool:
    """Whether a request is recorded at this share; the same in every process."""
    return zlib.crc32(request_id.encode()) < percent / 100.0 * 2**32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
    """A request as capture reads it."""

    path: str
    headers: Mapping[str, str]
    number: int
    is_taken: bool
    """Told with the answer: one that is never found in the spool is counted as lost."""


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
        self._lock = threading.Lock()
        """Of the group being filled and the list of full ones; held for one record, or to take them all."""
        self._filling = bytearray()
        self._filling_count = 0
        self._full: list[tuple[int, bytearray]] = []
        self._memory_kib = 0
        # Each counter has one thread that writes it; the difference is what waits.
        self._bytes_taken_in = 0
        self._bytes_written = 0
        self._dropped_full = 0
        self._dropped_unwritten = 0
        self._wake = threading.Event()
        self._closing = False
        self._blocked_until = 0.0
        encoder = msgspec.msgpack.Encoder()
        self._encode, self._encode_into = encoder.encode, encoder.encode_into
        self._decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
        self._thread = threading.Thread(target=self._run, name="softlaunch-capture", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records lost so far."""
        return self._dropped_full + self._dropped_unwritten

    def takes(self, headers: Any, request_id: str) -> bool:
        """Whether `add` will record the exchange, as far as choosing goes; a full buffer or disk may still lose it."""
        if self._percent >= 100.0:
            return True
        return _FLAGS.get(headers.get("x-softlaunch-arm"), 0) != 0 or is_chosen(request_id, self._percent)

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
        content_type: str,
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
            content_type: Of the request.
        """
        get = headers.get
        arm = get("x-softlaunch-arm")
        flags = 0 if arm is None else _FLAGS.get(arm, 0)
        if not flags and self._percent < 100.0 and not is_chosen(request_id, self._percent):
            return
        # Unpacked, not asked for by name: a third of what this method would cost.
        status, answer, reply_headers, _ = reply
        request, started, row_count, cpu_us, output, cut, keys, features = measured
        if cut or len(request) > spool.BODY_BYTES_MAX or len(answer) > spool.BODY_BYTES_MAX:
            request = answer = b""
            flags |= spool.FLAG_CUT
        if reply_headers:
            if replies.INVALID_HEADER in reply_headers:
                flags |= spool.FLAG_INVALID
            if replies.SHED_HEADERS[0] in reply_headers:
                flags |= spool.FLAG_SHED
        if self._bytes_taken_in - self._bytes_written + len(request) + len(answer) > _BUFFER_BYTES_MAX:
            self._dropped_full += 1
            return
        self._memory_kib = memory_kib
        row = (
            request_id, started, flags, path, content_type, request, status, answer, service_us, cpu_us,
            get("x-softlaunch-key") or "", row_count, output, served_count, keys, features,
        )  # fmt: skip
        with self._lock:
            filling = self._filling
            before = len(filling)
            self._encode_into(row, filling, -1)
            self._filling_count += 1
            self._bytes_taken_in += len(filling) - before
            if len(filling) >= _GROUP_BYTES:
                self._end_group()
        if self._bytes_taken_in - self._bytes_written > _BUFFER_BYTES_MAX // 4:
            self._wake.set()

    def _end_group(self) -> None:
        self._full.append((self._filling_count, self._filling))
        self._filling, self._filling_count = bytearray(), 0

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
        with self._lock:
            if self._filling_count:
                self._end_group()
            taken, self._full = self._full, []
        for count, records in taken:
            self._write(count, records)
            self._bytes_written += len(records)

    def _write(self, count: int, records: bytearray) -> None:
        if time.monotonic() < self._blocked_until:
            self._dropped_unwritten += count
            return
        head = _array_head(count)
        if self._redactor is not None:
            rows = self._decode(head + records)
            for row in rows:
                self._redactor.redact(row)
            head, records = b"", bytearray(self._encode(rows))
        offset = time.time() - time.perf_counter()
        shared = self._encode((offset, self._memory_kib, self.dropped, None))
        payload = b"".join((shared[:-1], head, records))  # the rows in place of None
        if len(payload) > spool.FRAME_BYTES_MAX:
            self._dropped_unwritten += count
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


def _array_head(count: int) -> bytes:
    """Of a MessagePack array with so many elements, which follow."""
    return b"\xdd" + count.to_bytes(4, "big")

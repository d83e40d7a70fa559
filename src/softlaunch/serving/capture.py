"""
Records of answered predictions, on their way to the spool.

The event loop puts a record into a buffer after its answer was handed over; a thread of its own encodes and writes. A
full buffer, a full disk or a thread that is behind cost records, never time: what is dropped is counted, and the count
stands in every later record, so that readers know a gap from a missing answer.

Which requests: every copy that went to a shadow and every request that was copied (they are pairs), and of the rest a
share chosen by a hash of the request id, so that all processes choose the same. Requests without an id did not come
through the gateway (smoke requests) and are not recorded.
"""

from __future__ import annotations

import collections
import sys
import threading
import time
import zlib
from typing import Any

import msgspec

from softlaunch.core import spool
from softlaunch.serving import replies, segments

FLUSH_SECONDS = 0.05
"""Between two writes, at most: what is older has been written."""
_BUFFER_COUNT_MAX = 20_000
_BUFFER_BYTES_MAX = 32 * 2**20
_GROUP_COUNT_MAX = 128
"""Records encoded in one go: a tenth of a millisecond during which the event loop may have to wait."""
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
        writer: Where records go; used by the thread alone.
        release: DIGEST12.
        instance: The process's token.
        percent: Of requests that are not part of a pair.
    """

    def __init__(self, writer: segments.SegmentWriter, *, release: str, instance: str, percent: float) -> None:
        self._writer = writer
        self._release = release
        self._instance = instance
        self._percent = percent
        self._buffer: collections.deque[spool.Record] = collections.deque()
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

    def add(
        self,
        scope: Any,
        reply: replies.Reply,
        measured: replies.Measured,
        *,
        service_us: int,
        memory_kib: int,
        served_count: int,
    ) -> None:
        """Records one exchange if it is chosen; costs a few microseconds and never waits."""
        headers = scope.headers
        request_id = headers.get("x-request-id")
        if not request_id:
            return
        arm = spool.SHADOW if headers.get("x-softlaunch-arm") == spool.SHADOW else spool.PRIMARY
        mirrored = headers.get("x-softlaunch-mirrored") is not None
        if not mirrored and arm is spool.PRIMARY and not is_chosen(request_id, self._percent):
            return
        request, answer, cut = measured.request, reply.body, measured.cut
        if len(request) > spool.BODY_BYTES_MAX or len(answer) > spool.BODY_BYTES_MAX:
            request, answer, cut = b"", b"", True
        size = len(request) + len(answer) + _ENVELOPE_BYTES
        waiting = self._bytes_taken_in - self._bytes_written
        if len(self._buffer) >= _BUFFER_COUNT_MAX or waiting + size > _BUFFER_BYTES_MAX:
            self._dropped_full += 1
            return
        self._bytes_taken_in += size
        self._buffer.append(
            spool.Record(
                request_id,
                time.time() - service_us / 1e6,
                self._release,
                self._instance,
                arm,
                mirrored,
                scope.path,
                headers.get("content-type") or "",
                request,
                reply.status,
                answer,
                replies.INVALID_HEADER in reply.headers,
                replies.SHED_HEADERS[0] in reply.headers,
                service_us,
                measured.cpu_us,
                headers.get("x-softlaunch-key") or "",
                measured.row_count,
                measured.output,
                memory_kib,
                served_count,
                self._dropped_full + self._dropped_unwritten,
                cut,
            )
        )
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
            group = [buffer.popleft() for _ in range(min(len(buffer), _GROUP_COUNT_MAX))]
            self._write(group)
            self._bytes_written += sum(len(found.request) + len(found.answer) + _ENVELOPE_BYTES for found in group)

    def _write(self, group: list[spool.Record]) -> None:
        if time.monotonic() < self._blocked_until:
            self._dropped_unwritten += len(group)
            return
        try:
            self._writer.append([self._encode(found) for found in group])
        except OSError as error:
            if self._blocked_until == 0.0:
                sys.stderr.write(f"softlaunch.serving: predictions cannot be recorded: {error}\n")
            self._blocked_until = time.monotonic() + _RETRY_SECONDS
            self._dropped_unwritten += len(group)
        else:
            self._blocked_until = 0.0

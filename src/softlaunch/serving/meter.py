"""What the process knows of itself: how much memory it has, how much CPU its model took, how many it has served."""

from __future__ import annotations

import asyncio
import os
import pathlib
import threading
import time
from collections.abc import Callable

_SAMPLE_SECONDS = 0.25
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_STATM = pathlib.Path("/proc/self/statm")


class Meter:
    """
    Counts and samples that prediction answers carry.

    Memory is sampled four times a second on the event loop once `watch` was called: a read of /proc between requests,
    not in one. Where there is no /proc it stays unknown and the header is left out.
    """

    def __init__(self) -> None:
        self.served_count = 0
        """Prediction requests answered so far."""
        self.memory_kib = 0
        self.memory_headers: tuple[tuple[str, str], ...] = ()

    def watch(self) -> None:
        """Samples now, and again and again on the running event loop."""
        try:
            resident = int(_STATM.read_bytes().split()[1])
        except OSError:
            return
        self.memory_kib = resident * _PAGE_KIB
        self.memory_headers = (("x-softlaunch-memory-kib", str(self.memory_kib)),)
        asyncio.get_running_loop().call_later(_SAMPLE_SECONDS, self.watch)


def cpu_clock(thread_count: int) -> Callable[[], int]:
    """
    The clock for model calls, in nanoseconds.

    With one thread, the calling thread's own CPU time: exact, whatever the rest of the process does. With several, all
    of the process's but that of the thread this is called on (the event loop's).
    """
    if thread_count == 1:
        return time.thread_time_ns
    loop_clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.process_time_ns() - time.clock_gettime_ns(loop_clock)

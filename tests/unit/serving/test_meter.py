from __future__ import annotations

import asyncio
import threading
import time

import pytest

from softlaunch.serving import meter


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize("thread_count", [1, 2])
def test_the_clock_counts_calls_and_not_the_event_loop(thread_count: int) -> None:
    clock = meter.cpu_clock(thread_count)
    measured: list[int] = []

    def call() -> None:
        began = clock()
        burn(0.05)
        measured.append(clock() - began)

    thread = threading.Thread(target=call)
    thread.start()
    burn(0.05)
    thread.join()

    assert 0.05e9 <= measured[0] < 0.08e9


def test_memory_is_sampled_on_the_loop() -> None:
    async def sampled() -> meter.Meter:
        found = meter.Meter()
        found.watch()
        return found

    found = asyncio.run(sampled())

    assert found.memory_kib > 1_000
    assert (("x-softlaunch-memory-kib", str(found.memory_kib)),) == found.memory_headers

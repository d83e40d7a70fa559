from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from softlaunch.core import lookup_values, lookups
from softlaunch.serving.features import source, workers
from softlaunch.testing import features

JFK = {"origin": "JFK"}
LATE, MISSING = lookups.ServedAs.LATE, lookups.ServedAs.MISSING


def with_workers(story: Callable[[workers.Workers, features.MemoryFeatures], Awaitable[None]], **limits: int) -> None:
    async def run() -> None:
        memory = features.MemoryFeatures()
        memory.put(JFK, {"wind": 7.0})
        found = workers.Workers("weather", memory, **limits)
        try:
            await story(found, memory)
        finally:
            memory.go_on()
            found.close()

    asyncio.run(run())


def test_an_answer_comes_back_from_a_thread() -> None:
    async def story(found: workers.Workers, _: features.MemoryFeatures) -> None:
        assert [lookup_values.Answer({"wind": 7.0})] == await found.submit([JFK], 5.0)

    with_workers(story)


def test_threads_are_made_when_they_are_needed() -> None:
    async def story(found: workers.Workers, _: features.MemoryFeatures) -> None:
        for _ in range(20):
            await found.submit([JFK], 5.0)
        assert 1 == found.thread_count

    with_workers(story)


def test_a_source_that_hangs_costs_its_timeout_and_then_nothing() -> None:
    async def story(found: workers.Workers, memory: features.MemoryFeatures) -> None:
        memory.hang()
        assert [LATE, LATE] == await asyncio.gather(*(found.submit([JFK], 0.02) for _ in range(2)))
        stuck = [found.submit([JFK], 60.0) for _ in range(100)]

        assert all(future.done() and future.result() is LATE for future in stuck)
        assert 2 == found.thread_count
        assert 2 == len(memory.asked)
        memory.go_on()
        for _ in range(1_000):
            if await found.submit([JFK], 5.0) is not LATE:
                break
            await asyncio.sleep(0.005)
        assert [lookup_values.Answer({"wind": 7.0})] == await found.submit([JFK], 5.0)

    with_workers(story, threads_max=2)


def test_what_waits_is_bounded_and_what_waited_too_long_is_not_asked_for() -> None:
    async def story(found: workers.Workers, memory: features.MemoryFeatures) -> None:
        memory.hang()
        running = found.submit([JFK], 30.0)
        waiting = [found.submit([{"origin": str(number)}], 0.02) for number in range(3)]
        refused = found.submit([JFK], 30.0)

        assert LATE is refused.result()
        assert [LATE] * 3 == await asyncio.gather(*waiting)
        memory.go_on()
        assert [lookup_values.Answer({"wind": 7.0})] == await running
        assert [lookup_values.Answer({"wind": 7.0})] == await found.submit([JFK], 5.0)
        assert [JFK, JFK] == memory.asked

    with_workers(story, threads_max=1, waiting_max=3)


def test_a_source_that_fails_is_missing_and_said_once_without_its_secret(capsys) -> None:
    async def run() -> None:
        class Failing(features.MemoryFeatures):
            def fetch(self, wanted, seconds):
                raise RuntimeError("no route to postgresql://ada:pa55word@db/features for ada:pa55word")

        found = workers.Workers("weather", Failing(), server="postgresql://ada:pa55word@db/features")
        for _ in range(5):
            assert MISSING is await found.submit([JFK], 5.0)
        found.close()

    asyncio.run(run())
    said = capsys.readouterr().err
    assert 1 == said.count("\n")
    assert "RuntimeError: no route to ***" in said
    assert "pa55word" not in said


def test_a_timeout_of_the_client_library_is_late() -> None:
    async def run() -> None:
        class Slow(features.MemoryFeatures):
            def fetch(self, wanted, seconds):
                raise TimeoutError

        found = workers.Workers("weather", Slow())
        began = time.monotonic()
        assert LATE is await found.submit([JFK], 30.0)
        assert time.monotonic() - began < 20.0
        found.close()

    asyncio.run(run())


def test_secrets_are_taken_out_of_what_is_printed() -> None:
    server = "redis://:s%20cret@10.0.0.5/0?token=t0ken"

    said = source.scrubbed(f"cannot reach {server}\nwith 's cret', s%20cret, token=t0ken", server)

    assert "cret" not in said
    assert "t0ken" not in said
    assert "\n" not in said

"""Lookups of a request in virtual time: nothing here waits, and no thread runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from softlaunch.core import lookup_recorded, lookup_values, lookups, predictions, release
from softlaunch.serving.features import resolver, workers

NOW = 1_800_000_000.0
SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="origin", datatype=release.Datatype.BYTES),
        release.Column(name="wind", datatype=release.Datatype.FP64),
        release.Column(name="delay", datatype=release.Datatype.FP64, nullable=True),
    ),
    outputs=(),
)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while something can be done, and then jumps to the next timer."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__()

    def time(self) -> float:
        return self.moment

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.moment = max(self.moment, self._scheduled[0]._when)
        super()._run_once()


class Asker:
    """A source whose answers take virtual time."""

    batch_count_max = 2

    def __init__(self, known: Mapping[str, Any], seconds: float = 0.001) -> None:
        self.known = known
        self.seconds = seconds
        self.asked: list[list[dict[str, Any]]] = []

    def submit(self, wanted: Sequence[Mapping[str, Any]], seconds: float) -> asyncio.Future[workers.Result]:
        self.asked.append([dict(values) for values in wanted])
        loop = asyncio.get_running_loop()
        future: asyncio.Future[workers.Result] = loop.create_future()
        answers = [lookup_values.Answer(self.known.get("/".join(values.values()))) for values in wanted]
        late = self.seconds > seconds
        result = lookups.ServedAs.LATE if late else answers
        loop.call_later(min(self.seconds, seconds), future.set_result, result)
        return future

    def close(self) -> None: ...


def spec(**changes) -> lookups.LookupSpec:
    fields = {
        "name": "weather",
        "source": lookups.LookupSource.REDIS,
        "target": "{origin}",
        "by": ("origin",),
        "features": {"wind": 5.0},
        "timeout_seconds": 0.02,
    }
    return lookups.LookupSpec(**{**fields, **changes})


def run(story: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> float:
    """How long the story took, in virtual time."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story(loop))
        return loop.moment
    finally:
        loop.close()


def made(loop: VirtualLoop, *found: tuple[lookups.LookupSpec, Asker]) -> resolver.Resolver:
    return resolver.Resolver(found, SIGNATURE, now=lambda: NOW + loop.time())


def test_each_distinct_value_is_asked_for_once_and_what_is_sent_wins() -> None:
    asker = Asker({"JFK": {"wind": 7.0}, "LGA": {"wind": 8.0}})

    async def story(loop: VirtualLoop) -> None:
        rows = [("JFK", None, None), ("JFK", None, 1.0), ("LGA", None, None), ("EWR", None, None), ("SFO", 1.5, None)]
        filled, served = await made(loop, (spec(), asker)).resolve(rows)

        assert [7.0, 7.0, 8.0, 5.0, 1.5] == [row[1] for row in filled]
        assert ["fresh", "fresh", "fresh", "missing", "sent"] == [row["wind"][1] for row in served.rows]
        assert (1, 0, 0) == (served.missing, served.late, served.stale)

    run(story)
    assert [[{"origin": "JFK"}, {"origin": "LGA"}], [{"origin": "EWR"}]] == asker.asked


def test_a_request_that_sends_everything_asks_nobody() -> None:
    asker = Asker({})

    async def story(loop: VirtualLoop) -> None:
        filled, served = await made(loop, (spec(), asker)).resolve([("JFK", 3.0, None)])

        assert [("JFK", 3.0, None)] == filled
        assert [{"wind": (3.0, "sent")}] == served.rows

    assert 0.0 == run(story)
    assert [] == asker.asked


def test_lookups_run_at_once_and_cost_the_longest_timeout_at_most() -> None:
    slow = Asker({"JFK": {"wind": 7.0}}, seconds=60.0)
    quick = Asker({"JFK": {"delay": 4.0}}, seconds=0.015)
    second = spec(name="delays", features={"delay": None})

    async def story(loop: VirtualLoop) -> None:
        filled, served = await made(loop, (spec(), slow), (second, quick)).resolve([("JFK", None, None)])

        assert [("JFK", 5.0, 4.0)] == filled
        assert [{"wind": (5.0, "late"), "delay": (4.0, "fresh")}] == served.rows
        assert (0, 1, 0) == (served.missing, served.late, served.stale)

    assert pytest.approx(0.02) == run(story)


def test_a_lookup_goes_by_business_keys_of_each_row() -> None:
    asker = Asker({"u1": {"wind": 1.0}, "u2": {"wind": 2.0}})

    async def story(loop: VirtualLoop) -> None:
        found = made(loop, (spec(by=("user",)), asker))
        rows = [("a", None, None), ("b", None, None), ("c", None, None)]

        filled, _ = await found.resolve(rows, {"user": ["u2", "u1", None]})
        assert [2.0, 1.0, 5.0] == [row[1] for row in filled]
        _, served = await found.resolve(rows, None)
        assert 3 == served.missing

    run(story)


def test_a_limited_age_allows_to_keep_an_answer_for_a_moment() -> None:
    asker = Asker({"JFK": {"wind": 7.0, "at": NOW - 30.0}})
    aged = spec(age_seconds_max=60.0, timestamp="at")

    async def story(loop: VirtualLoop) -> None:
        found = made(loop, (aged, asker))
        for _ in range(3):
            _, served = await found.resolve([("JFK", None, None)])
            assert "fresh" == served.rows[0]["wind"][1]
        assert 1 == len(asker.asked)
        await asyncio.sleep(resolver.KEPT_SECONDS_MAX)
        await found.resolve([("JFK", None, None)])
        assert 2 == len(asker.asked)
        await asyncio.sleep(31.0)
        _, served = await found.resolve([("JFK", None, None)])
        assert 1 == served.stale

    run(story)


def test_without_a_limited_age_and_of_what_is_not_there_nothing_is_kept() -> None:
    asker = Asker({"JFK": {"wind": 7.0}})

    async def story(loop: VirtualLoop) -> None:
        found = made(loop, (spec(), asker))
        aged = made(loop, (spec(age_seconds_max=60.0, timestamp="at"), asker))
        for _ in range(2):
            await found.resolve([("JFK", None, None)])
            await aged.resolve([("EWR", None, None)])

    run(story)
    assert 4 == len(asker.asked)


def test_recorded_values_count_as_sent_even_where_they_are_null() -> None:
    asker = Asker({"JFK": {"wind": 7.0, "delay": 9.0}})
    both = spec(features={"wind": 5.0, "delay": None})

    async def story(loop: VirtualLoop) -> None:
        found = made(loop, (both, asker))
        recorded = lookup_recorded.dumps([{"wind": 3.0, "delay": None}])
        filled, served = await found.resolve([("JFK", None, None)], None, recorded)

        assert [("JFK", 3.0, None)] == filled
        assert [{"wind": (3.0, "sent"), "delay": (None, "sent")}] == served.rows
        assert [] == asker.asked
        # A candidate that looks more up than the recording's release: that alone is asked for.
        filled, served = await found.resolve([("JFK", None, None)], None, lookup_recorded.dumps([{"wind": 3.0}]))
        assert [("JFK", 3.0, 9.0)] == filled
        assert [{"wind": (3.0, "sent"), "delay": (9.0, "fresh")}] == served.rows
        with pytest.raises(predictions.RowError):
            await found.resolve([("JFK", None, None)], None, lookup_recorded.dumps([{"wind": "calm"}]))

    run(story)

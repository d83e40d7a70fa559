from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from softlaunch.core import predictions, release
from softlaunch.serving import batching, model_thread

OUTPUTS = (release.Column(name="double", datatype=release.Datatype.FP64, maximum=1e6),)
Answer = Callable[[Sequence[predictions.Row]], Mapping[str, Any]]


class Gate:
    """A model that doubles, but begins a call only once it is let through; it records the rows of every call."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.calls: list[list[float]] = []
        self.begun = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.answer = answer or (lambda rows: {"double": np.array([row[0] * 2 for row in rows])})

    def __call__(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        self.calls.append([row[0] for row in rows])
        self.begun.release()
        assert self.open.acquire(timeout=10)
        return self.answer(rows)

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=10)

    def let(self, count: int) -> None:
        for _ in range(count):
            self.open.release()


def rows(*values: float) -> list[predictions.Row]:
    return [(value,) for value in values]


def doubled(outcome: batching.Outcome) -> list[float]:
    assert isinstance(outcome, batching.Answered), outcome
    return outcome.columns["double"][outcome.start : outcome.stop]


def with_batcher(
    model: Gate,
    story: Callable[[batching.Batcher], Awaitable[None]],
    *,
    batch_rows_max: int = 8,
    queue_rows_max: int = 8,
) -> None:
    async def run() -> None:
        thread = model_thread.ModelThread()
        batcher = batching.Batcher(
            model, OUTPUTS, thread=thread, batch_rows_max=batch_rows_max, queue_rows_max=queue_rows_max
        )
        try:
            await asyncio.wait_for(story(batcher), 10)
        finally:
            model.let(100)
            thread.close()

    asyncio.run(run())


def test_what_queued_during_a_call_is_the_next_batch() -> None:
    model = Gate()

    async def story(batcher: batching.Batcher) -> None:
        first = batcher.submit(rows(1))
        await model.wait_begun()
        later = [batcher.submit(rows(value)) for value in (2, 3, 4)]
        model.let(2)
        assert [2.0] == doubled(await first)
        assert [[4.0], [6.0], [8.0]] == [doubled(await each) for each in later]

    with_batcher(model, story)
    assert [[1], [2, 3, 4]] == model.calls


def test_requests_of_one_turn_of_the_loop_are_one_batch() -> None:
    model = Gate()
    model.let(1)

    async def story(batcher: batching.Batcher) -> None:
        await asyncio.gather(*(batcher.submit(rows(value)) for value in (1, 2, 3)))

    with_batcher(model, story)
    assert [[1, 2, 3]] == model.calls


def test_a_batch_holds_at_most_batch_rows_max() -> None:
    model = Gate()
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        await asyncio.gather(*(batcher.submit(rows(value, value)) for value in (1, 2, 3)))

    with_batcher(model, story, batch_rows_max=5)
    assert [[1, 1, 2, 2], [3, 3]] == model.calls


def test_a_request_larger_than_a_batch_is_cut_and_answered_whole() -> None:
    model = Gate()
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        assert [0.0, 2.0, 4.0, 6.0, 8.0] == doubled(await batcher.submit(rows(0, 1, 2, 3, 4)))

    with_batcher(model, story, batch_rows_max=2)
    assert [[0, 1], [2, 3], [4]] == model.calls


def test_a_full_queue_sheds_and_recovers() -> None:
    model = Gate()

    async def story(batcher: batching.Batcher) -> None:
        running = batcher.submit(rows(1))
        await model.wait_begun()
        waiting = batcher.submit(rows(2, 3))
        with pytest.raises(batching.Overloaded):
            batcher.submit(rows(4))
        assert 1 <= batcher.retry_seconds <= 30
        model.let(2)
        await asyncio.gather(running, waiting)
        model.let(1)
        assert [8.0] == doubled(await batcher.submit(rows(4)))
        assert batcher.waiting_rows == 0

    with_batcher(model, story, queue_rows_max=2)


def test_more_rows_than_the_queue_ever_holds_are_not_overload() -> None:
    async def story(batcher: batching.Batcher) -> None:
        with pytest.raises(batching.TooManyRows):
            batcher.submit(rows(1, 2, 3))

    with_batcher(Gate(), story, queue_rows_max=2)


@pytest.mark.parametrize("early", [True, False])
def test_a_request_whose_client_left_is_never_called(*, early: bool) -> None:
    model = Gate()

    async def story(batcher: batching.Batcher) -> None:
        left = asyncio.Event()

        async def disconnected() -> None:
            await left.wait()

        running = batcher.submit(rows(1))
        await model.wait_begun()
        if not early:
            batcher._turned_slow()  # the call is known to be slow before the request comes
        gone = batcher.submit(rows(2, 2), disconnected)
        stays = batcher.submit(rows(3))
        left.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert batcher.waiting_rows == 1
        model.let(2)
        await asyncio.gather(running, stays)

    with_batcher(model, story)
    assert [[1], [3]] == model.calls


def test_a_poisoned_row_fails_its_own_request_only() -> None:
    def answer(found: Sequence[predictions.Row]) -> Mapping[str, Any]:
        if any(row[0] == 13 for row in found):
            raise ValueError("unlucky\nnumber")
        return {"double": [row[0] * 2 for row in found]}

    model = Gate(answer)
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        outcomes = await asyncio.gather(*(batcher.submit(rows(value)) for value in (1, 13, 3)))
        assert [2] == doubled(outcomes[0])
        assert isinstance(outcomes[1], batching.Failed)
        assert "ValueError: unlucky number" == outcomes[1].message
        assert [6] == doubled(outcomes[2])

    with_batcher(model, story)
    assert [[1, 13, 3], [1], [13], [3]] == model.calls


def test_a_model_that_exits_fails_the_request_and_not_the_server() -> None:
    def answer(found: Sequence[predictions.Row]) -> Mapping[str, Any]:
        raise SystemExit(3)

    model = Gate(answer)
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        failed = await batcher.submit(rows(1))
        assert isinstance(failed, batching.Failed)
        assert "SystemExit: 3" == failed.message
        failed = await batcher.submit(rows(1))
        assert isinstance(failed, batching.Failed)
        assert "SystemExit: 3" == failed.message

    with_batcher(model, story)


def test_only_the_request_with_the_bad_row_is_invalid() -> None:
    def answer(found: Sequence[predictions.Row]) -> Mapping[str, Any]:
        return {"double": np.array([np.nan if row[0] == 13 else row[0] for row in found])}

    model = Gate(answer)
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        good, bad, far = await asyncio.gather(*(batcher.submit(rows(*each)) for each in [(1, 2), (3, 13), (2e6,)]))
        assert [1.0, 2.0] == doubled(good)
        assert isinstance(bad, batching.Invalid)
        assert (1, "double") == (bad.row, bad.output)
        assert isinstance(far, batching.Invalid)

    with_batcher(model, story)
    assert len(model.calls) == 1


def test_an_answer_of_another_length_is_asked_for_again_request_by_request() -> None:
    def answer(found: Sequence[predictions.Row]) -> Mapping[str, Any]:
        return {"double": [row[0] for row in found if row[0] != 13]}

    model = Gate(answer)
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        good, short = await asyncio.gather(batcher.submit(rows(1)), batcher.submit(rows(2, 13)))
        assert [1] == doubled(good)
        assert isinstance(short, batching.Invalid)
        assert "1 rows where 2 were asked" in short.message

    with_batcher(model, story)


def test_a_bad_row_of_a_cut_request_is_counted_within_the_request() -> None:
    def answer(found: Sequence[predictions.Row]) -> Mapping[str, Any]:
        return {"double": [float("inf") if row[0] == 13 else row[0] for row in found]}

    model = Gate(answer)
    model.let(10)

    async def story(batcher: batching.Batcher) -> None:
        outcome = await batcher.submit(rows(1, 2, 3, 13, 5))
        assert isinstance(outcome, batching.Invalid)
        assert outcome.row == 3

    with_batcher(model, story, batch_rows_max=2)


def test_a_request_whose_deadline_passed_while_it_waited_is_not_called() -> None:
    model = Gate()

    async def story(batcher: batching.Batcher) -> None:
        running = batcher.submit(rows(1))
        await model.wait_begun()
        soon = time.perf_counter() + 0.02
        late = batcher.submit(rows(2), deadline=soon)
        in_time = batcher.submit(rows(3), deadline=soon + 60.0)
        await asyncio.sleep(0.05)
        model.let(2)
        assert isinstance(await late, batching.Expired)
        assert [6.0] == doubled(await in_time)
        await running
        assert 0 == batcher.waiting_rows

    with_batcher(model, story)
    assert [[1], [3]] == model.calls


def test_when_every_deadline_has_passed_the_model_is_left_alone() -> None:
    model = Gate()

    async def story(batcher: batching.Batcher) -> None:
        passed = time.perf_counter() - 1.0
        outcomes = await asyncio.gather(*(batcher.submit(rows(value), deadline=passed) for value in (1, 2)))
        assert [batching.Expired(), batching.Expired()] == outcomes
        model.let(1)
        assert [6.0] == doubled(await batcher.submit(rows(3)))

    with_batcher(model, story)
    assert [[3]] == model.calls


class Clocked:
    """A model whose calls take as much CPU time as it is told, by a clock of its own; it notes the threads."""

    def __init__(self, row_seconds: float) -> None:
        self.row_seconds = row_seconds
        self.now_ns = 0
        self.on_loop: list[bool] = []
        self.loop_thread = threading.get_ident()

    def __call__(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        self.now_ns += int(self.row_seconds * len(rows) * 1e9)
        self.on_loop.append(threading.get_ident() == self.loop_thread)
        if rows[0][0] < 0:
            raise ValueError("negative")
        return {"double": np.array([row[0] * 2 for row in rows])}


def with_brief(
    model: Clocked, story: Callable[[batching.Batcher], Awaitable[None]], *, calls_anywhere: bool = True
) -> None:
    async def run() -> None:
        thread = model_thread.ModelThread()
        batcher = batching.Batcher(
            model,
            OUTPUTS,
            thread=thread,
            batch_rows_max=64,
            queue_rows_max=64,
            cpu_clock=lambda: model.now_ns,
            calls_anywhere=calls_anywhere,
        )
        try:
            await asyncio.wait_for(story(batcher), 10)
        finally:
            thread.close()

    asyncio.run(run())


async def one_after_another(batcher: batching.Batcher, *sizes: int) -> None:
    for size in sizes:
        assert 2.0 * size == doubled(await batcher.submit(rows(*[float(size)] * size)))[0]


@pytest.mark.parametrize(
    ("row_seconds", "sizes", "on_loop"),
    [
        (20e-6, (1, 2, 15, 15), [False, True, True, True]),
        (20e-6, (1, 16, 1), [False, False, True]),
        (400e-6, (1, 1, 1), [False, False, False]),
    ],
)
def test_brief_calls_are_made_on_the_loop_once_their_time_is_known(row_seconds, sizes, on_loop) -> None:
    model = Clocked(row_seconds)
    with_brief(model, lambda batcher: one_after_another(batcher, *sizes))
    assert on_loop == model.on_loop


def test_a_model_that_turns_slow_is_called_in_its_thread_again() -> None:
    model = Clocked(20e-6)

    async def story(batcher: batching.Batcher) -> None:
        await one_after_another(batcher, 8, 8)
        model.row_seconds = 1e-3
        await one_after_another(batcher, 1, 1, 1)

    with_brief(model, story)
    assert [False, True, True, False, False] == model.on_loop


def test_a_model_that_keeps_to_its_thread_is_never_called_elsewhere() -> None:
    model = Clocked(1e-6)
    with_brief(model, lambda batcher: one_after_another(batcher, 1, 1, 1), calls_anywhere=False)
    assert [False, False, False] == model.on_loop


def test_what_queued_during_brief_calls_is_answered_and_a_poisoned_row_fails_alone() -> None:
    model = Clocked(1e-6)

    async def story(batcher: batching.Batcher) -> None:
        await one_after_another(batcher, 1)
        outcomes = await asyncio.gather(*(batcher.submit(rows(value)) for value in (-1.0, 2.0, 3.0)))
        assert isinstance(outcomes[0], batching.Failed)
        assert [[4.0], [6.0]] == [doubled(each) for each in outcomes[1:]]
        await one_after_another(batcher, 5)

    with_brief(model, story)
    assert all(model.on_loop[1:])

"""Which requests go into a call together, and that cheap ones need not wait for dear ones."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from softlaunch.serving import queues

UNIT_SECONDS = 0.001
ROWS_MAX = 32


def ticket(cost: float, *, rows: int = 1) -> queues.Ticket:
    return queues.Ticket([(cost,)] * rows, asyncio.get_running_loop().create_future(), None, math.inf)


def simulated(queue: queues.Queue, arrivals: list[tuple[float, float]]) -> dict[float, list[float]]:
    """
    Waits and calls by cost in virtual time, of a model that pads: a call takes its dearest row's cost times its rows.

    Args:
        arrivals: Time and cost, in the order of time.
    """
    now, latencies, place = 0.0, {cost: [] for _, cost in arrivals}, 0
    came: dict[int, float] = {}
    left = len(arrivals)
    while left:
        while place < len(arrivals) and arrivals[place][0] <= now:
            made = ticket(arrivals[place][1])
            came[id(made)] = arrivals[place][0]
            queue.put(made, arrivals[place][0])
            place += 1
        batch = queue.take(ROWS_MAX)
        if not batch:
            now = arrivals[place][0]
            continue
        costs = [one.rows[0][0] for one in batch]
        seconds = max(costs) * len(costs) * UNIT_SECONDS
        now += seconds
        queue.told(batch, seconds)
        for one, cost in zip(batch, costs, strict=True):
            latencies[cost].append(now - came[id(one)])
        left -= len(batch)
    return latencies


def mixed(seconds: float) -> list[tuple[float, float]]:
    """Short texts at 200/s beside long ones, 64 times as dear, at 5/s: just over half of what the model can do."""
    chance = np.random.default_rng(5)
    short = np.cumsum(chance.exponential(1 / 200, int(200 * seconds)))
    long = np.cumsum(chance.exponential(1 / 5, int(5 * seconds)))
    return sorted([(float(at), 1.0) for at in short] + [(float(at), 64.0) for at in long])


def test_long_inputs_do_not_hold_short_ones_back() -> None:
    async def run() -> tuple[dict[float, list[float]], dict[float, list[float]]]:
        arrivals = mixed(60.0)
        return simulated(queues.ByCost(lambda row: row[0]), arrivals), simulated(queues.Fifo(), arrivals)

    by_cost, fifo = asyncio.run(run())

    # One long call that has begun is the least a short one can meet: 64 ms.
    assert np.percentile(by_cost[1.0], 99) < 0.11
    assert np.percentile(fifo[1.0], 99) > 5 * np.percentile(by_cost[1.0], 99)


def test_nothing_starves_beside_cheaper_requests_that_never_end() -> None:
    async def run() -> dict[float, list[float]]:
        # Short ones alone keep the model busy: 1,100/s of 1 ms each.
        arrivals = sorted([(number / 1_100, 1.0) for number in range(5_500)] + [(1.0, 64.0)])
        return simulated(queues.ByCost(lambda row: row[0]), arrivals)

    (waited,) = asyncio.run(run())[64.0]
    assert waited < 64 * UNIT_SECONDS * (queues.OVERTAKEN_CALLS + 2) + 0.5


def test_a_batch_is_of_one_class_and_no_longer_than_a_call_should_be() -> None:
    async def run() -> None:
        queue = queues.ByCost(lambda row: row[0])
        first = [ticket(cost) for cost in (10.0, 100.0, 12.0, 15.0)]
        for number, one in enumerate(first):
            queue.put(one, float(number))
        assert [first[0], first[2], first[3]] == queue.take(8)
        queue.told([first[1]], 100.0 * queues.CALL_SECONDS / 20)
        assert [first[1]] == queue.take(8)
        for one in first:
            queue.put(one, 9.0)
        assert 1 == len(queue.take(8))

    asyncio.run(run())


@pytest.mark.parametrize("made", [queues.Fifo(), queues.ByCost(lambda _: 0.0)])
def test_a_request_that_is_done_takes_no_row_of_the_batch(made: queues.Queue) -> None:
    async def run() -> None:
        tickets = [ticket(1.0) for _ in range(4)]
        tickets[1].future.cancel()
        for one in tickets:
            made.put(one, 0.0)
        assert tickets == list(made)
        assert tickets[:3] == made.take(2)
        assert tickets[3:] == made.take(2)
        assert [] == made.take(2)

    asyncio.run(run())

"""
kill -9 of model servers, shippers and control planes at random moments, under traffic: is each answer in the log once,
or counted as never recorded?

    python benchmarks/launches/log_kills.py --kills 200 --out benchmarks/results/log_kills.json

Three counts that share no code with the shipper: the gateway's log, line by line as JSON; the records in the spool's
segments; the rows of the table. What has to hold, exactly:

* the rows are the records, each once: nothing acknowledged is lost, nothing is there twice,
* `unacknowledged` is the number of answers in the gateway's log without a record,
* every prediction id that a client got is of the one kind or the other.
"""

from __future__ import annotations

import collections
import contextlib
import json
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import httpx
import lab
import process_lab
import psutil
import record

from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.spool import local

VICTIMS = ("model server", "shipper", "control plane")
SETTLE_SECONDS = 12.0
"""The shipper's own, and its turn."""


class Answer(NamedTuple):
    """What names one answer of one process."""

    request_id: str
    release: str
    number: int


class Traffic:
    """
    Clients that ask one after the other, at a rate that all of them share; used as a context.

    Args:
        port: Of the gateway.
        rate: Requests a second.
        clients: Threads.
    """

    def __init__(self, port: int, rate: float, *, clients: int = 4) -> None:
        self.ids: list[str] = []
        """Prediction ids that clients got."""
        self.statuses: collections.Counter[str] = collections.Counter()
        self.latencies: list[tuple[float, float]] = []
        """When asked (Unix), and how many seconds the answer took."""
        self._port, self._pause = port, clients / rate
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> int:
        """Neither a model server's answer nor the fallback's."""
        return sum(count for status, count in self.statuses.items() if status not in {"200", "fallback"})

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30.0, trust_env=False) as client:
            due = time.monotonic()
            while not self._ending.is_set():
                began, at = time.monotonic(), time.time()
                try:
                    answered = client.post("/predict", json={"x0": float(number), "x1": 0.25, "x2": 0.5})
                    name = answered.headers.get("x-softlaunch-prediction-id")
                    is_fallback = answered.status_code == 200 and name is None
                    self.statuses["fallback" if is_fallback else str(answered.status_code)] += 1
                    if name is not None:
                        self.ids.append(name)
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                self.latencies.append((at, time.monotonic() - began))
                due = max(due + self._pause, time.monotonic() - 1.0)
                self._ending.wait(max(0.0, due - time.monotonic()))


class Counted(NamedTuple):
    """What was found at the end, by three counts."""

    answered: collections.Counter[Answer]
    """By the gateway's log: answers of which a server said that it records them."""
    spooled: collections.Counter[Answer]
    rows: collections.Counter[Answer]
    status: dict[str, Any]
    """`softlaunch log status`."""

    @property
    def missing(self) -> collections.Counter[Answer]:
        return self.answered - self.spooled

    def wrong(self, ids: Sequence[str]) -> list[str]:
        """
        What does not hold; empty when all does.

        Args:
            ids: That clients got.
        """
        found = []
        lost, more = self.spooled - self.rows, self.rows - self.spooled
        if lost or more:
            found.append(f"{lost.total()} records are no rows, {more.total()} rows no records: {lost | more}")
        twice = [answer for answer, count in self.rows.items() if count > 1]
        if twice:
            found.append(f"{len(twice)} rows are there twice: {twice[:5]}")
        if self.status["unacknowledged"] != self.missing.total():
            found.append(f"{self.missing.total()} answers have no record, {self.status['unacknowledged']} were counted")
        known = {answer.request_id for answer in (*self.rows, *self.missing)}
        unknown = [name for name in ids if name.rpartition(":")[0] not in known]
        if unknown:
            found.append(f"{len(unknown)} answers that clients got are nowhere: {unknown[:5]}")
        found += [f"{name} is {self.status[name]}" for name in ("lost_bytes", "dropped") if self.status[name]]
        return found


def answered(machine: process_lab.ProcessLab) -> collections.Counter[Answer]:
    """The gateway's log, rotated files included."""
    found: collections.Counter[Answer] = collections.Counter()
    for path in machine.home.gateway.glob("attempts.log*"):
        for line in path.read_bytes().splitlines() if path.suffix != ".held" else ():
            told = json.loads(line) if line.strip() else {}
            served = told.get("served") or ""
            if served.endswith("r"):
                release = pathlib.PurePosixPath(told["host"]).name.partition(".")[0]
                found[Answer(told["id"], told.get("release") or release, int(served[:-1]))] += 1
    return found


def spooled(machine: process_lab.ProcessLab) -> collections.Counter[Answer]:
    """Records in the segments, the newest and those of killed processes too."""
    scanned = local.LocalSpool(machine.home.spool).scan(
        lab.SERVICE, lab.ENVIRONMENT, since=0.0, until=time.time() + 60.0
    )
    return collections.Counter(Answer(found.request_id, found.release, found.served_count) for found in scanned)


def rows(machine: process_lab.ProcessLab) -> collections.Counter[Answer]:
    found = asking.select(
        machine.home.log / lab.SERVICE / delta.TABLE,
        "SELECT request_id, release, answer_number, count(*) AS n FROM predictions WHERE environment = $1 GROUP BY ALL",
        [lab.ENVIRONMENT],
    )
    return collections.Counter(
        {Answer(row["request_id"], row["release"], row["answer_number"]): row["n"] for row in found}
    )


def status(machine: process_lab.ProcessLab) -> dict[str, Any]:
    """`softlaunch log status` of the one service."""
    (found,) = machine.command("log", "status").document["logs"]
    told: dict[str, Any] = found
    return told


def count(machine: process_lab.ProcessLab, *, seconds: float = 90.0) -> Counted:
    """Once traffic has ended and everything had its time to arrive; the counts as they are then, right or wrong."""
    time.sleep(SETTLE_SECONDS)
    until = time.monotonic() + seconds
    expected = spooled(machine)
    missing = (answered(machine) - expected).total()
    while True:
        told = status(machine)
        is_there = (
            told["records"] >= expected.total() and told["unacknowledged"] >= missing and not told["waiting_bytes"]
        )
        if is_there or time.monotonic() > until:
            break
        time.sleep(0.5)
    time.sleep(2.0)  # what would be too many comes now
    return Counted(answered=answered(machine), spooled=spooled(machine), rows=rows(machine), status=status(machine))


@contextlib.contextmanager
def laboratory(**variables: str) -> Iterator[process_lab.ProcessLab]:
    """One service live on two model servers, its log written all the time."""
    with process_lab.laboratory(**{"SOFTLAUNCH_LOG_EVERY": "300ms", **variables}) as found:
        view = found.deploy(found.make("live"), lab.strategy())
        assert view["outcome"] == "promoted", view["reason"]
        yield found


def pids(machine: process_lab.ProcessLab, victim: str) -> list[int]:
    """Living processes of a kind."""
    mark = {"model server": "softlaunch.serving", "shipper": " log ship "}[victim]
    return [pid for pid, words in machine.processes().items() if mark in words]


def kill_some(
    machine: process_lab.ProcessLab,
    kill_count: int,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    pause_seconds_max: float = 2.0,
) -> dict[str, int]:
    """
    Kills processes of the three kinds in turn, each at a moment of chance; how many of each.

    Args:
        machine: Under traffic.
        kill_count: All told.
        seed: Of the moments.
        say: Told of progress.
        pause_seconds_max: Before a kill, once a victim is there.
    """
    chance = random.Random(seed)
    killed: collections.Counter[str] = collections.Counter()
    while killed.total() < kill_count:
        victim = VICTIMS[killed.total() % len(VICTIMS)]
        if victim == "control plane":
            time.sleep(chance.random() * pause_seconds_max)
            machine.kill_control_plane()
            time.sleep(chance.random() * 0.5)  # without a shipper, too
            machine.up()
        else:
            found = living(machine, victim)
            time.sleep(chance.random() * pause_seconds_max)
            try:
                process_lab.kill(chance.choice(found))
            except psutil.NoSuchProcess:
                continue
        killed[victim] += 1
        if not killed.total() % 10:
            say(f"{killed.total()} of {kill_count} kills")
    return dict(killed)


def living(machine: process_lab.ProcessLab, victim: str) -> list[int]:
    """All of a kind, once they are as many as there should be."""
    until = time.monotonic() + 90.0  # a shipper that ends again and again is started more and more seldom
    wanted = 2 if victim == "model server" else 1
    while len(found := pids(machine, victim)) < wanted:
        if time.monotonic() > until:
            raise TimeoutError(f"no {victim} to kill, {len(found)} of {wanted}")
        time.sleep(0.1)
    return found


def quantile(latencies: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return round(1000.0 * sorted(latencies)[int(share * (len(latencies) - 1))], 2)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    with laboratory() as machine:
        began = time.monotonic()
        with Traffic(machine.port, options.rate) as traffic:
            killed = kill_some(machine, options.kills, seed=options.seed, say=record.say)
        seconds = time.monotonic() - began
        found = count(machine)
    wrong = found.wrong(traffic.ids)
    record.write(
        options,
        {
            "kills": killed,
            "seconds": round(seconds, 1),
            "requests": traffic.statuses.total(),
            "statuses": dict(traffic.statuses),
            "answered_by_a_model_server": found.answered.total(),
            "records": found.spooled.total(),
            "rows": found.rows.total(),
            "rows_twice": sum(each > 1 for each in found.rows.values()),
            "records_lost": (found.spooled - found.rows).total(),
            "answers_without_a_record": found.missing.total(),
            "unacknowledged": found.status["unacknowledged"],
            "unmatched": found.status["unmatched"],
            "wrong": wrong,
        },
    )
    assert not wrong, wrong


if __name__ == "__main__":
    main()

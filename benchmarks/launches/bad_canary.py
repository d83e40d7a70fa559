"""
A broken candidate that really gets half of the traffic: who fails for users?

    python benchmarks/launches/bad_canary.py --mixed-by-hand 200000 --out benchmarks/results/bad_canary.json

Judge and fuse are switched off: the gateway is driven by a routing snapshot with the candidate at 50 %, and nobody
takes it back. Every fault is met by every request that reaches the candidate, on the level of HTTP (backend.py): 503,
reset, hang (never answers), killed (kill -9 under load, after the first second, and not started again), invalid (the
500 with which our model server marks NaN), 422 for every valid request. Mixed: six replicas of the candidate, one
fault each; the killed one is started and killed again every 2 s.

Beside it the same load on the same Envoy with a weighted route and retries as one would write it by hand; and the same
faults with everything on: control plane, judge and fuse, 50 % in the first step, launched again and again.

Failed for the user: not 200, a fallback answer, a body that does not validate, or no answer.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import hammer
import lab
import record
import rig

from softlaunch.core import spec

FAULTS = ("503", "reset", "hang", "killed", "invalid", "422")
TRY_SECONDS = 0.25
MIXED_PERIOD_SECONDS = 2.0


def connections(fault: str) -> int:
    """A hung try waits for a quarter of a second: more users are needed for the same rate."""
    return {"hang": 640, "mixed": 256}.get(fault, 64)


@contextlib.contextmanager
def candidates(found: rig.Rig, fault: str) -> Iterator[tuple[list[int], Callable[[], None]]]:
    """Their numbers, and what to call again and again while the load runs."""
    faults = FAULTS if fault == "mixed" else (fault,)
    backends = {
        name: found.backend(rig.CANDIDATE, [number], "503" if name == "killed" else name)
        for number, name in enumerate(faults)
    }
    killed = backends.get("killed")
    began = time.monotonic()
    alive = True

    def meanwhile() -> None:
        nonlocal alive
        if killed is None:
            return
        period = int((time.monotonic() - began) / MIXED_PERIOD_SECONDS)
        wanted = period % 2 == 0 if fault == "mixed" else time.monotonic() < began + 1.0
        if alive and not wanted:
            killed.kill()
        elif wanted and not alive:
            killed.start()
        alive = wanted

    yield list(range(len(faults))), meanwhile
    for backend in backends.values():
        backend.kill()
        found.backends.remove(backend)


def ours(fault: str, count: int) -> dict[str, Any]:
    """One fault through softlaunch's gateway."""
    with rig.rig() as found:
        found.backend(rig.STABLE, [0, 1])
        with candidates(found, fault) as (numbers, meanwhile):
            found.apply(
                candidate=found.arm(rig.CANDIDATE, numbers), candidate_weight=5_000, try_timeout_seconds=TRY_SECONDS
            )

            def watch() -> None:
                meanwhile()
                found.read()

            plan = hammer.Plan(port=found.port, count=count, connections=connections(fault))
            report = hammer.run(plan, meanwhile=watch)
            found.read_all()
        return _row(fault, "softlaunch", report) | {
            "candidate_first_failed": len(found.failed_on_candidate),
            "candidate_attempts": dict(found.attempt_outcomes),
            "log_gaps": found.gaps,
        }


def by_hand(fault: str, count: int) -> dict[str, Any]:
    """The same through a weighted route with retries."""
    with rig.rig() as found:
        found.backend(rig.STABLE, [0, 1])
        with candidates(found, fault) as (numbers, meanwhile):
            stable = [str(found.path(rig.STABLE, number)) for number in (0, 1)]
            candidate = [str(found.path(rig.CANDIDATE, number)) for number in numbers]
            with rig.plain(stable, candidate, try_seconds=TRY_SECONDS) as plain:
                plan = hammer.Plan(
                    port=plain.port, count=count, connections=connections(fault) * (4 if fault == "hang" else 1)
                )
                report = hammer.run(plan, meanwhile=meanwhile)
    return _row(fault, "by hand", report)


def everything_on(fault: str, count: int, rate: float) -> dict[str, Any]:
    """Launches of a broken candidate, one after the other, while users send some `count` requests."""
    outcomes: dict[str, int] = {}
    fallen = 0
    with lab.lab() as found:
        environment = lab.strategy(steps=spec.shares(5_000, 10_000), holdback_percent=0.0)
        found.deploy(found.make("stable"), environment)
        plan = hammer.Plan(port=found.port, rate=rate, connections=64, host="demo.localhost")
        launches = 0
        until = time.monotonic() + count / rate
        with hammer.steady(plan) as report:
            while time.monotonic() < until:
                view = found.deploy(found.make(f"{fault}-{launches}", fault), environment)
                launches += 1
                outcomes[view["outcome"]] = outcomes.get(view["outcome"], 0) + 1
                fallen += view["measured"]["candidate_bad"]
    return _row(fault, "everything on", report) | {
        "launches": launches,
        "outcomes": outcomes,
        "candidate_first_failed": fallen,
    }


def _row(fault: str, side: str, report: dict[str, Any]) -> dict[str, Any]:
    kept = ("asked", "failed", "seen", "seconds", "p50_ms", "p99_ms")
    row = {"fault": fault, "side": side} | {name: report[name] for name in kept}
    row["requests_per_second"] = report["asked"] / report["seconds"]
    record.say(
        f"{fault}, {side}: {row['failed']:,} of {row['asked']:,} failed at {row['requests_per_second']:,.0f}/s "
        f"{row['seen']}"
    )
    return row


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="of each fault")
    parser.add_argument("--by-hand", type=int, help="of each fault on the route by hand; default: as many")
    parser.add_argument("--mixed", type=int, default=1_000_000)
    parser.add_argument("--mixed-by-hand", type=int, help="default: as many")
    parser.add_argument("--on", type=int, default=10_000, help="of each fault with everything on")
    parser.add_argument("--on-rate", type=float, default=600.0)
    parser.add_argument("--fault", action="append", choices=FAULTS)
    options = parser.parse_args()
    by_hand_count = options.requests if options.by_hand is None else options.by_hand
    mixed_by_hand = options.mixed if options.mixed_by_hand is None else options.mixed_by_hand
    faults = options.fault or FAULTS
    work: list[Callable[[], dict[str, Any]]] = []
    for fault in faults:
        if options.requests:
            work.append(functools.partial(ours, fault, options.requests))
        if by_hand_count:
            work.append(functools.partial(by_hand, fault, by_hand_count))
    if options.mixed:
        work.append(functools.partial(ours, "mixed", options.mixed))
    if options.mixed and mixed_by_hand:
        work.append(functools.partial(by_hand, "mixed", mixed_by_hand))
    if options.on:
        work.extend(functools.partial(everything_on, fault, options.on, options.on_rate) for fault in faults)
    rows = []
    for measure in work:
        rows.append(measure())
        record.write(options, {"rows": rows})


if __name__ == "__main__":
    main()

"""
The way back: how long from `softlaunch rollback` until the old release answers everybody?

    python benchmarks/launches/way_back.py --repetitions 20 --out benchmarks/results/way_back.json

A real `softlaunch up`; a new release is put live (blue-green) under load and taken back at once by the command line.
Warm: the strategy keeps the old release's processes ready (warm_seconds). Cold: it does not, and its processes have
ended before the command; its model takes a second to load, which is then taken off. Timed twice, from the start of the
command's process and from its request to the control plane, to the first answer of the old release after which every
answer is its own, as one user sees them who asks again and again.
"""

from __future__ import annotations

import time
from typing import Any

import hammer
import lab
import numpy as np
import process_lab
import record
import share_changes

from softlaunch.core import release, spec
from softlaunch.testing import releases

LOAD_SECONDS = 1.0
RATE = 300.0
SLOW = f"import time\ntime.sleep({LOAD_SECONDS})\n{releases.GOOD}"


def strategy(warm_seconds: float) -> spec.EnvironmentSpec:
    return lab.strategy(
        kind=spec.StrategyKind.BLUE_GREEN,
        steps=(spec.StepSpec(weight=spec.WEIGHT_FULL),),
        holdback_percent=0.0,
        acceptable_percent=5.0,
        warm_seconds=warm_seconds,
    )


def measure(kind: str, repetitions: int) -> dict[str, Any]:
    warm = kind == "warm"
    environment = strategy(600.0 if warm else 0.0)
    source = releases.GOOD if warm else SLOW
    from_command, from_request, wrong = [], [], []
    with process_lab.laboratory() as found:
        old = found.make("old", source)
        found.deploy(old, environment)
        prober = share_changes.Prober(found.port, f"{lab.SERVICE}.localhost")
        plan = hammer.Plan(port=found.port, rate=RATE, connections=16, host=f"{lab.SERVICE}.localhost")
        with hammer.steady(plan) as report:
            for number in range(repetitions):
                new = found.make(f"new-{number}", source)
                view = found.deploy(new, environment)
                assert view["outcome"] == "promoted", view["reason"]
                if not warm:
                    _await_end(found, old)
                start = len(prober.seen)
                began_at, began = time.time(), time.perf_counter()
                done = found.command("rollback")
                if done.code:
                    wrong.append(done.err)
                    break
                seconds = share_changes.effective(prober, began, old.short, start, timeout=30.0)
                events = found.client.get("/v1/events", rollout_id=done.document["id"])
                from_command.append(seconds)
                from_request.append(seconds - (min(event["at"] for event in events) - began_at))
                record.say(f"{kind} {number}: {from_command[-1]:.3f} s, {from_request[-1]:.3f} s from the request")
        prober.close()
    row = {
        "kind": kind,
        "repetitions": len(from_command),
        "load_seconds": 0.0 if warm else LOAD_SECONDS,
        "wrong": wrong,
        "from_command": _quantiles(from_command),
        "from_request": _quantiles(from_request),
        "user_requests": report["asked"],
        "user_failed": report["failed"],
        "user_seen": report["seen"],
    }
    record.say(str(row))
    return row


def _await_end(found: process_lab.ProcessLab, old: release.Digest) -> None:
    until = time.monotonic() + 60.0
    while found.replicas(old):
        if time.monotonic() > until:
            raise TimeoutError(f"replicas of {old.short} do not end")
        time.sleep(0.1)


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {"p50": float(np.median(seconds)), "max": float(np.max(seconds))}


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()
    record.write(options, {"rows": [measure(kind, options.repetitions) for kind in ("warm", "cold")]})


if __name__ == "__main__":
    main()

"""
What the judge costs per attempt, in CPU microseconds of one core.

    python benchmarks/judge/cost.py --out benchmarks/results/judge_cost.json

The mix: 1 % errors, 1 % client errors, 0.1 % invalid answers with their retries, sticky users with keys, latencies
above every threshold as often as stable's. The least of several rounds counts, because other work only ever adds. The
bar is 5 us.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import simulate

ROUNDS = 5


def microseconds(work: Callable[[], object], count: int) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) / count * 1e6


def main() -> None:
    options = simulate.arguments(__doc__ or "", 1)
    scenario = simulate.Scenario(name="cost", attempts=50_000)
    found = simulate.attempts_of(scenario, np.random.default_rng(1))
    observe, report, save = [], [], []
    for _ in range(ROUNDS):
        court = simulate.judge_for(scenario, np.random.default_rng(2))

        def everything(observe_one: Callable[..., None] = court.observe) -> None:
            for attempt in found:
                observe_one(attempt)

        observe.append(microseconds(everything, len(found)))
        report.append(microseconds(court.report, 1))
        save.append(microseconds(court.state, 1))
    size = len(json.dumps(court.state()))
    row = (f"{min(observe):.2f}", f"{min(report):.0f}", f"{min(save):.0f}", size)
    for line in simulate.table(("us per attempt", "us per report", "us per state", "bytes of state"), [row]):
        print(line)
    simulate.save(
        options.out,
        {
            "attempts": len(found),
            "microseconds_per_attempt": round(min(observe), 3),
            "microseconds_per_report": round(min(report), 1),
            "microseconds_per_state": round(min(save), 1),
            "state_bytes": size,
        },
    )


if __name__ == "__main__":
    main()

"""
Steady open-loop load until standard input ends, then one JSON line: what its users saw.

    python benchmarks/launches/load.py PORT RATE_PER_SECOND
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading

from softlaunch.testing import arrivals, http_answers, outcomes, releases, traffic

USERS = 5_000


def valid(answer: http_answers.Answer) -> bool:
    """A prediction with a probability in it."""
    try:
        return 0.0 <= json.loads(answer.body)["prediction"]["probability"] <= 1.0
    except (ValueError, KeyError, TypeError):
        return False


def main() -> None:
    port, rate = int(sys.argv[1]), float(sys.argv[2])
    body = json.dumps(releases.LIVE_ROW).encode()
    requests = (
        traffic.Request(
            headers=(("x-user-id", f"u{number * 7919 % USERS}"), ("content-type", "application/json")), body=body
        )
        for number in itertools.count()
    )
    load = traffic.Load(traffic.Target(port=port), requests, check=outcomes.Check(valid=valid))
    threading.Thread(target=lambda: (sys.stdin.read(), load.stop()), daemon=True).start()
    report = asyncio.run(load.run_open(arrivals.poisson(rate, seed=1)))
    found = {
        "planned": report.planned,
        "failed": report.failed,
        "statuses": report.statuses,
        "details": report.details,
        "outcomes": {str(key): value for key, value in report.outcomes.items()},
        "seconds": report.seconds,
        "p50_ms": report.quantile(0.5) * 1e3,
        "p99_ms": report.quantile(0.99) * 1e3,
        "lag_ms_max": report.lag_seconds_max * 1e3,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

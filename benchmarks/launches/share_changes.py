"""
Changes of a share under load: is a request dropped, and how soon does a change hold?

    python benchmarks/launches/share_changes.py --changes 1000 --out benchmarks/results/share_changes.json

Each change moves everybody from one release to the other (shares of 0 and 100 %, so that one
request shows who is asked), every tenth one takes the candidate out of the routes or brings it back. Timed from the
call of `apply` to the first answer, on a connection of its own, of the release the change chose, after which no later
one is the other's. Requests are sent one after the other, so the time includes waiting for an answer.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

import hammer
import numpy as np
import record
import rig

PROBES_AFTER = 5
"""Answers of the new release in a row, before a change counts as effective (from the first of them)."""


class Prober:
    """Asks again and again on one connection, in a thread, and keeps who answered and when."""

    def __init__(self, port: int, host: str = "flights.localhost") -> None:
        self._port = port
        self._host = host
        self._ended = threading.Event()
        self.seen: list[tuple[float, float, str]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {"host": self._host, "content-type": "application/json", "x-user-id": "prober", "x-number": "0"}
        while not self._ended.is_set():
            began = time.perf_counter()
            connection.request("POST", "/predict", hammer.BODY, headers)
            release = json.loads(connection.getresponse().read()).get("release", "fallback")
            self.seen.append((began, time.perf_counter(), release))
            time.sleep(0.0005)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def effective(prober: Prober, since: float, expected: str, start: int, *, timeout: float = 5.0) -> float:
    """Seconds from `since` until the first of the answers after which all are the expected release's."""
    until = time.perf_counter() + timeout
    while time.perf_counter() < until:
        seen = prober.seen[start:]
        if len(seen) >= PROBES_AFTER and all(entry[2] == expected for entry in seen[-PROBES_AFTER:]):
            last_other = max((number for number, entry in enumerate(seen) if entry[2] != expected), default=-1)
            if len(seen) - last_other - 1 >= PROBES_AFTER:
                return max(0.0, seen[last_other + 1][1] - since)
        time.sleep(0.001)
    raise TimeoutError(f"{expected} did not come")


def measure(changes: int, rate: float) -> dict[str, Any]:
    times, applied = [], []
    with rig.rig() as found:
        found.backend(rig.STABLE, [0, 1])
        found.backend(rig.CANDIDATE, [0])
        arm = found.arm(rig.CANDIDATE, [0])
        found.apply(candidate=arm, candidate_weight=0)
        prober = Prober(found.port)
        plan = hammer.Plan(port=found.port, rate=rate, connections=32)
        with hammer.steady(plan) as report:
            time.sleep(1.0)
            for number in range(changes):
                start = len(prober.seen)
                on_candidate = number % 2 == 0
                began = time.perf_counter()
                if not on_candidate and number % 10 == 9:
                    found.apply()
                else:
                    found.apply(candidate=arm, candidate_weight=10_000 if on_candidate else 0)
                applied.append(time.perf_counter() - began)
                expected = (rig.CANDIDATE if on_candidate else rig.STABLE).short
                times.append(effective(prober, began, expected, start))
                found.read()
                if number % 100 == 99:
                    record.say(f"{number + 1} changes, p99 {np.quantile(times, 0.99) * 1e3:.1f} ms")
        prober.close()
    return {
        "changes": changes,
        "user_requests": report["asked"],
        "user_failed": report["failed"],
        "user_seen": report["seen"],
        "probes": len(prober.seen),
        "effective_ms": _quantiles(times),
        "apply_ms": _quantiles(applied),
        "slower_than_50_ms": sum(1 for seconds in times if seconds >= 0.05),
    }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: float(np.quantile(seconds, rank, method="inverted_cdf")) * 1e3 for name, rank in ranks.items()}


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--changes", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=1_000.0)
    options = parser.parse_args()
    record.write(options, measure(options.changes, options.rate))


if __name__ == "__main__":
    main()

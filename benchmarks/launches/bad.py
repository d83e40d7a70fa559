"""
Bad launches: how long from the first bad attempt until all traffic is on stable, and what users saw.

    python benchmarks/launches/bad.py --launches 100 --out benchmarks/results/bad_launches.json

Each launch: a candidate that fails for live traffic only, at 10 % of 200 requests/s (20 candidate requests/s).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
from typing import Any

import lab


def quantile(values: list[float], q: float) -> float:
    """The smallest value that at least the share q of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))]


def run(fault: str, launches: int, rate: float) -> dict[str, Any]:
    """One row of the table."""
    seconds, last_seconds, spent, wrong = [], [], [], []
    with lab.lab() as found:
        environment = lab.strategy()
        found.deploy(found.make("stable"), environment)
        with lab.load(found.port, rate) as report:
            for number in range(launches):
                view = found.deploy(found.make(f"{fault}-{number}", fault), environment)
                facts = view["measured"]
                if view["outcome"] != "rolled_back" or not facts["first_bad_at"]:
                    wrong.append(view["reason"])
                    continue
                seconds.append(facts["stable_again_at"] - facts["first_bad_at"])
                last_seconds.append(facts["last_candidate_at"] - facts["first_bad_at"])
                spent.append(facts["candidate_attempts"])
    return {
        "fault": fault,
        "launches": launches,
        "otherwise": wrong,
        "seconds_p50": statistics.median(seconds),
        "seconds_p99": quantile(seconds, 0.99),
        "seconds_max": max(seconds),
        "last_candidate_attempt_seconds_max": max(last_seconds),
        "candidate_requests_p50": statistics.median(spent),
        "candidate_requests_p95": quantile(spent, 0.95),
        "user_requests": report["planned"],
        "user_failed": report["failed"],
        "user_details": {**report["statuses"], **report["details"], **report["outcomes"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--fault", action="append", choices=sorted(lab.FAULTS))
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    rows = []
    for fault in options.fault or list(lab.FAULTS):
        row = run(fault, options.launches, options.rate)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

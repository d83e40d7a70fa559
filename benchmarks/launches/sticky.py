"""
Users through a growing canary: does anybody move back, and is a share what it says?

    python benchmarks/launches/sticky.py --users 100000 --out benchmarks/results/sticky.json

The real gateway with shares of 1, 5, 25, 50 and 100 %; every user sends one request at each step. Who answered is read
from the answer's body.
"""

from __future__ import annotations

import math
from typing import Any

import hammer
import record
import rig

WEIGHTS = (100, 500, 2_500, 5_000, 10_000)
CONNECTIONS = 64


def answered_by_candidate(found: rig.Rig, users: int) -> tuple[set[int], dict[str, Any]]:
    plan = hammer.Plan(port=found.port, count=users, connections=CONNECTIONS, arms=True)
    report = hammer.run(plan, meanwhile=found.read)
    return set(report["arms"].get(rig.CANDIDATE.short, ())), report


def measure(users: int) -> list[dict[str, Any]]:
    rows = []
    before: set[int] = set()
    with rig.rig() as found:
        found.backend(rig.STABLE, [0, 1])
        found.backend(rig.CANDIDATE, [0])
        for weight in WEIGHTS:
            found.apply(candidate=found.arm(rig.CANDIDATE, [0]), candidate_weight=weight)
            chosen, report = answered_by_candidate(found, users)
            share = weight / 10_000
            error = math.sqrt(share * (1 - share) / users)
            off = abs(len(chosen) / users - share)
            row = {
                "share": share,
                "users": users,
                "on_candidate": len(chosen),
                "moved_back": len(before - chosen),
                "standard_errors_off": off / error if error else (0.0 if off == 0 else math.inf),
                "failed": report["failed"],
            }
            record.say(str(row))
            rows.append(row)
            before |= chosen
    return rows


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    options = parser.parse_args()
    record.write(options, {"rows": measure(options.users)})


if __name__ == "__main__":
    main()

"""
POSTs that must not be repeated, while the candidate fails: is any executed twice, or copied?

    python benchmarks/launches/unrepeatable.py --requests 100000 --out benchmarks/results/unrepeatable.json

Paths that nobody declared repeatable, half of the users on a candidate that fails, and a shadow that gets a copy of
every prediction. A backend counts a request as executed once it has read the whole body, whatever it does then:
answers 503, cuts the connection, or never answers. A failed request may fail for its user: nobody may send it again.
Afterwards come some predictions, to show that the shadow was there to get copies.
"""

from __future__ import annotations

import collections
from typing import Any

import hammer
import record
import rig

from softlaunch.core import release
from softlaunch.core.rollout import traffic

FAULTS = ("503", "reset", "hang")
PATHS = ("/orders", "/flights/orders", "/predict/x", "/v2/models/m/load", "/api/items?x=/predict", "/scores")
SHADOW = release.Digest("sha256:" + "c" * 64)
REQUEST_SECONDS = 1.0
"""A hung request that may not be repeated waits for this long."""


def measure(fault: str, count: int) -> dict[str, Any]:
    with rig.rig() as found:
        stable = found.backend(rig.STABLE, [0, 1], "ok+remember")
        candidate = found.backend(rig.CANDIDATE, [0], f"{fault}+remember")
        shadow = found.backend(SHADOW, [0], "ok+remember")
        found.apply(
            candidate=found.arm(rig.CANDIDATE, [0]),
            candidate_weight=5_000,
            shadow=traffic.ShadowRoute(candidate=found.arm(SHADOW, [0]), weight=10_000, epoch=900),
            request_timeout_seconds=REQUEST_SECONDS,
        )
        connections = 512 if fault == "hang" else 64
        plan = hammer.Plan(port=found.port, count=count, connections=connections, paths=PATHS)
        report = hammer.run(plan, meanwhile=found.read)
        counted = [backend.count() for backend in (stable, candidate, shadow)]
        times = collections.Counter(number for count in counted for number in (*count["executed"], *count["twice"]))
        copied = counted[2]["requests"]
        predictions = hammer.run(hammer.Plan(port=found.port, first=count, count=200, connections=8))
        row = {
            "fault": fault,
            "requests": report["asked"],
            "answered_ok": report["seen"].get("ok", 0),
            "executed_by_stable": len(counted[0]["executed"]),
            "executed_by_candidate": len(counted[1]["executed"]),
            "executed_twice": sum(1 for number in times if times[number] > 1),
            "never_executed": report["asked"] - len(times),
            "mirrored": copied,
            "predictions_mirrored": shadow.count()["requests"] - copied,
            "predictions": predictions["asked"],
        }
        record.say(str(row))
        return row


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of all faults together")
    options = parser.parse_args()
    each = -(-options.requests // len(FAULTS))
    record.write(options, {"paths": PATHS, "rows": [measure(fault, each) for fault in FAULTS]})


if __name__ == "__main__":
    main()

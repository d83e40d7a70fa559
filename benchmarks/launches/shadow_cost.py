"""
What users pay for a shadow that is broken, and whether a healthy one loses a pair.

    python benchmarks/launches/shadow_cost.py --pairs 30 --out benchmarks/results/shadow_cost.json

Per shadow (hanging, dead) 30 pairs of runs, one with a copy of every prediction and one without, at a steady rate. The
two runs of a pair are cut into slices of 0.4 s that alternate (with, without, without, with, or the other way round, by
lot), so that a disturbance of the machine meets both. Of each pair the ratio of the two p99; of the ratios the median.
Its upper 95 % bound is the sign test's: the k-th smallest of n ratios, where k is the smallest for which at most k - 1
of n fair coins show heads with probability 0.95 (of 30 the 20th). For comparison the same with no shadow in either run:
what the machine alone does.

Then real model servers with a shadow of 100 % that is in good health: the spool's records, paired as the control plane
pairs them; how many of the pairs found their other half.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import hammer
import lab
import numpy as np
import process_lab
import record
import rig
import scipy.stats

from softlaunch.core import spec
from softlaunch.core.rollout import traffic
from softlaunch.testing import releases

KINDS = ("hang", "dead", "none")
CONFIDENCE = 0.95
HOST = "flights.localhost"
SLICES = 8
SLICE_SECONDS = 0.4
SETTLE_SECONDS = 0.05
"""After a change, before its slice begins."""


def bound(ratios: list[float]) -> float:
    """Upper bound of their median: no assumption but that the pairs are independent."""
    rank = int(scipy.stats.binom.ppf(CONFIDENCE, len(ratios), 0.5)) + 1
    return sorted(ratios)[min(rank, len(ratios)) - 1]


def cost(kind: str, pairs: int, rate: float) -> dict[str, Any]:
    chance = random.Random(kind)
    slices: list[tuple[float, float, int, bool]] = []
    with rig.rig() as found:
        found.backend(rig.STABLE, [0, 1])
        shadow_server = found.backend(rig.CANDIDATE, [0], "hang")
        if kind == "dead":
            shadow_server.kill()
        arm = found.arm(rig.CANDIDATE, [0])
        shadow = traffic.ShadowRoute(candidate=arm, weight=10_000, epoch=900) if kind != "none" else None
        with hammer.steady(hammer.Plan(port=found.port, rate=rate, connections=32, times=True, host=HOST)) as report:
            found.apply()
            time.sleep(2.0)
            for pair in range(pairs):
                for _ in range(SLICES // 4):
                    order = chance.choice(((True, False, False, True), (False, True, True, False)))
                    for shadowed in order:
                        found.apply(shadow=shadow if shadowed else None)
                        found.read()
                        time.sleep(SETTLE_SECONDS)
                        began = time.perf_counter()
                        time.sleep(SLICE_SECONDS)
                        slices.append((began, time.perf_counter(), pair, shadowed))
                if pair % 10 == 9:
                    record.say(f"{kind}: {pair + 1} pairs")
        found.read_all()
        copies = found.copies
    with_shadow, without = (_p99(report["times"], slices, pairs, shadowed=shadowed) for shadowed in (True, False))
    ratios = [one / other for one, other in zip(with_shadow, without, strict=True)]
    row = {
        "shadow": kind,
        "pairs": pairs,
        "median_ratio": statistics.median(ratios),
        "upper_95": bound(ratios),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "p99_ms_with": statistics.median(with_shadow) * 1e3,
        "p99_ms_without": statistics.median(without) * 1e3,
        "user_requests": report["asked"],
        "user_failed": report["failed"],
        "copies_logged": copies,
    }
    record.say(str(row))
    return row


def _p99(
    times: list[tuple[float, float]], slices: list[tuple[float, float, int, bool]], pairs: int, *, shadowed: bool
) -> list[float]:
    """Of each pair, in seconds, over the requests that were sent within its slices."""
    moments = np.array(times)
    moments = moments[np.argsort(moments[:, 0])]
    found: list[list[Any]] = [[] for _ in range(pairs)]
    for began, ended, pair, kind in slices:
        if kind is shadowed:
            first, last = np.searchsorted(moments[:, 0], (began, ended))
            found[pair].append(moments[first:last, 1])
    return [float(np.quantile(np.concatenate(parts), 0.99)) for parts in found]


def joined(pairs: int, rate: float) -> dict[str, Any]:
    """A launch whose first step is a shadow of everything, with real model servers."""
    with process_lab.laboratory() as found:
        found.deploy(found.make("stable"), lab.strategy())
        shadow = spec.StepSpec(kind=spec.StepKind.SHADOW, weight=10_000, attempts_min=pairs)
        environment = lab.strategy(
            steps=(shadow, spec.StepSpec(weight=spec.WEIGHT_FULL)),
            acceptable_percent=5.0,
            disagreement_percent_max=10.0,
        )
        plan = hammer.Plan(port=found.port, rate=rate, connections=32, host=f"{releases.SERVICE}.localhost")
        with hammer.steady(plan) as report:
            view = found.finished(found.start(found.make("candidate"), environment), timeout=60.0 + 4 * pairs / rate)
    row = {
        "outcome": view["outcome"],
        "reason": view["reason"],
        "shadow": view["measured"]["shadow"],
        "user_requests": report["asked"],
        "user_failed": report["failed"],
    }
    record.say(str(row))
    return row


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--rate", type=float, default=1_000.0)
    parser.add_argument("--joined", type=int, default=5_000, help="pairs that must be joined")
    options = parser.parse_args()
    found: dict[str, Any] = {"joined": joined(options.joined, 300.0), "rows": []}
    for kind in KINDS:
        found["rows"].append(cost(kind, options.pairs, options.rate))
        record.write(options, found)


if __name__ == "__main__":
    main()

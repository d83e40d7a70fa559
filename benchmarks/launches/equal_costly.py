"""
Equal releases that warm up and fill a cache, launched in turn under enforcing guardrails on CPU and memory.

    python benchmarks/launches/equal_costly.py --launches 200 --out benchmarks/results/equal_costly.json

Every process of either release burns 1 ms of CPU in each of its first predictions (--warm-up many) and keeps 8 KiB of
each of its first 2,000. A launched release is cold beside a stable one that is warm: what grows must be compared at
equal counts, and every rollback would be a false one. The upper bound is Clopper and Pearson's, one-sided, 95 %.

Then a leak is planted in a copy of the live release (`softlaunch drill memory_leak`: 64 KiB of every request, until 512
MiB are kept): the drill is over when a guardrail caught it.
"""

from __future__ import annotations

import collections
import statistics
import time
from typing import Any

import hammer
import lab
import process_lab
import record
import scipy.stats

from softlaunch.core import drills, spec
from softlaunch.testing import releases

GUARDRAILS = (*spec.GUARDRAILS_DEFAULT, spec.GuardrailName.CPU, spec.GuardrailName.MEMORY)
COSTLY = """
import time
class Predictor:
    def __init__(self):
        self.count = 0
        self.cache = []
    def predict(self, rows):
        self.count += 1
        if self.count <= {warm_up}:
            until = time.thread_time() + 0.001
            while time.thread_time() < until:
                pass
        if self.count <= 2000:
            self.cache.append(b"\\x01" * 8192)
        return [{{"label": 1, "probability": 0.5}} for _ in rows]
"""
HOST = f"{releases.SERVICE}.localhost"


def environment() -> spec.EnvironmentSpec:
    return lab.strategy(
        steps=spec.shares(5_000, 10_000),
        guardrails=GUARDRAILS,
        step_attempts_min=1_000,
        acceptable_percent=5.0,
        holdback_percent=0.0,
    )


def equal(source: str, launches: int, rate: float, seconds_max: float) -> dict[str, Any]:
    outcomes: collections.Counter[str] = collections.Counter()
    reasons, seen, seconds = [], [], []
    until = time.monotonic() + seconds_max
    with lab.lab() as found:
        # Each launch is of another digest: one that was taken back is pinned.
        found.deploy(found.make("first", source=source), environment())
        with hammer.steady(hammer.Plan(port=found.port, rate=rate, connections=32, host=HOST)) as report:
            time.sleep(3.0)
            for number in range(launches):
                if time.monotonic() > until:
                    break
                began = time.monotonic()
                view = found.deploy(found.make(f"next-{number}", source=source), environment())
                seconds.append(time.monotonic() - began)
                outcomes[view["outcome"]] += 1
                seen.append(view["measured"]["candidate_attempts"])
                if view["outcome"] != "promoted":
                    reasons.append(view["reason"])
                    record.say(f"{number}: {view['reason']}")
                if number % 20 == 19:
                    record.say(f"{number + 1} launches: {dict(outcomes)}")
    done = len(seen)
    false = outcomes["rolled_back"]
    row = {
        "launches": done,
        "asked": launches,
        "outcomes": dict(outcomes),
        "reasons": reasons,
        "false_rollbacks": false,
        "upper_95": float(scipy.stats.beta.ppf(0.95, false + 1, done - false)) if false < done else 1.0,
        "candidate_attempts_p50": statistics.median(seen),
        "launch_seconds_p50": statistics.median(seconds),
        "user_requests": report["asked"],
        "user_failed": report["failed"],
        "user_seen": report["seen"],
    }
    record.say(str(row))
    return row


def leak(source: str, number: int) -> dict[str, Any]:
    with process_lab.laboratory() as found:
        found.deploy(found.make("stable", source), environment())
        done = found.command("drill", "memory_leak", "--production", "--env", lab.ENVIRONMENT, timeout=300.0)
        assert done.out, done.err
        (card,) = done.document["drills"]
        view = found.view(card["rollout_id"]) if "rollout_id" in card else found.client.get("/v1/rollouts")[0]
    parameters = drills.PARAMETERS[drills.FaultName.MEMORY_LEAK]
    attempts = view["measured"]["candidate_attempts"]
    row = {
        "number": number,
        "card": card,
        "held": done.document["held"],
        "candidate_attempts": attempts,
        "kept_mib_at_most": attempts * parameters["kib"].default / 1024,
        "limit_mib": parameters["mib_max"].default,
    }
    record.say(str(row))
    return row


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--launches", type=int, default=200)
    parser.add_argument("--leaks", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=40)
    parser.add_argument("--rate", type=float, default=600.0)
    parser.add_argument("--seconds-max", type=float, default=3_600.0, help="no launch begins after these")
    options = parser.parse_args()
    source = COSTLY.format(warm_up=options.warm_up)
    found: dict[str, Any] = {"leaks": []}
    for number in range(options.leaks):
        found["leaks"].append(leak(source, number))
    found["equal"] = equal(source, options.launches, options.rate, options.seconds_max)
    record.write(options, found)


if __name__ == "__main__":
    main()

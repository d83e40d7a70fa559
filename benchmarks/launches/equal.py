"""
A/A launches through the real gateway: two releases of the same behaviour, launched in turn. How many are taken back?

    python benchmarks/launches/equal.py --launches 200 --out benchmarks/results/equal_launches.json
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib

import lab

from softlaunch.core import spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=200)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    outcomes: collections.Counter[str] = collections.Counter()
    reasons = []
    with lab.lab() as found:
        environment = lab.strategy(steps=spec.shares(1_000, 5_000, 10_000))
        releases = [found.make(name) for name in ("left", "right")]
        found.deploy(releases[0], environment)
        live = 0
        with lab.load(found.port, options.rate) as report:
            for number in range(options.launches):
                view = found.deploy(releases[1 - live], environment)
                outcomes[view["outcome"]] += 1
                if view["outcome"] == "promoted":
                    live = 1 - live
                else:
                    reasons.append(view["reason"])
                    print(number, view["reason"], flush=True)
    row = {
        "launches": options.launches,
        "outcomes": dict(outcomes),
        "reasons": reasons,
        "user_requests": report["planned"],
        "user_failed": report["failed"],
        "p50_ms": report["p50_ms"],
        "p99_ms": report["p99_ms"],
    }
    print(json.dumps(row))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()

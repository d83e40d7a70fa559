"""Live traffic for the tutorial: travellers who ask about flights until Ctrl-C (or for --seconds)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time

import story

from softlaunch.testing import arrivals, outcomes, traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="Production's port.")
    parser.add_argument("--rate", type=float, default=250.0, help="Requests per second.")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop after this long.")
    parser.add_argument("--header", action="append", default=[], help="A further header, such as x-employee:yes.")
    options = parser.parse_args()
    further = tuple((name, value) for name, _, value in (header.partition(":") for header in options.header))
    requests = (dataclasses.replace(found, headers=found.headers + further) for found in story.requests())
    load = traffic.Load(traffic.Target(port=options.port), requests, check=outcomes.Check(valid=story.valid))
    ends_at = time.monotonic() + options.seconds
    with (
        traffic.Background(load, arrivals.poisson(options.rate, seed=story.SEED)) as background,
        contextlib.suppress(KeyboardInterrupt),
    ):
        while time.monotonic() < ends_at:
            time.sleep(1.0)
            tally = load.tally()
            print(f"\r{tally.planned:,} requests, {tally.failed:,} failed", end="", flush=True)
    report = background.report
    print(f"\r{report.planned:,} requests, {report.failed:,} failed, by outcome: ", end="")
    print(", ".join(f"{name.value} {count:,}" for name, count in report.outcomes.items() if count))


if __name__ == "__main__":
    main()

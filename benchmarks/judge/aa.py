"""
False rollbacks: launches of a release identical to stable, judged after every line of the attempt log.

    python benchmarks/judge/aa.py --launches 10000 --lines --out benchmarks/results/judge_aa.json

A launch is 6,000 requests (600 of them the candidate's at a share of 10 %), with 1 % errors, 1 % client errors, 0.1 %
invalid answers and all guardrails enforcing. The bar is 1 %: alpha.
"""

from __future__ import annotations

import collections

import numpy as np
import simulate


def outage(at: np.ndarray) -> np.ndarray:
    """A fifth of everything fails in both arms for the middle third; retries cure most of it for the users."""
    return np.where((at > 1 / 3) & (at < 2 / 3), 0.2, 0.01)


def early_outage(at: np.ndarray) -> np.ndarray:
    """The same, but from the first attempt: nothing has been learned yet about the real share."""
    return np.where(at < 1 / 3, 0.2, 0.01)


def cycle(at: np.ndarray) -> np.ndarray:
    """Latency over a day: twice as slow at the busy hour as at night."""
    return 1.0 + np.sin(2 * np.pi * at) / 3.0


SCENARIOS = (
    simulate.Scenario(name="steady"),
    simulate.Scenario(name="steady, no key", users=0),
    simulate.Scenario(name="steady, no history", history=False),
    simulate.Scenario(name="ramp 1, 5, 25, 50, 95 %", shares=(0.01, 0.05, 0.25, 0.5, 0.95)),
    simulate.Scenario(name="shared 20 % outage cured by retries", error_rate=outage),
    simulate.Scenario(name="the same from the first attempt", error_rate=early_outage),
    simulate.Scenario(name="real share 12 %, configured 10 %", real_shares=(0.12,)),
    simulate.Scenario(
        name="the same in an outage from the first attempt", real_shares=(0.12,), error_rate=early_outage
    ),
    simulate.Scenario(name="one user makes 20 % of failures", heavy_failures=15),
    simulate.Scenario(name="latency with daily cycle", latency_factor=cycle),
    simulate.Scenario(name="ramp with daily cycle", latency_factor=cycle, shares=(0.01, 0.05, 0.25, 0.5, 0.95)),
    simulate.Scenario(name="very unequal users", activity_sigma=2.0),
    simulate.Scenario(name="very unequal users at 1 %", activity_sigma=2.0, shares=(0.01,)),
)


def main() -> None:
    options = simulate.arguments(__doc__ or "", 10_000)
    rows = []
    document = {}
    for scenario in SCENARIOS:
        if options.only not in scenario.name:
            continue
        results, seconds = simulate.timed(
            lambda scenario=scenario: simulate.run_many(
                scenario, options.launches, processes=options.processes, lines=options.lines
            )
        )
        failures = [result for result in results if result.failed]
        blamed = collections.Counter(result.guardrail for result in failures)
        rate = len(failures) / len(results)
        said = ", ".join(f"{name} {count}" for name, count in blamed.most_common()) or "none"
        rows.append((scenario.name, len(results), len(failures), f"{rate:.2%}", said, f"{seconds:.0f} s"))
        document[scenario.name] = {
            "launches": len(results),
            "requests_per_launch": scenario.attempts,
            "false_rollbacks": len(failures),
            "rate": rate,
            "guardrails": dict(blamed),
            "through_log_lines": options.lines,
            "seconds": round(seconds, 1),
        }
        print(*rows[-1], sep=" | ", flush=True)
    print()
    for line in simulate.table(("scenario", "launches", "false rollbacks", "rate", "guardrail", "took"), rows):
        print(line)
    simulate.save(options.out, document)


if __name__ == "__main__":
    main()

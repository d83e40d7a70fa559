"""
How many candidate requests a bad release costs at a share of 10 %, until the judge takes it back.

    python benchmarks/judge/detection.py --out benchmarks/results/judge_detection.json

All guardrails enforce and share alpha. `reference` is what one guardrail with all of alpha for itself was measured to
need (median and p95); where only a median is known, there is no second number. Latency is log-normal, sigma 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import simulate


def constant(rate: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda at: np.full_like(at, rate)


def scenario(name: str, **changes: Any) -> simulate.Scenario:
    quiet = {"client_error_rate": 0.0, "invalid_rate": 0.0, "users": 0, "error_rate": constant(0.0)}
    return simulate.Scenario(name=name, **{**quiet, **changes})


SCENARIOS = (
    (scenario("0 to 100 % errors", attempts=2_000, error_rate_candidate=constant(1.0)), 3, 6),
    (
        scenario("1 to 5 % errors", attempts=12_000, error_rate=constant(0.01), error_rate_candidate=constant(0.05)),
        155,
        417,
    ),
    (
        scenario("1 to 2 % errors", attempts=120_000, error_rate=constant(0.01), error_rate_candidate=constant(0.02)),
        1_570,
        3_957,
    ),
    (scenario("latency +20 %", attempts=20_000, latency_factor_candidate=1.2), 218, None),
    (scenario("5 % of requests +400 ms", attempts=20_000, slow_share_candidate=0.05, slow_ms=400.0), 161, None),
)


def main() -> None:
    options = simulate.arguments(__doc__ or "", 1_000)
    rows = []
    document = {}
    for one, reference_median, reference_p95 in SCENARIOS:
        if options.only not in one.name:
            continue
        results = simulate.run_many(one, options.launches, processes=options.processes, lines=options.lines)
        spent = [result.candidate_requests for result in results if result.failed]
        missed = len(results) - len(spent)
        # A launch that was never taken back cost more than all others.
        spent += [one.attempts] * missed
        median, p95 = simulate.quantile(spent, 0.5), simulate.quantile(spent, 0.95)
        rows.append(
            (
                one.name,
                len(results),
                median,
                p95,
                f"{reference_median} / {reference_p95 or '-'}",
                f"{median / reference_median:.2f}",
                missed,
            )
        )
        document[one.name] = {
            "launches": len(results),
            "median": median,
            "p95": p95,
            "reference_median": reference_median,
            "reference_p95": reference_p95,
            "missed": missed,
        }
        print(*rows[-1], sep=" | ", flush=True)
    print()
    header = ("fault", "launches", "median", "p95", "reference", "median / reference", "never found")
    for line in simulate.table(header, rows):
        print(line)
    simulate.save(options.out, document)


if __name__ == "__main__":
    main()
